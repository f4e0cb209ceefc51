// The last events, bounded in number and in memory. No DOM in here.

/** Cuts a text, and really lets go of the rest: a slice alone would keep it alive. */
export function clip(text, most) {
  if (text.length <= most) return text;
  const kept = new TextDecoder().decode(new TextEncoder().encode(text.slice(0, most)));
  return `${kept}… (${text.length - most} more characters)`;
}

export class Ring {
  #most;
  #mostBytes;
  #entries = [];
  #bytes = 0;

  constructor(most, mostBytes) {
    this.#most = most;
    this.#mostBytes = mostBytes;
  }

  /** Adds an entry with its size, `bytes`; the oldest ones give way. */
  push(entry) {
    this.#entries.push(entry);
    this.#bytes += entry.bytes;
    while (this.#entries.length > this.#most || (this.#bytes > this.#mostBytes && this.#entries.length > 1)) {
      this.#bytes -= this.#entries.shift().bytes;
    }
  }

  /** Keeps what `keep(entry)` says. */
  filter(keep) {
    this.#entries = this.#entries.filter(keep);
    this.#bytes = this.#entries.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** The newest entries with a number above `after`, newest first. */
  newest(after, most) {
    const found = [];
    for (let at = this.#entries.length - 1; at >= 0 && found.length < most; at -= 1) {
      if (this.#entries[at].number <= after) break;
      found.push(this.#entries[at]);
    }
    return found;
  }

  get size() {
    return this.#entries.length;
  }

  get bytes() {
    return this.#bytes;
  }
}
