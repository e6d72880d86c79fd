// The states of the two pages, without anything that is seen: which values are there, what the network says of the
// others, and the bits of each value given those before it.
"use strict";

const LOG2 = Math.log(2);
const bitsOf = (logProbs, value) => -logProbs[value] / LOG2;

/** The entropy of a distribution in bits, from its log-probabilities in nats. */
function entropyOf(logProbs) {
  let nats = 0;
  for (const logProb of logProbs) if (logProb > -Infinity) nats -= Math.exp(logProb) * logProb;
  return nats / LOG2;
}

/** Random numbers in [0, 1) from a seed (mulberry32, Tommy Ettinger, 2017). */
function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A value from a distribution. */
function drawFrom(logProbs, random) {
  let rest = random();
  for (let value = 0; value < logProbs.length; value++) {
    rest -= Math.exp(logProbs[value]);
    if (rest < 0) return value;
  }
  return logProbs.indexOf(Math.max(...logProbs)); // the probabilities add up to 1 less a rounding error
}

/** The numbers 0, ..., n - 1 in a random order. */
function shuffled(n, random) {
  const order = range(n);
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}

/** The orders of a page: what is visited next, of the sites that are left. */
const ORDERS = {
  raster: { name: "raster", next: (left) => left[0] },
  random: { name: "random", next: (left, picture) => left.reduce((a, b) => (picture.ranks[a] < picture.ranks[b] ? a : b)) },
  entropy: {
    name: "least entropy first",
    next: (left, _, entropies) => left.reduce((a, b) => (entropies[b] < entropies[a] ? b : a)),
  },
  clicks: { name: "by clicking", next: () => null },
};

/** The class as the last input of a program, where the joint is conditioned on one. */
const classInput = (model, label) => (model.classes.length ? [makeArray("i", [1], Int32Array.of(label))] : []);

/** Makes the steps of a history again under another class. */
function replay(picture, label) {
  const history = picture.history;
  picture.label = label;
  picture.clear();
  for (const { site, value } of history) picture.observe(site, value);
}

/** Values at sites under a network that predicts all others from any set of observed ones. */
class AnyOrder {
  constructor(model, arrays, random) {
    this.model = model;
    this.random = random;
    this.label = 0;
    this.given = new Program(model.programs.given, arrays);
    this.numSites = sizeOf(model.grid);
    this.clear();
    this.shuffle();
  }

  get orders() {
    return ["raster", "random", "entropy", "clicks"];
  }

  clear() {
    this.values = new Int32Array(this.numSites);
    this.observed = new Uint8Array(this.numSites);
    this.history = [];
    this.look();
  }

  /** Another random order. */
  shuffle() {
    this.ranks = shuffled(this.numSites, this.random);
  }

  /** log p(value | observed) of all sites and values, float32[D * V] in nats: one pass of the network. */
  pass(values, observed) {
    const shape = [1, ...this.model.grid];
    const inputs = [makeArray("i", shape, values.slice()), makeArray("b", shape, observed.slice())];
    return this.given.run([...inputs, ...classInput(this.model, this.label)])[0].data;
  }

  row(table, site) {
    return table.subarray(site * this.model.levels, (site + 1) * this.model.levels);
  }

  look() {
    this.table = this.pass(this.values, this.observed);
    this.entropies = range(this.numSites).map((site) => entropyOf(this.row(this.table, site)));
  }

  /** The distribution of a site, given the observed ones; of an observed one that before it was observed. */
  logProbs(site) {
    const step = this.history.find((each) => each.site === site);
    return step ? step.logProbs : this.row(this.table, site);
  }

  entropy(site) {
    return this.observed[site] ? null : this.entropies[site];
  }

  get left() {
    return range(this.numSites).filter((site) => !this.observed[site]);
  }

  next(order) {
    const left = this.left;
    return left.length ? ORDERS[order].next(left, this, this.entropies) : null;
  }

