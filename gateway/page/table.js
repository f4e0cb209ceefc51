// Tables whose rows stay the same elements while their figures change.

import { plural, shorten, visible } from "./format.js";

// Rows do not move under a pointer or a focus that is about to use them.
const HOLD = 3000;

/** Sets the text, if it is another one: an unchanged text costs no layout. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

export class Table {
  #section;
  #table;
  #body;
  #more;
  #columns;
  #limit;
  #rest;
  #all = false;
  #rows = new Map();
  #moved = -Infinity;
  #again;

  /**
   * `columns` are functions `(cell, item)`; the first makes the header of the row. `rest(items)` says what is
   * left out after `limit` rows. `again()` asks for another `show`.
   */
  constructor(section, columns, { limit = 12, rest = (items) => `and ${plural(items.length, "more", "more")}`, again }) {
    this.#section = section;
    this.#table = section.querySelector("table");
    this.#body = section.querySelector("tbody");
    this.#more = section.querySelector(".more");
    this.#columns = columns;
    this.#limit = limit;
    this.#rest = rest;
    this.#again = again;
    this.#table.addEventListener("pointermove", () => (this.#moved = performance.now()));
    this.#more.querySelector("button").addEventListener("click", () => {
      this.#all = !this.#all;
      again();
    });
  }

  /** Shows items, which have a `key`. `empty` is what to say if there are none. */
  show(items, empty) {
    const note = this.#section.querySelector(".empty");
    text(note, empty);
    note.hidden = items.length > 0;
    this.#table.hidden = items.length === 0;

    const shown = this.#all ? items : items.slice(0, this.#limit);
    const rest = items.slice(shown.length);
    const [restText, button] = this.#more.children;
    this.#more.hidden = items.length <= this.#limit;
    text(restText, rest.length > 0 ? this.#rest(rest) : "");
    text(button, this.#all ? "Show less" : `Show all ${items.length}`);

    const rows = new Map();
    for (const item of this.#inOrder(shown)) rows.set(item.key, this.#row(item));
    for (const [key, row] of this.#rows) if (!rows.has(key)) row.remove();
    this.#rows = rows;
    let place = this.#body.firstElementChild;
    for (const row of rows.values()) {
      if (row === place) place = place.nextElementSibling;
      else this.#body.insertBefore(row, place);
    }
  }

  #inOrder(items) {
    const held = performance.now() - this.#moved < HOLD || this.#body.contains(document.activeElement);
    if (!held) return items;
    const byKey = new Map(items.map((item) => [item.key, item]));
    const kept = [...this.#rows.keys()].filter((key) => byKey.has(key));
    const order = new Set([...kept, ...byKey.keys()]);
    return [...order].map((key) => byKey.get(key));
  }

  #row(item) {
    let row = this.#rows.get(item.key);
    if (!row) {
      row = document.createElement("tr");
      this.#columns.forEach((_, index) => {
        const cell = document.createElement(index === 0 ? "th" : "td");
        if (index === 0) cell.scope = "row";
        row.append(cell);
      });
    }
    this.#columns.forEach((fill, index) => fill(row.children[index], item));
    row.className = item.className ?? "";
    return row;
  }
}

/** A column of text from the network. */
export const name = (get) => (cell, item) => {
  cell.className = "net";
  text(cell, shorten(visible(get(item))));
};

/** A column of figures. */
export const figure = (get, className = "") => (cell, item) => {
  cell.className = `number ${className}`;
  text(cell, get(item));
};
