// The page of a network of grids of sites: pixels, or the entries of a vector.
"use strict";

/** The rows and columns in which the sites are shown: a vector is broken into rows. */
function layout(grid) {
  if (grid.length === 2) return grid;
  const columns = Math.min(grid[0], Math.ceil(Math.sqrt(grid[0])));
  return [Math.ceil(grid[0] / columns), columns];
}

class PicturePage {
  constructor(model, picture) {
    this.model = model;
    this.picture = picture;
    [this.rows, this.columns] = layout(model.grid);
    this.most = Math.log2(model.levels); // bits of the largest entropy
    this.cursor = 0; // the site with the keyboard focus
    this.hovered = null;
    this.totals = {};
    this.work = new Work((running) => this.working(running));
    this.build();
    this.moveTo(this.next() ?? 0);
    this.show();
  }

  // ---- what is there ----

  build() {
    const { model } = this, any = this.picture.orders.length > 1;
    const pens = [["", "a draw of the model"], ...range(model.levels).map((value) => [String(value), `the value ${value}`])];
    const names = any ? this.picture.orders.map((key) => [key, ORDERS[key].name]) : [["model", model.order_name]];
    const legend = any ? "unobserved: entropy" : "next: entropy";
    $("main").append(
      make("section", { class: "left" }, this.makeGrid(), this.makeLegend(legend)),
      make(
        "section", { class: "right" },
        make(
          "div", { class: "controls" },
          select("order", "Order", names, () => this.changeOrder()),
          select("pen", "A click sets", pens, () => {}),
          ...selectClass(model, (label) => this.changeClass(label)),
        ),
        make(
          "div", { class: "controls" },
          button("draw", "Draw one", "d", () => this.drawOne()),
          button("rest", "Draw the rest", "r", () => this.drawRest()),
          button("undo", "Undo", "u", () => this.undo()),
          button("clear", "Clear", "c", () => this.clear()),
        ),
        make("p", { id: "status", role: "status", "aria-live": "polite" }),
        make("p", { id: "sofar" }),
        ...(any ? [this.makeTotals()] : []),
        make("h2", { id: "bars-title" }),
        make("div", { id: "bars", class: "bars", role: "group", "aria-labelledby": "bars-title" }),
      ),
    );
    listenToKeys();
  }

  makeGrid() {
    this.cells = range(this.picture.numSites).map((site) =>
      make("button", {
        type: "button", class: "cell", role: "gridcell", tabindex: "-1",
        onclick: () => this.click(site),
        onpointerenter: () => this.hover(site),
        onfocus: () => this.focus(site),
      }),
    );
    const rows = range(this.rows).map((row) =>
      make("div", { class: "row", role: "row" }, ...this.cells.slice(row * this.columns, (row + 1) * this.columns)),
    );
    const style = `--columns: ${this.columns}; --gap: ${this.columns > 16 ? 0 : 2}px`;
    const label = this.model.grid.length === 2 ? "pixels" : "entries";
    return make(
      "div",
      { id: "grid", class: "grid", role: "grid", "aria-label": label, style, onpointerleave: () => this.hover(null), onkeydown: (event) => this.key(event) },
      ...rows,
    );
  }

  makeLegend(text) {
    const gradient = VIRIDIS.map(css).join(", ");
    const scale = (from, shape, colours, to) =>
      make("span", { class: "scale" }, from, make("span", { class: shape, style: `background: linear-gradient(90deg, ${colours})` }), to);
    return make(
      "p", { class: "legend" },
      scale(`${text} 0`, "ramp round", gradient, inBits(this.most, 1)),
      scale("observed: 0", "ramp", "#000, #fff", String(this.model.levels - 1)),
    );
  }