  accepts(site) {
    return !this.observed[site];
  }

  observe(site, value) {
    const logProbs = this.row(this.table, site).slice();
    this.history.push({ site, value, logProbs, bits: bitsOf(logProbs, value) });
    this.values[site] = value;
    this.observed[site] = 1;
    this.look();
    return this.history.at(-1);
  }

  undo() {
    const step = this.history.pop();
    if (step === undefined) return null;
    this.observed[step.site] = this.values[step.site] = 0;
    this.look();
    return step;
  }

  /** Visits the observed sites in another order, one at each turn; yields the bits so far, the last time all of them. */
  *bitsIn(order) {
    const sites = this.history.map((step) => step.site), values = new Int32Array(this.numSites);
    const observed = new Uint8Array(this.numSites);
    let bits = 0;
    for (let left = sites.slice().sort((a, b) => a - b); left.length; left = left.filter((site) => !observed[site])) {
      const table = this.pass(values, observed), entropies = [];
      if (order === "entropy") for (const site of left) entropies[site] = entropyOf(this.row(table, site));
      const site = ORDERS[order].next(left, this, entropies);
      bits += bitsOf(this.row(table, site), this.values[site]);
      values[site] = this.values[site];
      observed[site] = 1;
      yield bits;
    }
  }
}

/** Reads a sequence of values step by step; what it has read once stays known, up to the first value that changes. */
class Reader {
  static EVERY = 16; // steps between the carries that are kept

  constructor(model, arrays) {
    this.model = model;
    this.startProgram = new Program(model.programs.start, arrays);
    this.stepProgram = new Program(model.programs.step, arrays);
    this.numSteps = sizeOf(model.grid);
    this.restart(0);
  }

  /** Forgets everything, and reads under this class from now on. */
  restart(label) {
    this.label = label;
    this.values = [];
    this.rows = []; // log p(value of step t | values of the steps before it), of each step t <= values.length
    this.carries = new Map([[0, this.startProgram.run(classInput(this.model, label))]]);
    this.carry = this.carries.get(0);
  }

  /** The log-probabilities of the steps 0, ..., values.length, fewer where there are no more steps. */
  read(values) {
    let same = 0;
    while (same < Math.min(values.length, this.values.length) && values[same] === this.values[same]) same++;
    if (same < this.values.length) this.back(same);
    for (let t = this.rows.length; t <= values.length && t < this.numSteps; t++) this.advance(values, t);
    this.values = values.slice();
    return this.rows.slice(0, values.length + 1);
  }

  /** Forgets all rows that depend on values from index `same` on. */
  back(same) {
    const kept = Math.max(...[...this.carries.keys()].filter((t) => t <= same));
    for (const t of this.carries.keys()) if (t > kept) this.carries.delete(t);
    this.carry = this.carries.get(kept);
    this.rows.length = Math.min(this.rows.length, kept);
    this.values.length = Math.min(this.values.length, kept);
  }

  /** The row of step t; `carry` is that before step t. */
  advance(values, t) {
    if (t % Reader.EVERY === 0) this.carries.set(t, this.carry);
    const canvas = makeArray("i", [1, ...this.model.grid]);
    for (let s = 0; s < t; s++) canvas.data[this.model.order[s]] = values[s];
    const inputs = [...this.carry, canvas, makeArray("i", [], Int32Array.of(t)), ...classInput(this.model, this.label)];
    const [row, ...carry] = this.stepProgram.run(inputs);
    this.carry = carry;
    this.rows.push(row.data);
  }
}

/** Values at sites under a network that predicts each site from those before it in one order. */
class InOrder {
  constructor(model, arrays, random) {
    this.model = model;
    this.random = random;
    this.reader = new Reader(model, arrays);
    this.label = 0;
    this.numSites = sizeOf(model.grid);
    this.clear();
  }

  get orders() {
    return ["model"];
  }

