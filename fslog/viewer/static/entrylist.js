// The entries that match a filter, newest first, by their position.
// Promises: any position of any number of entries can be asked for, while only some thousand are
// held; a position that is being looked at does not move while the list is held, and `waiting`
// tells how many came since. The server is asked no more often than it can answer with ease.
//
// Positions shift as entries arrive, so each entry is kept under an ordinal that never changes:
// position 0 has the ordinal `#top`. What is newer than `#anchor` is not in the list yet.

import { getEvents } from "./api.js";

const PAGE = 100;
const HELD = 4000;
const LEAST_PAUSE_MS = 120;
const REST = 3;

export class EntryList {
  #entries = new Map();
  #pages = new Set();
  #filter = {};
  #generation = 0;
  #top = 0;
  #anchor = 0;
  #busy = false;
  #dirty = false;
  #held = false;
  #isLetIn = false;
  #loading = false;
  length = 0;
  waiting = 0;
  newest = 0;
  dropped = 0;
  loaded = false;

  /** Call `changed({arrived, count, isAnew})` after a change, `failed(error)` if none came. */
  constructor(changed, failed) {
    this.changed = changed;
    this.failed = failed;
  }

  /** Load the newest that match; until they are here the list is as it was. */
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
      this.#keep(answer.entries, this.#top);
      this.loaded = true;
      return { arrived: [], isAnew: true };
    });
    this.#loading = false;
    if (this.loaded && this.#dirty) this.news();
  }

  /** Return the entry at a position, or undefined where it is not here yet. */
  at(position) {
    return this.#entries.get(this.#top - position);
  }

  /** Return the position of an entry that is here, or -1. */
  positionOf(id) {
    for (const [ordinal, entry] of this.#entries) {
      if (entry.id === id) return this.#top - ordinal;
    }
    return -1;
  }

  /** Ask for the position of an entry that may not be here; -1 where it is not in the list. */
  async find(id) {
    const here = this.positionOf(id);
    if (here >= 0 || !this.loaded || id < 1 || id > this.#anchor) return here;
    const generation = this.#generation;
    const top = this.#top;
    const query = { after: id - 1, before: this.#anchor + 1, order: "asc", limit: 1, brief: 1 };
    const answer = await getEvents({ ...this.#filter, ...query }).catch(() => null);
    const isThere = generation === this.#generation && answer?.entries[0]?.id === id;
    // What was let in meanwhile stands before it.
    return isThere ? answer.within - 1 + this.#top - top : -1;
  }

  /** Load what is missing between two positions. */
  want(first, last) {
    if (!this.loaded) return;
    for (let from = first - (first % PAGE); from <= last && from < this.length; from += PAGE) {
      const until = Math.min(from + PAGE, this.length);
      for (let position = from; position < until; position += 1) {
        if (this.at(position) === undefined) {
          this.#load(position);
          break;
        }
      }
    }
    this.#forgetFarFrom((first + last) / 2);
  }

  /** Let nothing newer in: what came since is counted only. */
  hold() {
    this.#held = true;
  }

  /** Let in what waited, and what comes. */
  release() {
    if (!this.#held) return;
    this.#held = false;
    this.news();
  }

  /** Let in what waits now, also while the list is held. */
  letIn() {
    this.#isLetIn = true;
    this.news();
  }

  /** Hear that something arrived, or left; or that the server is there again. */
  news() {
    this.#dirty = true;
    if (!this.loaded && !this.#loading) this.restart();
    if (!this.loaded || this.#busy) return;
    this.#busy = true;
    this.#dirty = false;
    this.#refresh(this.#generation);
  }

  async #refresh(generation) {
    const began = performance.now();
    const isHeld = this.#held && !this.#isLetIn;
    this.#isLetIn = false;
    await this.#ask({ after: this.#anchor, limit: isHeld ? 0 : PAGE }, (answer) =>
      this.#take(answer, isHeld),
    );
    const pause = Math.max(LEAST_PAUSE_MS, REST * (performance.now() - began));
    setTimeout(() => {
      if (generation !== this.#generation) return;
      this.#busy = false;
      if (this.#dirty) this.news();
    }, pause);
  }

  #take(answer, isHeld) {
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
    this.#keep(answer.entries, this.#top);
    return { arrived: answer.entries, count: answer.within };
  }

  #load(position) {
    const ordinal = this.#top - position;
    if (this.#pages.has(ordinal)) return;
    this.#pages.add(ordinal);
    const query = { before: this.#anchor + 1, offset: position, limit: PAGE };
    this.#ask(query, (answer) => {
      this.#keep(answer.entries, ordinal);
      if (!answer.more) this.#end(answer.entries.length, ordinal);
      return { arrived: [] };
    }).finally(() => this.#pages.delete(ordinal));
  }

  // A page that is not full is the last: the oldest entries have left since the list was measured.
  #end(got, ordinal) {
    if (got < PAGE) this.length = Math.min(this.length, this.#top - ordinal + got);
  }

  async #ask(query, take) {
    const generation = this.#generation;
    try {
      const answer = await getEvents({ ...this.#filter, ...query, brief: 1 });
      if (generation !== this.#generation) return;
      this.newest = answer.newest;
      this.dropped = answer.dropped;
      const change = take(answer);
      if (change) this.changed(change);
    } catch (error) {
      if (generation === this.#generation) this.failed(error);
    }
  }

  #keep(entries, ordinal) {
    entries.forEach((entry, index) => this.#entries.set(ordinal - index, entry));
  }

  #forgetFarFrom(position) {
    if (this.#entries.size <= HELD) return;
    const centre = this.#top - position;
    for (const ordinal of this.#entries.keys()) {
      if (Math.abs(ordinal - centre) > HELD / 4) this.#entries.delete(ordinal);
    }
  }
}
