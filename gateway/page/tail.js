// The tail of events: what is kept, what is shown, and the controls.
//
// A flood costs a bounded amount of work: events go into a ring, and a few times per second the newest of them
// become rows. Events that were replaced before anybody could see them are counted.

import { brief } from "./brief.js";
import { count, plural, rate, time, visible, visibleJson } from "./format.js";
import { Ring, clip } from "./ring.js";
import { text } from "./table.js";

const KEEP = 500;
const KEEP_BYTES = 2 << 20;
const ROWS = 200;
// With more new rows than this, they come in groups, with this pause in milliseconds.
const FEW = 20;
const PAUSE = 250;
// Characters of one event: kept at most, and shown in its row.
const LONGEST_ARGS = 64 << 10;
const LONGEST_NAME = 1024;
const IN_ROW = 300;

export class Tail {
  #connection;
  #changed;
  #ring = new Ring(KEEP, KEEP_BYTES);
  #number = 0;
  // The newest entry that was considered for a row, and when something was drawn.
  #drawn = 0;
  #drawnAt = 0;
  #prefix = null;
  #connected = false;
  #confirmed = false;
  #problem = "";
  #paused = false;
  #received = 0;
  #skipped = 0;
  #lost = 0;
  #lostUnknown = false;
  #open = null;
  #perSecond = 0;
  #counted = { at: performance.now(), received: 0 };

  #form = document.getElementById("follow");
  #input = document.getElementById("prefix");
  #everything = document.getElementById("everything");
  #pauseButton = document.getElementById("pause");
  #stopButton = document.getElementById("stop");
  #clearButton = document.getElementById("clear");
  #state = document.getElementById("tail-state");
  #box = document.getElementById("tail-box");
  #body = this.#box.querySelector("tbody");

