// A panel of rates: a chart of the largest ones over five minutes, and the table that is its legend.

import { rate, short, shorten, time, visible } from "./format.js";
import { Table, figure, text } from "./table.js";

/* global uPlot */

const COLORS = 8;
const SHORTEST = 60;
const LONGEST = 300;

export class RatesPanel {
  #section;
  #rates;
  #chart = null;
  #chartBox;
  #table;
  #empty;
  // Which name has which color: the same one for as long as it is among the largest.
  #slots = new Array(COLORS).fill(null);
  #at = null;

  /** `pick(name)` is called when someone chooses a name; without it names are only text. */
  constructor(section, rates, { empty, pick = null, again }) {
    this.#section = section;
    this.#rates = rates;
    this.#empty = empty;
    this.#chartBox = section.querySelector(".chart");
    const label = (cell, item) => {
      if (!cell.firstChild) {
        cell.className = "net";
        const line = document.createElement("span");
        line.className = "line";
        const swatch = document.createElement("span");
        const name = document.createElement(pick ? "button" : "span");
        if (pick) {
          name.type = "button";
          name.className = "name";
          name.addEventListener("click", () => pick(item.key));
        }
        line.append(swatch, name);
        cell.append(line);
      }
      const [swatch, name] = cell.firstChild.children;
      swatch.className = item.slot < 0 ? "swatch" : `swatch series-${item.slot + 1}`;
      text(name, shorten(visible(item.key)));
    };
    const columns = [label, figure((item) => rate(item.shown)), figure((item) => rate(item.mean), "mean")];
    const rest = (items) => {
      const sum = items.reduce((sum, item) => sum + (item.shown ?? 0), 0);
      return `and ${items.length} more with ${rate(sum)} / s`;
    };
    this.#table = new Table(section, columns, { rest, again });
    new ResizeObserver(() => this.#resize()).observe(this.#chartBox);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#chart?.redraw());
  }

  render() {
    const ranked = this.#rates.ranked();
    this.#assign(ranked.slice(0, COLORS));
    const at = this.#at !== null && this.#at < this.#rates.times.length ? this.#at : null;
    const items = ranked.map(({ name, values, now, mean }) => ({
      key: name,
      slot: this.#slots.indexOf(name),
      shown: at === null ? now : values[at],
      mean,
    }));
    const { total } = this.#rates;
    this.#table.show(items, total === null ? "No measurements yet." : this.#empty);
    text(this.#section.querySelector(".sum"), total === null ? "" : `${rate(total)} / s`);
    const header = this.#section.querySelector(".at");
    header.dataset.now ??= header.textContent;
    text(header, at === null ? header.dataset.now : `at ${time(new Date(this.#rates.times[at] * 1000))}`);
    this.#draw(ranked);
  }

  #assign(largest) {
    const names = new Set(largest.map(({ name }) => name));
    this.#slots = this.#slots.map((name) => (names.has(name) ? name : null));
    for (const name of names) {
      if (!this.#slots.includes(name)) this.#slots[this.#slots.indexOf(null)] = name;
    }
  }

  #draw(ranked) {
    this.#chartBox.hidden = ranked.length === 0;
    if (ranked.length === 0) return;
    const byName = new Map(ranked.map(({ name, values }) => [name, values]));
    const times = this.#rates.times;
    const nothing = times.map(() => null);
    // Copies: the chart keeps what it is given, and we go on to change ours.
    const lines = this.#slots.map((name) => (name === null ? nothing : byName.get(name).slice()));
    const data = [times.slice(), ...lines];
    if (this.#chart) this.#chart.setData(data);
    else this.#chart = new uPlot(this.#options(), data, this.#chartBox);
  }

  #options() {
    const color = (name) => () => getComputedStyle(this.#chartBox).getPropertyValue(name).trim();
    const axis = {
      stroke: color("--muted"),
      grid: { stroke: color("--grid"), width: 1 },
      ticks: { stroke: color("--grid"), width: 1, size: 4 },
      font: "11px system-ui, sans-serif",
    };
    return {
      width: this.#chartBox.clientWidth || 300,
      height: this.#chartBox.clientHeight || 180,
      // On the right, half of a time fits.
      padding: [10, 26, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        // A minute at first, then all that there is.
        x: { range: () => this.#window() },
        y: { range: (_, __, largest) => [0, Math.max(1, largest * 1.1)] },
      },
      axes: [
        {
          ...axis,
          size: 26,
          gap: 4,
          space: 60,
          incrs: [15, 30, 60, 120],
          values: (_, at) => at.map((t) => time(new Date(t * 1000), { seconds: t % 60 !== 0 })),
        },
        { ...axis, size: 44, values: (_, at) => at.map(short) },
      ],
      series: [
        {},
        ...this.#slots.map((_, slot) => ({
          stroke: color(`--series-${slot + 1}`),
          width: 1.5,
          points: { show: false },
        })),
      ],
      hooks: {
        setCursor: [
          (chart) => {
            const at = chart.cursor.idx ?? null;
            if (at === this.#at) return;
            this.#at = at;
            this.#cursorMoved();
          },
        ],
      },
    };
  }

  #window() {
    const { times } = this.#rates;
    const [first, last] = [times[0], times.at(-1)];
    return [Math.max(last - LONGEST, Math.min(first, last - SHORTEST)), last];
  }

  #cursorMoved() {
    // setData reports the cursor as well, from within render().
    queueMicrotask(() => this.render());
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.#chartBox;
    if (this.#chart && width > 0) this.#chart.setSize({ width, height });
  }
}
