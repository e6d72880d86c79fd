// Runs the scripts of pages that compute numbers, without a browser: node numbers.js < requests > answers, both JSON.
// A request is {page, sequences} with the path of a page and a list of sequences of values, in the order of the model;
// its answer has for each sequence the log-probabilities of all steps, or with `observed`, of all sites given those.
const fs = require("fs");
const vm = require("vm");

function open(path) {
  const html = fs.readFileSync(path, "utf8");
  const part = (id) => html.match(new RegExp(`<script[^>]* id="${id}">([^]*?)</script>`))[1];
  const context = vm.createContext({ atob, model: JSON.parse(part("model")), weights: part("weights") });
  vm.runInContext(`${part("numbers")}; const arrays = readArrays(model.arrays, weights);`, context);
  return context;
}

const GIVEN = `sequences.map((values, i) =>
  Array.from(new AnyOrder(model, arrays, randomNumbers(0)).pass(Int32Array.from(values), Uint8Array.from(observed[i]))))`;
const STEPS = "((reader) => sequences.map((values) => reader.read(values).map((row) => Array.from(row))))(new Reader(model, arrays))";

function answer({ page, sequences, observed }) {
  const context = Object.assign(open(page), { sequences, observed });
  return vm.runInContext(`JSON.stringify(${observed ? GIVEN : STEPS})`, context);
}

const requests = JSON.parse(fs.readFileSync(0, "utf8"));
process.stdout.write(`[${requests.map(answer).join(",")}]`);