  /** `changed()` asks for a `render`. */
  constructor(connection, changed) {
    this.#connection = connection;
    this.#changed = changed;
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      const prefix = this.#input.value.trim();
      if (prefix === "") this.#say("Type a prefix, or choose “Follow everything”.");
      else this.follow(prefix);
    });
    this.#everything.addEventListener("click", () => {
      this.#input.value = "";
      this.follow("");
    });
    this.#pauseButton.addEventListener("click", () => this.#pause(!this.#paused));
    this.#stopButton.addEventListener("click", () => this.#stop());
    this.#clearButton.addEventListener("click", () => this.#clear());
  }

  /** Shows the events whose topics begin with `prefix`, and no others. */
  follow(prefix) {
    this.#prefix = prefix;
    this.#confirmed = false;
    this.#problem = "";
    this.#input.value = prefix;
    this.#setPaused(false);
    this.#ring.filter((entry) => entry.topic?.startsWith(prefix));
    this.#resetCounts();
    this.#redraw();
    this.#connection.follow(prefix, (answer) => this.#answered(prefix, answer));
  }

  /** Without a connection nothing is subscribed; afterwards the connection does it again. */
  setConnected(connected) {
    this.#connected = connected;
    if (!connected) this.#confirmed = false;
  }

  receive(message) {
    if (message.type === "event") {
      // What was under way when the prefix was changed.
      if (this.#prefix === null || !message.topic.startsWith(this.#prefix)) return;
      this.#received += 1;
      const { seq, topic, event, ts, metadata } = message;
      const entry = {
        seq,
        topic: clip(topic, LONGEST_NAME),
        event: clip(event, LONGEST_NAME),
        ts,
        args: clip(JSON.stringify(message.args), LONGEST_ARGS),
        metadata: metadata ? clip(JSON.stringify(metadata), LONGEST_ARGS) : null,
      };
      // Two bytes for a character, and something for the rest.
      const characters = entry.topic.length + entry.event.length + entry.args.length + (entry.metadata?.length ?? 0);
      this.#push({ ...entry, bytes: 2 * characters + 200 });
    } else {
      const { dropped, from, to } = message;
      const range = from === to ? `number ${from}` : `between numbers ${from} and ${to}`;
      this.mark(
        dropped === null
          ? `Events ${range} are lost: the gateway no longer had them after the interruption.`
          : `${plural(dropped, "event")} lost here, ${range}: this page read too slowly.`,
        dropped,
      );
    }
  }

  /** A line between the events; `missing` is how many are missing there, null if nobody knows. */
  mark(line, missing = 0) {
    if (this.#prefix === null) return;
    if (missing === null) this.#lostUnknown = true;
    else this.#lost += missing;
    this.#push({ mark: line, lost: missing !== 0, topic: null, bytes: 2 * line.length + 200 });
  }

  #push(entry) {
    this.#number += 1;
    this.#ring.push({ ...entry, number: this.#number });
    this.#changed();
  }

  #answered(prefix, answer) {
    if (prefix !== this.#prefix) return;
    if (answer.type === "ok") {
      this.#confirmed = true;
    } else {
      this.#prefix = null;
      this.#problem = `The gateway refuses to follow ${quoted(prefix)}: ${answer.message}`;
    }
    this.#changed();
  }

  #stop() {
    this.#prefix = null;
    this.#connection.follow(null);
    this.#setPaused(false);
    this.#input.focus();
    this.#changed();
  }

  #clear() {
    this.#ring.filter(() => false);
    this.#resetCounts();
    this.#redraw();
  }

  #pause(paused) {
    this.#setPaused(paused);
    if (!paused) this.#close();
    this.#changed();
  }

  #setPaused(paused) {
    this.#paused = paused;
    text(this.#pauseButton, paused ? "Continue" : "Pause");
    this.#pauseButton.setAttribute("aria-pressed", String(paused));
  }

  #resetCounts() {
    this.#received = 0;
    this.#skipped = 0;
    this.#lost = 0;
    this.#lostUnknown = false;
    this.#perSecond = 0;
    this.#counted = { at: performance.now(), received: 0 };
  }

  #redraw() {
    this.#close();
    this.#body.replaceChildren();
    this.#drawn = 0;
    this.#drawnAt = 0;
    // What the ring has lost already is not skipped anew.
    this.#draw(false);
    this.#changed();
  }

  /** Once a second. */
  tick() {
    const now = performance.now();
    const { at, received } = this.#counted;
    this.#perSecond = Math.max(0, (this.#received - received) / ((now - at) / 1000));
    this.#counted = { at: now, received: this.#received };
  }

  /** Returns whether there is more to draw later. */
  render() {
    const now = performance.now();
    const waiting = this.#number - this.#drawn;
    if (waiting > FEW && now - this.#drawnAt < PAUSE) return true;
    this.#drawnAt = now;
    if (!this.#paused && waiting > 0) this.#draw(true);
    this.#describe();
    return false;
  }

  #draw(countSkipped) {
    const fresh = this.#ring.newest(this.#drawn, ROWS);
    if (countSkipped) this.#skipped += this.#number - this.#drawn - fresh.length;
    this.#drawn = this.#number;
    const spare = [];
    while (this.#body.childElementCount > ROWS - fresh.length && this.#body.lastElementChild) {
      const row = this.#body.lastElementChild;
      row.remove();
      spare.push(row);
    }
    const rows = fresh.map((entry) => this.#row(entry, spare));
    this.#body.prepend(...rows);
    this.#box.hidden = this.#body.childElementCount === 0;
  }

  #row(entry, spare) {
    if (entry.mark) {
      const row = element("tr", entry.lost ? "mark lost" : "mark");
      const cell = element("td", "");
      cell.colSpan = 4;
      cell.textContent = entry.mark;
      row.append(cell);
      return row;
    }
    let row = spare.pop();
    if (!row || row.className !== "event") {
      row = element("tr", "event");
      const name = element("td", "event net");
      const open = element("button", "name");
      open.type = "button";
      open.addEventListener("click", () => this.#toggle(row));
      name.append(open);
      row.append(element("td", "time"), element("td", "topic net"), name, element("td", "args net"));
    }
    row.entry = entry;
    const [at, topic, event, args] = row.children;
    at.textContent = time(new Date(entry.ts), { millis: true });
    topic.textContent = visible(entry.topic);
    event.firstChild.textContent = visible(entry.event);
    event.firstChild.setAttribute("aria-expanded", "false");
    const line = visible(brief(entry.args));
    args.textContent = line.length > IN_ROW ? `${line.slice(0, IN_ROW)}…` : line;
    return row;
  }

  /** Opens an event; the tail stands still meanwhile. */
  #toggle(row) {
    const close = this.#open?.row === row;
    this.#close();
    if (!close) {
      this.#setPaused(true);
      const details = element("tr", "details");
      const cell = element("td", "");
      cell.colSpan = 4;
      const json = element("pre", "net");
      json.tabIndex = 0;
      json.textContent = visibleJson(pretty(row.entry));
      cell.append(json);
      details.append(cell);
      row.after(details);
      row.children[2].firstChild.setAttribute("aria-expanded", "true");
      this.#open = { row, details };
    }
    this.#changed();
  }

  #close() {
    this.#open?.details.remove();
    this.#open?.row.children[2].firstChild.setAttribute("aria-expanded", "false");
    this.#open = null;
  }

  #say(problem) {
    this.#problem = problem;
    this.#changed();
  }

  #describe() {
    const following = this.#prefix !== null;
    this.#pauseButton.hidden = !following && !this.#paused;
    this.#stopButton.hidden = !following;
    this.#clearButton.hidden = this.#ring.size === 0 && this.#received === 0;
    text(this.#state, this.#sentence(following));
  }

  #sentence(following) {
    if (this.#problem) return this.#problem;
    if (!following) {
      return this.#ring.size > 0 ? "Stopped." : "Nothing is subscribed until you follow a prefix.";
    }
    const what = this.#prefix === "" ? "everything" : quoted(this.#prefix);
    if (!this.#connected) return `Not connected. Then ${what} is followed.`;
    if (!this.#confirmed) return `Subscribing to ${what}…`;
    const parts = [`Following ${what}: ${count(this.#received)} received, ${rate(this.#perSecond)} / s`];
    if (this.#skipped > 0) parts.push(`${count(this.#skipped)} came too fast to show`);
    if (this.#lost > 0) parts.push(`${count(this.#lost)} lost`);
    if (this.#lostUnknown) parts.push("some missing after an interruption");
    const newer = this.#number - this.#drawn;
    if (this.#paused) parts.push(newer > 0 ? `paused, ${plural(newer, "newer one")}` : "paused");
    return `${parts.join("; ")}.`;
  }
}

const quoted = (prefix) => `“${visible(prefix)}”`;

function element(name, className) {
  const made = document.createElement(name);
  made.className = className;
  const role = { tr: "row", td: "cell" }[name];
  if (role) made.setAttribute("role", role);
  return made;
}

/** An event as it can be read, and copied. */
function pretty({ seq, topic, event, args, ts, metadata }) {
  const parsed = (json) => {
    try {
      return JSON.parse(json);
    } catch {
      // It was cut.
      return json;
    }
  };
  const whole = { seq, topic, event, args: parsed(args), ts };
  if (metadata !== null) whole.metadata = parsed(metadata);
  return JSON.stringify(whole, null, 2);
}
