// The page of a network of text.
"use strict";

const MOST_NEXT = 12; // characters of which the page shows the probability

/** A character as it can be seen. */
const visible = (character) => ({ "\n": "⏎", " ": "␣", "\t": "⇥" })[character] ?? character;

class TextPage {
  constructor(model, text) {
    this.model = model;
    this.text = text;
    this.most = Math.log2(model.symbols.length);
    this.work = new Work((running) => this.working(running));
    this.build();
    this.show();
  }

  build() {
    $("main").append(
      make(
        "section", { class: "left" },
        make("label", { for: "typed" }, "Type, or let the network write:"),
        make("textarea", { id: "typed", rows: 5, spellcheck: "false", autocapitalize: "off", autocomplete: "off", oninput: () => this.typed() }),
        make(
          "div", { class: "controls" },
          ...selectClass(this.model, (label) => {
            this.text.setLabel(label);
            say("");
            this.show();
          }),
          button("draw", "Draw one", "d", () => this.drawOne()),
          button("rest", "Draw 200", "r", () => this.drawRest()),
          button("undo", "Undo", "u", () => this.undo()),
          button("clear", "Clear", "c", () => this.clear()),
        ),
        make("p", { id: "status", role: "status", "aria-live": "polite" }),
        make("p", { id: "sofar" }),
        make("h2", {}, "Bits of each character, given those before it"),
        make("div", { id: "bits", class: "bits" }),
      ),
      make("section", { class: "right" }, make("h2", { id: "next-title" }, "The next character"), make("ol", { id: "next", class: "next", "aria-labelledby": "next-title" })),
    );
    listenToKeys();
  }

  /** The name of a token: its character, or "end". */
  name(token) {
    return token === this.model.end ? "end" : token === this.model.unknown ? "other" : visible(this.model.symbols[token]);
  }

  typed() {
    this.work.stop();
    const [values, missing] = this.text.encode($("typed").value);
    this.text.set(values);
    const leavesOut = missing.length > 0 && this.model.unknown === null;
    if (missing.length) say(`The network does not know ${missing.join(" ")}: ${leavesOut ? "left out" : "read as “other”"}.`);
    else say("");
    this.show(leavesOut || values.length > this.text.values.length);
  }

  add(token) {
    this.text.add(token);
    say(`${this.name(token)}: ${inBits(this.text.bits.at(-1))}.`);
    this.show(true);
  }

  drawOne() {
    if (this.text.row) this.add(drawFrom(this.text.row, this.text.random));
  }

  drawRest() {
    if (this.work.running) return this.work.stop();
    let left = 200;
    this.work.start(() => {
      this.drawOne();
      return --left > 0 && this.text.row !== null;
    });
  }

  undo() {
    this.work.stop();
    if (this.text.values.length === 0) return say("There is nothing to undo.");
    this.text.set(this.text.values.slice(0, -1));
    say("");
    this.show(true);
  }

  clear() {
    this.work.stop();
    this.text.set([]);
    say("");
    this.show(true);
  }

  working(running) {
    for (const id of ["draw", "clear", "class"]) if ($(id)) $(id).disabled = running;
    $("rest").textContent = running ? "Stop" : "Draw 200";
    if (!running) this.show();
  }

  /** Shows the state; with `write` also in the field of the text. */
  show(write = false) {
    const { text } = this, n = text.values.length;
    if (write) {
      $("typed").value = text.decode(text.values);
      $("typed").scrollTop = $("typed").scrollHeight;
    }
    const rate = n ? `, ${(text.total / n).toFixed(2)} bits per character` : "";
    $("sofar").textContent = `${n} ${n === 1 ? "character" : "characters"}: ${inBits(text.total)}${rate}.`;
    $("undo").disabled = n === 0;
    if (!this.work.running) for (const id of ["draw", "rest"]) $(id).disabled = text.row === null;
    this.showBits();
    this.showNext();
  }

  /** Characters that stay at the beginning keep their elements. */
  showBits() {
    const { values, bits } = this.text, shown = (this.shown ??= []), list = $("bits");
    let same = 0;
    while (same < Math.min(values.length, shown.length) && values[same] === shown[same].value && bits[same] === shown[same].bits) same++;
    for (const { elements } of shown.splice(same)) elements.forEach((element) => element.remove());
    for (let i = same; i < values.length; i++) {
      const elements = this.elementsOf(values[i], bits[i]);
      list.append(...elements);
      shown.push({ value: values[i], bits: bits[i], elements });
    }
    list.scrollTop = list.scrollHeight;
  }

  /** A character above its bits; the end of a line also ends that of the elements. */
  elementsOf(value, bits) {
    const colour = colourOf(bits / this.most), name = this.name(value);
    const element = make(
      "span", { class: "char", title: inBits(bits) },
      make("span", { class: "letter", style: `background: ${css(colour)}; color: ${letters(colour)}` }, name),
      make("span", { class: "number" }, bits.toFixed(1)),
    );
    return name === "⏎" ? [element, make("span", { class: "break" })] : [element];
  }

  showNext() {
    const { row } = this.text;
    if (row === null) return $("next").replaceChildren(make("li", {}, "The text has ended."));
    const best = range(row.length).sort((a, b) => row[b] - row[a]).slice(0, MOST_NEXT), most = Math.exp(row[best[0]]);
    replaceButtons(
      $("next"),
      ...best.map((token) =>
        make(
          "li", {},
          make(
            "button",
            { type: "button", "aria-label": `${this.name(token)}, ${percent(row[token])}`, onclick: () => !this.work.running && this.add(token) },
            make("span", { class: "letter" }, this.name(token)),
            make("span", { class: "track" }, make("span", { class: "fill", style: `width: ${((100 * Math.exp(row[token])) / most).toFixed(2)}%` })),
            make("span", { class: "value" }, percent(row[token])),
          ),
        ),
      ),
    );
  }
}
