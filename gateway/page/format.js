// How figures and times are written.

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const oneDecimal = new Intl.NumberFormat("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });

export const count = (number) => grouped.format(number);

/** A number per second: `0`, `0.4`, `12.5`, `1,204`. */
export function rate(number) {
  if (number === null || number === undefined) return "–";
  if (number === 0) return "0";
  if (number < 0.05) return "< 0.1";
  return number < 99.95 ? oneDecimal.format(number) : grouped.format(number);
}

/** For the axis of a chart. */
export const short = (number) => compact.format(number);

export function bytes(number) {
  for (const unit of ["B", "KiB", "MiB"]) {
    if (number < 1024) return `${unit === "B" ? number : oneDecimal.format(number)} ${unit}`;
    number /= 1024;
  }
  return `${oneDecimal.format(number)} GiB`;
}

// Controls, and characters that change the direction of what follows them.
const INVISIBLE = /[\p{Cc}\p{Bidi_Control}]/gu;
const TURNING = /\p{Bidi_Control}/gu;
const escape = (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;

/** Text from the network: nothing in it is hidden, or moves the text around it. */
export const visible = (text) => text.replace(INVISIBLE, escape);

/** The same for JSON on several lines. */
export const visibleJson = (json) => json.replace(TURNING, escape);

/** Of a very long text the beginning. */
export const shorten = (text, most = 160) => (text.length > most ? `${text.slice(0, most)}…` : text);

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

const two = (number) => String(number).padStart(2, "0");

/** Local time of day, `12:03:04`; with the date if that is not today. */
export function time(date, { millis = false, seconds = true } = {}) {
  if (Number.isNaN(date.getTime())) return "?";
  let text = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (seconds) text += `:${two(date.getSeconds())}`;
  if (millis) text += `.${String(date.getMilliseconds()).padStart(3, "0")}`;
  if (date.toDateString() === new Date().toDateString()) return text;
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${text}`;
}

/** As people sort names: `worker-2` before `worker-10`. */
export const byName = new Intl.Collator("en", { numeric: true }).compare;
