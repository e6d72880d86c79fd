// Parts that both pages share: elements, colours, numbers in words, and work that leaves the page alive.
"use strict";

/** A new element: make("button", { class: "bar", onclick }, "text" or other elements). */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const $ = (id) => document.getElementById(id);

// The colour map viridis (Smith and van der Walt, 2015) at nine places: equal steps look equally far apart, in grey, too.
const VIRIDIS = [
  [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99],
  [170, 220, 50], [253, 231, 37],
];

/** The colour of a number between 0 and 1. */
function colourOf(x) {
  const place = clamp(x, 0, 1) * (VIRIDIS.length - 1), i = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return VIRIDIS[i].map((low, channel) => Math.round(low + (place - i) * (VIRIDIS[i + 1][channel] - low)));
}

const css = (rgb) => `rgb(${rgb.join(" ")})`;
/** Black or white: the colour of letters on a ground of this colour. */
const letters = ([r, g, b]) => (0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#000" : "#fff");
/** The grey of a value, the largest one white. */
const grey = (value, levels) => new Array(3).fill(Math.round((255 * value) / (levels - 1)));

const percent = (logProb) => `${(100 * Math.exp(logProb)).toFixed(1)} %`;
const inBits = (bits, digits = 2) => `${bits.toFixed(digits)} bits`;

/** Runs `step` in every frame until it returns false or `stop` is called; the page stays alive in between. */
class Work {
  constructor(changed) {
    this.changed = changed; // called when it begins and ends
    this.running = false;
  }

  start(step) {
    if (this.running) return;
    this.running = true;
    this.changed(true);
    const go = () => {
      if (this.running && step()) setTimeout(go, 0);
      else this.stop();
    };
    go();
  }

  stop() {
    if (!this.running) return;
    this.running = false;
    this.changed(false);
  }
}

/** Puts elements in the place of others; where one of their buttons had the focus, the button in its place has it then. */
function replaceButtons(parent, ...elements) {
  const place = [...parent.querySelectorAll("button")].indexOf(document.activeElement);
  parent.replaceChildren(...elements);
  if (place >= 0) [...parent.querySelectorAll("button")].at(place)?.focus();
}

/** Says something to readers of screens, and below the buttons. */
const say = (text) => ($("status").textContent = text);

/** Keys of one letter press the buttons that name them, where no text is typed. */
function listenToKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("textarea, input, select")) return;
    const button = document.querySelector(`button[aria-keyshortcuts="${CSS.escape(event.key)}"]:not(:disabled)`);
    if (!button) return;
    event.preventDefault();
    button.click();
  });
}

/** A choice with its label; options are pairs of a value and its text. */
const select = (id, label, options, onchange) =>
  make("label", {}, `${label} `, make("select", { id, onchange }, ...options.map(([value, text]) => make("option", { value }, text))));

/** The choice of the class on which the joint is conditioned, where it is. */
const selectClass = (model, changed) =>
  model.classes.length ? [select("class", "Class", [...model.classes.entries()], () => changed(Number($("class").value)))] : [];

/** A button with its key. */
const button = (id, text, key, onclick) =>
  make("button", { id, type: "button", onclick, ...(key ? { "aria-keyshortcuts": key, title: `key ${key}` } : {}) }, text);