  makeTotals() {
    const rows = ["raster", "random", "entropy"].map((order) =>
      make("tr", {}, make("th", { scope: "row" }, ORDERS[order].name), make("td", { id: `total-${order}` }, "–")),
    );
    return make(
      "div", {},
      make(
        "table", { id: "totals" },
        make("caption", {}, "The bits of the observed values, in several orders"),
        make("tr", {}, make("th", { scope: "row" }, "as observed"), make("td", { id: "total-own" })),
        ...rows,
      ),
      button("compare", "Compare orders", "o", () => this.compare()),
    );
  }

  // ---- what happens ----

  get order() {
    return $("order").value;
  }

  next() {
    return this.order === "clicks" && this.picture.accepts(this.cursor) ? this.cursor : this.picture.next(this.order === "clicks" ? "raster" : this.order);
  }

  changeOrder() {
    if (this.order === "random") this.picture.shuffle();
    this.toNext();
    this.show();
  }

  /** The same values under another class. */
  changeClass(label) {
    this.work.stop();
    replay(this.picture, label);
    this.forgetTotals();
    say("");
    this.show();
  }

  /** Moves the cursor to the site that comes next. */
  toNext() {
    const site = this.next();
    if (site !== null) this.moveTo(site, document.activeElement?.classList.contains("cell"));
  }

  moveTo(site, focus = false) {
    this.cells[this.cursor].tabIndex = -1;
    this.cursor = site;
    this.cells[site].tabIndex = 0;
    if (focus) this.cells[site].focus();
  }

  focus(site) {
    this.moveTo(site);
    this.hovered = null;
    this.showBars();
  }

  hover(site) {
    this.hovered = site;
    this.showBars();
  }

  key(event) {
    const row = Math.floor(this.cursor / this.columns), column = this.cursor % this.columns;
    const last = this.picture.numSites - 1;
    const moves = {
      ArrowLeft: this.cursor - 1, ArrowRight: this.cursor + 1, ArrowUp: this.cursor - this.columns,
      ArrowDown: this.cursor + this.columns, Home: row * this.columns, End: Math.min(row * this.columns + this.columns - 1, last),
    };
    if (event.key in moves) {
      const site = moves[event.key], sideways = event.key === "ArrowLeft" || event.key === "ArrowRight";
      const inside = site >= 0 && site <= last && !(sideways && Math.floor(site / this.columns) !== row);
      if (inside) this.moveTo(site, true);
    } else if (event.key === "Backspace" || event.key === "Delete") this.undo();
    else return;
    event.preventDefault();
  }

  click(site) {
    if (this.work.running) return;
    this.moveTo(site);
    const pen = $("pen").value;
    if (this.picture.accepts(site)) this.observe(site, pen === "" ? null : Number(pen));
    else {
      this.showBars();
      const next = this.next();
      say(this.picture.observed[site] || next === null ? this.words(site) : `This network sees the sites in one order: ${this.place(next)} comes next.`);
    }
  }

  /** Observes a value, or with null a draw. */
  observe(site, value) {
    this.hovered = null;
    const drawn = value ?? drawFrom(this.picture.logProbs(site), this.picture.random);
    this.picture.observe(site, drawn);
    this.forgetTotals();
    say(this.words(site));
    this.toNext();
    this.show();
  }

  drawOne() {
    const site = this.next();
    if (site !== null) this.observe(site, null);
  }

  drawRest() {
    if (this.work.running) return this.work.stop();
    this.work.start(() => {
      this.drawOne();
      return this.next() !== null;
    });
  }

  undo() {
    this.work.stop();
    const step = this.picture.undo();
    if (step === null) return say("There is nothing to undo.");
    this.forgetTotals();
    say(`${this.place(step.site)} is not observed any more.`);
    this.moveTo(step.site, document.activeElement?.classList.contains("cell"));
    this.show();
  }

  clear() {
    this.work.stop();
    this.picture.clear();
    this.forgetTotals();
    say("No site is observed.");
    this.toNext();
    this.show();
  }

