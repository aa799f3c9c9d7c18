// Formatting of numbers, sizes and times.
// Guarantees: every function accepts any value and returns text, a dash for non-numbers.

const NUMBERS = new Intl.NumberFormat("en");
const UNITS = ["B", "kB", "MB", "GB"];
const DAY_MS = 86_400_000;

/** 1234567 is "1,234,567". */
export function count(value) {
  return Number.isFinite(value) ? NUMBERS.format(value) : "–";
}

/** Return a number and its noun: "1 event", "2 events". */
export function counted(value, noun, plural = `${noun}s`) {
  return `${count(value)} ${value === 1 ? noun : plural}`;
}

/** 1234 is "1.2 kB". */
export function bytes(value) {
  if (!Number.isFinite(value)) return "–";
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < UNITS.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit && size < 100 ? size.toFixed(1) : Math.round(size)} ${UNITS[unit]}`;
}

/** Return the time of day with milliseconds, preceded by the date if it is not today. */
export function clock(ms, now = Date.now()) {
  const at = new Date(ms);
  if (!Number.isFinite(at.getTime())) return "–";
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const whole = `${time}.${String(at.getMilliseconds()).padStart(3, "0")}`;
  return at.toDateString() === new Date(now).toDateString() ? whole : `${day(at)} ${whole}`;
}

/** Return the time of day in seconds, preceded by the date if it is not today. */
export function when(ms, now = Date.now()) {
  const text = moment(ms);
  return text.startsWith(day(new Date(now))) ? text.slice(-8) : text;
}

/** Return date and time of day in seconds. */
export function moment(ms) {
  const at = new Date(ms);
  if (!Number.isFinite(at.getTime())) return "–";
  return `${day(at)} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** 125000 is "2 min 5 s": at most two units. */
export function lasting(ms) {
  if (!Number.isFinite(ms)) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${Number(seconds.toFixed(1))} s`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return both(minutes, "min", Math.floor(seconds % 60), "s");
  if (ms < DAY_MS) return both(Math.floor(minutes / 60), "h", minutes % 60, "min");
  return both(Math.floor(ms / DAY_MS), "d", Math.floor((ms % DAY_MS) / 3_600_000), "h");
}

/** Return the share saved by compression: "78 %". */
export function saved(received, unpacked) {
  if (!(unpacked > 0)) return "–";
  return `${Math.round(100 * Math.max(0, 1 - received / unpacked))} %`;
}

/** Return the size of a body, and its size before compression. */
export function sizeOf({ encoding, bytes_received: sent, bytes_unpacked: before }) {
  if (!encoding) return bytes(sent);
  if (!before) return `${bytes(sent)}, cannot be decompressed`;
  return `${bytes(sent)} of ${bytes(before)}, ${saved(sent, before)} saved`;
}

function both(first, firstUnit, second, secondUnit) {
  return second ? `${first} ${firstUnit} ${second} ${secondUnit}` : `${first} ${firstUnit}`;
}

function day(at) {
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

function two(number) {
  return String(number).padStart(2, "0");
}
