// What the page knows about the cluster. No DOM in here.

/** Nodes up and down. */
export class Nodes {
  #nodes = new Map();
  /** When the first list came. */
  start = null;

  /** A whole list, as of `now`. Returns what changed, as `[name, up]`. */
  replace(list, now) {
    const before = this.#nodes;
    this.#nodes = new Map();
    this.start ??= now;
    const changes = [];
    for (const { node, node_type, id, up } of list) {
      const old = before.get(node);
      const same = old && old.up === up && old.id === id;
      if (old && old.up !== up) changes.push([node, up]);
      // `since` is known exactly only of what happened before our eyes, and not at all of what was there at first.
      const since = same ? old.since : before.size > 0 ? now : null;
      this.#nodes.set(node, { node, type: node_type, id, up, since, exact: same && old.exact });
    }
    return changes;
  }

  /** Returns whether the node was unknown; its type then is as well. */
  change(name, up, id, since) {
    const old = this.#nodes.get(name);
    this.#nodes.set(name, { node: name, type: old?.type ?? null, id, up, since, exact: true });
    return !old;
  }

  get list() {
    return [...this.#nodes.values()];
  }

  get size() {
    return this.#nodes.size;
  }

  get up() {
    return this.list.filter((node) => node.up).length;
  }
}

/** The last `points` measurements of rates that have names. */
export class Rates {
  #points;
  #names;
  #series = new Map();
  times = [];
  #lastInterval = 1;
  total = null;

  /** Of more than `names` names, the rest counts only in the total. */
  constructor({ points = 300, names = 500 } = {}) {
    this.#points = points;
    this.#names = names;
  }

  /** `rates` are pairs of a name and a number per second, at `time` in seconds since 1970. */
  push(time, interval, rates) {
    const last = this.times.at(-1);
    if (last !== undefined) {
      // The clock of the gateway's host was set back: begin anew.
      if (time <= last) this.clear();
      // Nothing is known about the time in between: a gap in the lines, not zero.
      else if (time - last > 2.5 * Math.max(interval, this.#lastInterval)) this.#append(last + interval, null);
    }
    this.#lastInterval = interval;
    this.#append(time, 0);
    this.total = 0;
    const end = this.times.length - 1;
    for (const [name, rate] of rates) {
      this.total += rate;
      let values = this.#series.get(name);
      if (!values) {
        if (rate === 0 || this.#series.size >= this.#names) continue;
        values = this.times.map(() => 0);
        this.#series.set(name, values);
      }
      values[end] = rate;
    }
    for (const [name, values] of this.#series) {
      if (values.every((value) => !value)) this.#series.delete(name);
    }
  }

  #append(time, value) {
    const full = this.times.length >= this.#points;
    if (full) this.times.shift();
    this.times.push(time);
    for (const values of this.#series.values()) {
      if (full) values.shift();
      values.push(value);
    }
  }

  clear() {
    this.times = [];
    this.#series.clear();
    this.total = null;
  }

  get size() {
    return this.#series.size;
  }

  /** All series, the largest first. */
  ranked() {
    const all = [];
    for (const [name, values] of this.#series) {
      let sum = 0;
      let known = 0;
      for (const value of values) {
        if (value === null) continue;
        sum += value;
        known += 1;
      }
      all.push({ name, values, now: values.at(-1), mean: known ? sum / known : 0 });
    }
    return all.sort((a, b) => b.mean - a.mean || (a.name < b.name ? -1 : 1));
  }
}

/** Losses by process and reason, and when they last grew. */
export class Drops {
  #grew = new Map();
  list = [];

  update(drops, now) {
    const grew = new Map();
    this.list = drops.filter(({ total }) => total > 0).map((drop) => {
      const key = JSON.stringify([drop.process, drop.reason]);
      const growing = drop.per_second > 0;
      const last = growing ? now : this.#grew.get(key) ?? null;
      grew.set(key, last);
      return { ...drop, key, growing, last };
    });
    this.#grew = grew;
    this.list.sort((a, b) => b.growing - a.growing || (b.last ?? 0) - (a.last ?? 0) || b.total - a.total);
  }

  get perSecond() {
    return this.list.reduce((sum, { per_second }) => sum + per_second, 0);
  }
}