  clear() {
    this.values = new Int32Array(this.numSites);
    this.observed = new Uint8Array(this.numSites);
    this.history = [];
    if (this.reader.label !== this.label) this.reader.restart(this.label);
    this.rows = this.reader.read([]);
  }

  shuffle() {}

  logProbs(site) {
    const t = this.model.order.indexOf(site);
    return t < this.rows.length ? this.rows[t] : null;
  }

  entropy(site) {
    return site === this.next() ? entropyOf(this.rows.at(-1)) : null;
  }

  next() {
    return this.history.length < this.numSites ? this.model.order[this.history.length] : null;
  }

  accepts(site) {
    return site === this.next();
  }

  observe(site, value) {
    const logProbs = this.logProbs(site);
    this.history.push({ site, value, logProbs, bits: bitsOf(logProbs, value) });
    this.values[site] = value;
    this.observed[site] = 1;
    this.rows = this.reader.read(this.history.map((step) => step.value));
    return this.history.at(-1);
  }

  undo() {
    const step = this.history.pop();
    if (step === undefined) return null;
    this.observed[step.site] = this.values[step.site] = 0;
    this.rows = this.reader.read(this.history.map((each) => each.value));
    return step;
  }
}

/** A text under a network that reads it from left to right. */
class Text {
  constructor(model, arrays, random) {
    this.model = model;
    this.random = random;
    this.reader = new Reader(model, arrays);
    this.length = sizeOf(model.grid); // characters that the network reads at most
    const own = [...model.symbols.entries()].filter(([token]) => token !== model.end && token !== model.unknown);
    this.tokens = new Map(own.map(([token, symbol]) => [symbol, token]));
    this.set([]);
  }

  /** The tokens of a text, and the characters without one: these share the unknown token, or are left out. */
  encode(text) {
    const found = [], missing = new Set();
    for (const character of text) {
      if (!this.tokens.has(character)) missing.add(character);
      const token = this.tokens.get(character) ?? this.model.unknown;
      if (token !== null) found.push(token);
    }
    return [found, [...missing]];
  }

  decode(tokens) {
    return tokens.map((token) => (token === this.model.end ? "" : this.model.symbols[token])).join("");
  }

  /** Where the network begins to read a text of n characters: it reads the last ones, from half to all of its length. */
  begin(n) {
    const half = Math.max(1, this.length >> 1);
    return n < this.length ? 0 : half * (Math.floor((n - this.length) / half) + 1);
  }

  /** Whether nothing can follow: the end token is there, or a string of the largest length. */
  get ended() {
    const { end } = this.model;
    return end !== null && (this.values.at(-1) === end || this.values.length >= this.length);
  }

  /** Takes these tokens, and computes the bits of each; those that stay at the beginning keep theirs. */
  set(values) {
    if (this.model.end !== null) values = values.slice(0, this.length);
    const old = this.values ?? [];
    let same = 0;
    while (same < Math.min(values.length, old.length) && values[same] === old[same]) same++;
    this.bits = (this.bits ?? []).slice(0, same);
    this.values = values.slice();
    while (this.bits.length < values.length) {
      const n = this.bits.length, begin = this.begin(n);
      const until = range(values.length + 1).findLast((m) => this.begin(m) === begin); // characters of the same window
      const rows = this.reader.read(values.slice(begin, until));
      for (let i = n; i < values.length && this.begin(i) === begin; i++) this.bits.push(bitsOf(rows[i - begin], values[i]));
    }
    this.row = this.ended ? null : this.reader.read(values.slice(this.begin(values.length))).at(-1);
  }

  /** Reads the same text under another class. */
  setLabel(label) {
    const values = this.values;
    this.reader.restart(label);
    this.values = [];
    this.bits = [];
    this.set(values);
  }

  add(token) {
    this.set([...this.values, token]);
  }

  get total() {
    return this.bits.reduce((sum, bits) => sum + bits, 0);
  }
}