  compare() {
    if (this.work.running) return this.work.stop();
    this.forgetTotals();
    this.picture.shuffle();
    const left = ["raster", "random", "entropy"].map((order) => [order, this.picture.bitsIn(order)]);
    this.work.start(() => {
      const [order, bits] = left[0], { value, done } = bits.next();
      if (!done) this.totals[order] = value;
      else left.shift();
      this.showTotals();
      return left.length > 0;
    });
  }

  forgetTotals() {
    this.totals = {};
  }

  working(running) {
    for (const id of ["draw", "clear", "order", "compare", "class"]) if ($(id)) $(id).disabled = running;
    $("rest").textContent = running ? "Stop" : "Draw the rest";
    if (!running) this.show();
  }

  // ---- what is seen ----

  place(site) {
    if (this.model.grid.length === 1) return this.model.names?.[site] ?? `Entry ${site + 1}`;
    return `Row ${Math.floor(site / this.columns) + 1}, column ${(site % this.columns) + 1}`;
  }

  words(site) {
    const step = this.picture.history.find((each) => each.site === site);
    if (step) return `${this.place(site)} is ${step.value}: ${inBits(step.bits)}.`;
    const entropy = this.picture.entropy(site);
    return `${this.place(site)}: ${entropy === null ? "not observed" : `entropy ${inBits(entropy)}`}.`;
  }

  show() {
    const { picture, model } = this, next = this.next();
    this.cells.forEach((cell, site) => {
      const entropy = picture.entropy(site), observed = picture.observed[site] === 1;
      cell.classList.toggle("observed", observed);
      cell.classList.toggle("next", site === next);
      const colour = observed ? grey(picture.values[site], model.levels) : entropy === null ? null : colourOf(entropy / this.most);
      cell.style.backgroundColor = colour === null ? "" : css(colour);
      if (!this.work.running) cell.setAttribute("aria-label", this.words(site));
    });
    const bits = picture.history.reduce((sum, step) => sum + step.bits, 0);
    $("sofar").textContent = `Observed ${picture.history.length} of ${picture.numSites}: ${inBits(bits)} so far.`;
    $("undo").disabled = picture.history.length === 0;
    if (!this.work.running) for (const id of ["draw", "rest"]) $(id).disabled = next === null;
    if ($("compare") && !this.work.running) $("compare").disabled = picture.history.length === 0;
    this.showTotals(bits);
    this.showBars();
  }

  showTotals(bits = this.picture.history.reduce((sum, step) => sum + step.bits, 0)) {
    if (!$("totals")) return;
    $("total-own").textContent = inBits(bits);
    for (const order of ["raster", "random", "entropy"])
      $(`total-${order}`).textContent = order in this.totals ? inBits(this.totals[order]) : "–";
  }

  showBars() {
    const site = this.hovered ?? (this.picture.observed[this.cursor] ? this.cursor : this.picture.accepts(this.cursor) ? this.cursor : (this.next() ?? this.cursor));
    const logProbs = this.picture.logProbs(site);
    const given = this.picture.observed[site] ? "given those before it" : "given the observed ones";
    $("bars-title").textContent = logProbs === null ? this.words(site) : `${this.place(site)}, ${given}`;
    if (logProbs === null) return $("bars").replaceChildren();
    const most = Math.exp(Math.max(...logProbs)), chosen = this.picture.observed[site] ? this.picture.values[site] : null;
    replaceButtons(
      $("bars"),
      ...range(this.model.levels).map((value) =>
        make(
          "button",
          {
            type: "button", class: value === chosen ? "bar chosen" : "bar", title: `${value}: ${percent(logProbs[value])}`,
            "aria-label": `value ${value}, ${percent(logProbs[value])}`,
            onclick: () => this.picture.accepts(site) && !this.work.running && this.observe(site, value),
            ...(this.picture.accepts(site) ? {} : { disabled: "" }),
          },
          make("span", { class: "fill", style: `height: ${((100 * Math.exp(logProbs[value])) / most).toFixed(2)}%` }),
          make("span", { class: "value" }, String(value)),
        ),
      ),
    );
  }
}
