// The entries that match a filter by position, newest first, loaded on demand.
// Guarantees: a few thousand entries are cached, whatever the length; while the list is on hold,
// positions do not change and `waiting` counts the new entries. The rate of requests adapts to the
// server's response time.
//
// Positions shift as entries arrive, so the cache maps constant ordinals to entries: position 0 has
// the ordinal `#top`. Entries newer than `#anchor` are not in the list yet.

import { getEvents } from "./api.js";

const PAGE = 100;
const MAX_CACHED = 4000;
const MIN_PAUSE_MS = 120;
const PAUSE_FACTOR = 3;

export class EntryList {
  #entries = new Map();
  #pages = new Set();
  #filter = {};
  #generation = 0;
  #top = 0;
  #anchor = 0;
  #busy = false;
  #dirty = false;
  #onHold = false;
  #isForced = false;
  #loading = false;
  length = 0;
  waiting = 0;
  newest = 0;
  dropped = 0;
  loaded = false;

  /** Call `changed({arrived, count, isReset})` after a change, `failed(error)` after an error. */
  constructor(changed, failed) {
    this.changed = changed;
    this.failed = failed;
  }

  /** Load the newest matching entries; the list is unchanged until they have arrived. */
  async restart(filter = this.#filter) {
    this.#filter = filter;
    this.#generation += 1;
    this.#busy = this.#dirty = this.loaded = false;
    this.#loading = true;
    await this.#ask({ limit: PAGE }, (answer) => {
      this.#entries.clear();
      this.#pages.clear();
      this.#top = 0;
      this.#anchor = answer.newest;
      this.length = answer.total;
      this.waiting = 0;
      this.#cache(answer.entries, this.#top);
      this.loaded = true;
      return { arrived: [], isReset: true };
    });
    this.#loading = false;
    if (this.loaded && this.#dirty) this.refresh();
  }

  /** Return the entry at a position, or undefined if it is not loaded. */
  at(position) {
    return this.#entries.get(this.#top - position);
  }

  /** Return the position of a loaded entry, or -1. */
  positionOf(id) {
    for (const [ordinal, entry] of this.#entries) {
      if (entry.id === id) return this.#top - ordinal;
    }
    return -1;
  }

  /** Resolve to the position of an entry, loaded or not; -1 if it is not in the list. */
  async find(id) {
    const here = this.positionOf(id);
    if (here >= 0 || !this.loaded || id < 1 || id > this.#anchor) return here;
    const generation = this.#generation;
    const top = this.#top;
    const query = { after: id - 1, before: this.#anchor + 1, order: "asc", limit: 1, brief: 1 };
    const answer = await getEvents({ ...this.#filter, ...query }).catch(() => null);
    const isThere = generation === this.#generation && answer?.entries[0]?.id === id;
    // Entries that were added meanwhile precede it.
    return isThere ? answer.within - 1 + this.#top - top : -1;
  }

  /** Load missing entries between two positions. */
  load(first, last) {
    if (!this.loaded) return;
    for (let from = first - (first % PAGE); from <= last && from < this.length; from += PAGE) {
      const until = Math.min(from + PAGE, this.length);
      for (let position = from; position < until; position += 1) {
        if (this.at(position) === undefined) {
          this.#loadPage(position);
          break;
        }
      }
    }
    this.#evictFarFrom((first + last) / 2);
  }

  /** Stop adding new entries; count them as `waiting`. */
  hold() {
    this.#onHold = true;
  }

  /** Add the waiting entries, and new ones as they arrive. */
  release() {
    if (!this.#onHold) return;
    this.#onHold = false;
    this.refresh();
  }

  /** Add the waiting entries once, also while the list is on hold. */
  addWaiting() {
    this.#isForced = true;
    this.refresh();
  }

  /** Load changes from the server, now or when the current request is done. */
  refresh() {
    this.#dirty = true;
    if (!this.loaded && !this.#loading) this.restart();
    if (!this.loaded || this.#busy) return;
    this.#busy = true;
    this.#dirty = false;
    this.#loadNew(this.#generation);
  }

  async #loadNew(generation) {
    const began = performance.now();
    const isHeld = this.#onHold && !this.#isForced;
    this.#isForced = false;
    await this.#ask({ after: this.#anchor, limit: isHeld ? 0 : PAGE }, (answer) =>
      this.#apply(answer, isHeld),
    );
    const pause = Math.max(MIN_PAUSE_MS, PAUSE_FACTOR * (performance.now() - began));
    setTimeout(() => {
      if (generation !== this.#generation) return;
      this.#busy = false;
      if (this.#dirty) this.refresh();
    }, pause);
  }

  #apply(answer, isHeld) {
    if (answer.newest < this.#anchor) {
      this.restart();
      return null;
    }
    if (isHeld) {
      this.waiting = answer.within;
      this.length = answer.total - answer.within;
      return { arrived: [] };
    }
    this.#top += answer.within;
    this.#anchor = answer.newest;
    this.waiting = 0;
    this.length = answer.total;
    this.#cache(answer.entries, this.#top);
    return { arrived: answer.entries, count: answer.within };
  }

  #loadPage(position) {
    const ordinal = this.#top - position;
    if (this.#pages.has(ordinal)) return;
    this.#pages.add(ordinal);
    const query = { before: this.#anchor + 1, offset: position, limit: PAGE };
    this.#ask(query, (answer) => {
      this.#cache(answer.entries, ordinal);
      if (!answer.more) this.#shorten(answer.entries.length, ordinal);
      return { arrived: [] };
    }).finally(() => this.#pages.delete(ordinal));
  }

  // A page that is not full is the last one: the oldest entries have been evicted.
  #shorten(got, ordinal) {
    if (got < PAGE) this.length = Math.min(this.length, this.#top - ordinal + got);
  }

  async #ask(query, apply) {
    const generation = this.#generation;
    try {
      const answer = await getEvents({ ...this.#filter, ...query, brief: 1 });
      if (generation !== this.#generation) return;
      this.newest = answer.newest;
      this.dropped = answer.dropped;
      const change = apply(answer);
      if (change) this.changed(change);
    } catch (error) {
      if (generation === this.#generation) this.failed(error);
    }
  }

  #cache(entries, ordinal) {
    entries.forEach((entry, index) => this.#entries.set(ordinal - index, entry));
  }

  #evictFarFrom(position) {
    if (this.#entries.size <= MAX_CACHED) return;
    const centre = this.#top - position;
    for (const ordinal of this.#entries.keys()) {
      if (Math.abs(ordinal - centre) > MAX_CACHED / 4) this.#entries.delete(ordinal);
    }
  }
}
