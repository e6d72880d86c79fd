// Runs the scripts of pages that compute numbers, without a browser: node numbers.js < requests > answers, both JSON.
// A request is {page, label, sequences} with the path of a page and a list of sequences of values, in the order of the model;
// its answer has for each sequence the log-probabilities of all steps, or with `observed`, of all sites given those.
// That of {page, texts} has the tokens of each text.
const fs = require("fs");
const path = require("path");
const vm = require("vm");

function open(page) {
  const html = fs.readFileSync(page, "utf8");
  const part = (id) => html.match(new RegExp(`<script[^>]* id="${id}">([^]*?)</script>`))[1];
  const context = vm.createContext({ atob, model: JSON.parse(part("model")), weights: part("weights") });
  vm.runInContext(`${part("numbers")}; const arrays = readArrays(model.arrays, weights);`, context);
  return context;
}

const GIVEN = `
  const picture = new AnyOrder(model, arrays, randomNumbers(0));
  picture.label = label;
  const found = sequences.map((values, i) => Array.from(picture.pass(Int32Array.from(values), Uint8Array.from(observed[i]))));`;
const STEPS = `
  const reader = new Reader(model, arrays);
  reader.restart(label);
  const found = sequences.map((values) => reader.read(values).map((row) => Array.from(row)));`;
const TOKENS = `
  const text = new Text(model, arrays, randomNumbers(0));
  const found = texts.map((each) => text.encode(each)[0]);`;

function answer({ page, label, sequences, observed, texts }) {
  const context = Object.assign(open(page), { label, sequences, observed, texts });
  return vm.runInContext(`${texts ? TOKENS : observed ? GIVEN : STEPS} JSON.stringify(found)`, context);
}

/** The results of a program, given its inputs as [type, shape, numbers]; its arrays are given in the same way. */
function run({ program, arrays, inputs }) {
  const script = fs.readFileSync(path.join(__dirname, "../../arjax/page/static/engine.js"), "utf8");
  const context = vm.createContext({ program, arrays, inputs });
  const made = "(list) => list.map(([type, shape, numbers]) => makeArray(type, shape, ARRAYS[type].from(numbers.map(Number))))";
  vm.runInContext(`${script}; const read = ${made}; const ready = new Program(program, read(arrays));`, context);
  const twice = "[0, 1].map(() => ready.run(read(inputs)).map(({ data }) => Array.from(data, String)))";
  return vm.runInContext(`JSON.stringify(${twice})`, context);
}

const requests = JSON.parse(fs.readFileSync(0, "utf8"));
process.stdout.write(`[${requests.map((request) => (request.program ? run(request) : answer(request))).join(",")}]`);
