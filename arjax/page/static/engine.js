// Runs the programs that arjax/page/program.py writes: lists of operations on arrays of known shapes.
//
// An array is {type, shape, data}: row-major elements in a typed array. An operation is [name, fields, operands, results];
// an operand is the number of an array, or a scalar as [text, type]; a result is [number, type, shape]. Shapes are fixed,
// so where the elements of a result come from is worked out once and kept in the fields of the operation.
"use strict";

const ARRAYS = { f: Float32Array, i: Int32Array, u: Uint32Array, b: Uint8Array };

const sizeOf = (shape) => shape.reduce((product, n) => product * n, 1);
const makeArray = (type, shape, data) => ({ type, shape, data: data ?? new ARRAYS[type](sizeOf(shape)) });

/** The distance in memory between neighbours along each axis. */
function stridesOf(shape) {
  const strides = new Array(shape.length);
  for (let axis = shape.length - 1, stride = 1; axis >= 0; stride *= shape[axis--]) strides[axis] = stride;
  return strides;
}

/** sum_axis index[axis] * strides[axis] + start for every index of a shape, in order. */
function placesOf(shape, strides, start = 0) {
  const places = new Int32Array(sizeOf(shape));
  const index = new Array(shape.length).fill(0);
  for (let n = 0, place = start; n < places.length; n++) {
    places[n] = place;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      place += strides[axis];
      if (++index[axis] < shape[axis]) break;
      place -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return places;
}

const range = (n) => Array.from({ length: n }, (_, i) => i);
const others = (rank, axes) => range(rank).filter((axis) => !axes.includes(axis));
const pick = (list, axes) => axes.map((axis) => list[axis]);
const clamp = (x, low, high) => Math.min(Math.max(x, low), high);

// ---- elementwise ----------------------------------------------------------------------------------------------------

/** x ** n for a whole number n. */
function power(x, n) {
  if (n < 0) return 1 / power(x, -n);
  let product = 1;
  for (; n > 0; n >>= 1, x *= x) if (n & 1) product *= x;
  return product;
}

/** Rounds halves away from 0 or, with `even`, to the even neighbour. */
function rounded(x, even) {
  const whole = Math.trunc(x);
  const rest = Math.abs(x - whole);
  if (rest < 0.5 || (rest === 0.5 && even && whole % 2 === 0)) return whole;
  return whole + Math.sign(x);
}

const UNARY = {
  abs: Math.abs, ceil: Math.ceil, cos: Math.cos, exp: Math.exp, exp2: (x) => 2 ** x, expm1: Math.expm1, floor: Math.floor,
  is_finite: (x) => Number.isFinite(x), log: Math.log, log1p: Math.log1p, logistic: (x) => 1 / (1 + Math.exp(-x)),
  neg: (x) => -x, rsqrt: (x) => 1 / Math.sqrt(x), sign: Math.sign, sin: Math.sin, sqrt: Math.sqrt, square: (x) => x * x,
  tanh: Math.tanh,
};
const BINARY = {
  add: (x, y) => x + y, sub: (x, y) => x - y, div: (x, y) => x / y, rem: (x, y) => x % y,
  pow: (x, y) => x ** y, max: Math.max, min: Math.min, and: (x, y) => x & y, or: (x, y) => x | y, xor: (x, y) => x ^ y,
  eq: (x, y) => x === y, ne: (x, y) => x !== y, lt: (x, y) => x < y, le: (x, y) => x <= y, gt: (x, y) => x > y,
  ge: (x, y) => x >= y,
};

const unary = (f) => ([x], _, [result]) => {
  const from = x.data, to = result.data;
  for (let n = 0; n < to.length; n++) to[n] = f(from[n]);
};
const binary = (f) => ([x, y], _, [result]) => {
  const a = x.data, b = y.data, to = result.data;
  const p = a.length === 1 ? 0 : 1, q = b.length === 1 ? 0 : 1; // scalars stand beside arrays of any shape
  for (let n = 0; n < to.length; n++) to[n] = f(a[p * n], b[q * n]);
};

const multiply = { f: binary((x, y) => x * y), i: binary(Math.imul), u: binary(Math.imul) };

// ---- elements from other places: result[n] = x[from[n]] --------------------------------------------------------------

/** An operation that only moves elements; `places(fields, x, result)` says from where. */
const moved = (places) => ([x], fields, [result]) => {
  const from = (fields.places ??= places(fields, x, result)), source = x.data, to = result.data;
  for (let n = 0; n < to.length; n++) to[n] = source[from[n]];
};

function broadcastPlaces(fields, x, result) {
  const strides = new Array(result.shape.length).fill(0), own = stridesOf(x.shape);
  fields.dims.forEach((axis, i) => (strides[axis] = x.shape[i] === 1 ? 0 : own[i]));
  return placesOf(result.shape, strides);
}

function reversedPlaces(fields, x, result) {
  const strides = stridesOf(x.shape);
  let start = 0;
  for (const axis of fields.axes) {
    start += (x.shape[axis] - 1) * strides[axis];
    strides[axis] *= -1;
  }
  return placesOf(result.shape, strides, start);
}

function slicePlaces(fields, x, result) {
  const strides = stridesOf(x.shape);
  const start = fields.start.reduce((sum, first, axis) => sum + first * strides[axis], 0);
  return placesOf(result.shape, strides.map((stride, axis) => stride * fields.step[axis]), start);
}

/** The places in a whole array of a part of it that begins at the given indices, moved inside where it would stick out. */
function partPlaces(whole, part, starts) {
  const strides = stridesOf(whole);
  const start = starts.reduce((sum, { data }, axis) => sum + clamp(data[0], 0, whole[axis] - part[axis]) * strides[axis], 0);
  return placesOf(part, strides, start);
}

function concatenate(xs, fields, [result]) {
  const stride = stridesOf(result.shape)[fields.axis];
  const row = result.shape[fields.axis] * stride, rows = result.data.length / row;
  let start = 0;
  for (const x of xs) {
    const length = x.shape[fields.axis] * stride;
    for (let i = 0; i < rows; i++) result.data.set(x.data.subarray(i * length, (i + 1) * length), i * row + start);
    start += length;
  }
}

function pad([x, filling], fields, [result]) {
  result.data.fill(filling.data[0]);
  const index = new Array(x.shape.length).fill(0), strides = stridesOf(result.shape);
  for (let n = 0; n < x.data.length; n++) {
    let place = 0, inside = true;
    for (let axis = 0; axis < index.length; axis++) {
      const at = fields.low[axis] + index[axis] * fields.step[axis];
      inside &&= at >= 0 && at < result.shape[axis];
      place += at * strides[axis];
    }
    if (inside) result.data[place] = x.data[n];
    for (let axis = index.length - 1; axis >= 0 && ++index[axis] === x.shape[axis]; axis--) index[axis] = 0;
  }
}

/**
 * Visits windows of x, each of which begins where the last axis of the indices says: calls visit(place in x, outside, place
 * in the other array) for every window, with the places of its elements in `fields.inside` and, in the other array, in
 * `fields.within`. The other array is the result of a gather, or the updates of a scatter.
 */
function eachWindow(x, indices, other, fields, visit) {
  const strides = stridesOf(x.shape), last = indices.shape.length - 1, length = indices.shape[last];
  const kept = others(x.shape.length, [...fields.collapsed, ...fields.batch]);
  const batchAxes = others(other.shape.length, fields.offset); // of the other array; the rest lie within a window
  const placesAlong = (axes) => placesOf(pick(other.shape, axes), pick(stridesOf(other.shape), axes));
  fields.inside ??= placesOf(pick(fields.sizes, kept), pick(strides, kept));
  fields.within ??= placesAlong(fields.offset);
  fields.to ??= placesAlong(batchAxes);
  // Where the index of a window along a batch axis of the indices is that along an axis of x.
  fields.of ??= fields.batch.map((axis, i) => {
    const own = new Array(last).fill(0);
    own[fields.indices_batch[i]] = strides[axis];
    return placesOf(indices.shape.slice(0, last), own);
  });
  for (let w = 0; w < fields.to.length; w++) {
    let from = fields.of.reduce((sum, places) => sum + places[w], 0), outside = false;
    fields.start.forEach((axis, i) => {
      const most = x.shape[axis] - fields.sizes[axis], at = indices.data[w * length + i];
      outside ||= at < 0 || at > most;
      from += clamp(at, 0, most) * strides[axis];
    });
    visit(from, outside, fields.to[w]);
  }
}

/** Windows of x beside one another, as `jax.lax.gather`. */
function gather([x, indices], fields, [result]) {
  const missing = x.type === "f" ? NaN : x.type === "i" ? -(2 ** 31) : x.type === "u" ? 2 ** 32 - 1 : 1;
  eachWindow(x, indices, result, fields, (from, outside, to) => {
    const absent = outside && fields.fill;
    fields.inside.forEach((place, n) => (result.data[to + fields.within[n]] = absent ? missing : x.data[from + place]));
  });
}

/** x with windows replaced by the updates, or with them added, as `jax.lax.scatter` and `scatter_add`. */
const scatter = (f) => ([x, indices, updates], fields, [result]) => {
  result.data.set(x.data);
  eachWindow(x, indices, updates, fields, (from, outside, to) => {
    if (outside && !fields.clip) return;
    fields.inside.forEach((place, n) => {
      result.data[from + place] = f(result.data[from + place], updates.data[to + fields.within[n]]);
    });
  });
};

// ---- sums and products ----------------------------------------------------------------------------------------------

/** result[n] = f over the elements of x that differ in the reduced axes alone; numbers are added in double precision. */
const reduced = (start, f) => ([x], fields, [result]) => {
  const kept = others(x.shape.length, fields.axes), strides = new Array(x.shape.length).fill(0);
  const own = stridesOf(result.shape);
  kept.forEach((axis, i) => (strides[axis] = own[i]));
  const to = (fields.places ??= placesOf(x.shape, strides)), sums = new Float64Array(result.data.length).fill(start);
  for (let n = 0; n < x.data.length; n++) sums[to[n]] = f(sums[to[n]], x.data[n]);
  result.data.set(sums);
};

/** The index of the best element along one axis, the first of equal ones. */
const best = (better) => ([x], fields, [result]) => {
  const axis = fields.axes[0], stride = stridesOf(x.shape)[axis], length = x.shape[axis];
  const kept = others(x.shape.length, fields.axes);
  const from = (fields.places ??= placesOf(result.shape, pick(stridesOf(x.shape), kept)));
  for (let n = 0; n < from.length; n++) {
    let found = 0;
    for (let i = 1; i < length; i++) if (better(x.data[from[n] + i * stride], x.data[from[n] + found * stride])) found = i;
    result.data[n] = found;
  }
};

/** result[i] = f(result[i - 1], x[i]) along one axis. */
const cumulative = (f) => ([x], fields, [result]) => {
  const stride = stridesOf(x.shape)[fields.axis], length = x.shape[fields.axis];
  const rest = others(x.shape.length, [fields.axis]);
  const from = (fields.places ??= placesOf(pick(x.shape, rest), pick(stridesOf(x.shape), rest)));
  for (const first of from) {
    const begin = fields.reverse ? first + (length - 1) * stride : first, next = fields.reverse ? -stride : stride;
    let so_far = x.data[begin];
    result.data[begin] = so_far;
    for (let i = 1; i < length; i++) {
      so_far = f(so_far, x.data[begin + i * next]);
      result.data[begin + i * next] = so_far;
    }
  }
};

/** sums[j] += factor * x[start + j] and, below, x[start + places[j]]: the inner loops of all products. */
function addRow(sums, factor, x, start) {
  for (let j = 0; j < sums.length; j++) sums[j] += factor * x[start + j];
}

function addPlaces(sums, factor, x, start, places) {
  for (let j = 0; j < sums.length; j++) sums[j] += factor * x[start + places[j]];
}

/** The places of a product: of each operand those of its batch, free and contracted axes. */
function productPlan(operands, fields) {
  const places = operands.map(({ shape }, side) => {
    const strides = stridesOf(shape), batch = fields.batch[side], contract = fields.contract[side];
    const free = others(shape.length, [...batch, ...contract]);
    return [batch, free, contract].map((axes) => placesOf(pick(shape, axes), pick(strides, axes)));
  });
  const [, columns] = places[1];
  const add = columns.every((place, j) => place === j) ? addRow : addPlaces;
  return { places, add, sums: new Float64Array(columns.length) };
}

/** result[b, i, j] = sum_k x[b, i, k] y[b, j, k], where b, i, j and k stand for any number of axes; in double precision. */
function dotGeneral([x, y], fields, [result]) {
  const { places, add, sums } = (fields.plan ??= productPlan([x, y], fields));
  const [[xB, xI, xK], [yB, yJ, yK]] = places;
  for (let n = 0, to = 0; n < xB.length; n++) {
    for (let i = 0; i < xI.length; i++, to += sums.length) {
      sums.fill(0);
      for (let k = 0; k < xK.length; k++) {
        const factor = x.data[xB[n] + xI[i] + xK[k]];
        if (factor !== 0) add(sums, factor, y.data, yB[n] + yK[k], yJ); // many inputs are 0, and all numbers finite
      }
      result.data.set(sums, to);
    }
  }
}

/** Where the elements of a convolution stand: a list of [place in x, place in the kernel] for each place in the result. */
function convolutionPlan(x, kernel, result, fields) {
  const { stride, low, spread, dilation } = fields, spatial = range(stride.length);
  const along = ({ shape }, spec) => pick(stridesOf(shape), spec.slice(2));
  const xStrides = along(x, fields.x), taps = pick(kernel.shape, fields.kernel.slice(2));
  const indices = (shape) => {
    const each = shape.map((_size, axis) => placesOf(shape, shape.map((_, other) => (other === axis ? 1 : 0))));
    return range(sizeOf(shape)).map((n) => each.map((places) => places[n]));
  };
  const tapPlaces = placesOf(taps, along(kernel, fields.kernel)), outShape = pick(result.shape, fields.result.slice(2));
  return indices(outShape).map((out) =>
    indices(taps).flatMap((tap, t) => {
      const from = spatial.map((axis) => (out[axis] * stride[axis] + tap[axis] * dilation[axis] - low[axis]) / spread[axis]);
      const inside = from.every((i, axis) => Number.isInteger(i) && i >= 0 && i < x.shape[fields.x[axis + 2]]);
      return inside ? [[from.reduce((sum, i, axis) => sum + i * xStrides[axis], 0), tapPlaces[t]]] : [];
    }),
  );
}

/** A convolution as `jax.lax.conv_general_dilated`; the axes of each array are those of (batch, features, grid). */
function convolution([x, kernel], fields, [result]) {
  fields.plan ??= convolutionPlan(x, kernel, result, fields);
  const outPlaces = placesOf(pick(result.shape, fields.result.slice(2)), pick(stridesOf(result.shape), fields.result.slice(2)));
  const [xB, xF] = pick(stridesOf(x.shape), fields.x), [kO, kI] = pick(stridesOf(kernel.shape), fields.kernel);
  const [rB, rF] = pick(stridesOf(result.shape), fields.result), [batch, features] = pick(result.shape, fields.result);
  const inputs = kernel.shape[fields.kernel[1]], perGroup = features / fields.groups;
  for (let b = 0; b < batch; b++) {
    fields.plan.forEach((pairs, o) => {
      for (let out = 0; out < features; out++) {
        const first = b * xB + Math.floor(out / perGroup) * inputs * xF;
        let sum = 0;
        for (const [from, tap] of pairs)
          for (let i = 0; i < inputs; i++) sum += x.data[first + from + i * xF] * kernel.data[tap + out * kO + i * kI];
        result.data[b * rB + outPlaces[o] + out * rF] = sum;
      }
    });
  }
}

// ---- loops and branches ---------------------------------------------------------------------------------------------

const inner = (fields, name, engine) => (fields[`${name}Program`] ??= new Program(fields[name], engine.arrays));

/** The part of x at one index of its first axis, without a copy. */
function at(x, i) {
  const shape = x.shape.slice(1), size = sizeOf(shape);
  return makeArray(x.type, shape, x.data.subarray(i * size, (i + 1) * size));
}

function scan(operands, fields, results, engine) {
  const body = inner(fields, "body", engine), { consts, carry, length } = fields;
  const fixed = operands.slice(0, consts), xs = operands.slice(consts + carry);
  let state = operands.slice(consts, consts + carry);
  for (let step = 0; step < length; step++) {
    const i = fields.reverse ? length - 1 - step : step;
    const made = body.run([...fixed, ...state, ...xs.map((x) => at(x, i))]);
    state = made.slice(0, carry);
    made.slice(carry).forEach((y, n) => at(results[carry + n], i).data.set(y.data));
  }
  state.forEach((value, n) => results[n].data.set(value.data));
}

function whileLoop(operands, fields, results, engine) {
  const test = inner(fields, "test", engine), body = inner(fields, "body", engine);
  const forTest = operands.slice(0, fields.test_consts), rest = operands.slice(fields.test_consts);
  const forBody = rest.slice(0, fields.body_consts);
  let state = rest.slice(fields.body_consts);
  while (test.run([...forTest, ...state])[0].data[0]) state = body.run([...forBody, ...state]);
  state.forEach((value, n) => results[n].data.set(value.data));
}

function branch([which, ...operands], fields, results, engine) {
  const programs = (fields.programs ??= fields.branches.map((program) => new Program(program, engine.arrays)));
  const made = programs[clamp(which.data[0], 0, programs.length - 1)].run(operands);
  made.forEach((value, n) => results[n].data.set(value.data));
}

// ---- all operations: (operands, fields, results, engine) -> fills the results ------------------------------------------

const OPERATIONS = {
  ...Object.fromEntries(Object.entries(UNARY).map(([name, f]) => [name, unary(f)])),
  ...Object.fromEntries(Object.entries(BINARY).map(([name, f]) => [name, binary(f)])),
  mul: (xs, fields, results) => multiply[results[0].type](xs, fields, results),
  not: ([x], _, [result]) => x.data.forEach((value, n) => (result.data[n] = x.type === "b" ? !value : ~value)),
  round: (xs, fields, results) => unary((x) => rounded(x, fields.even))(xs, fields, results),
  integer_pow: (xs, fields, results) => unary((x) => power(x, fields.power))(xs, fields, results),
  convert_element_type: (xs, fields, results) =>
    (results[0].type === "b" ? unary((x) => x !== 0) : unary((x) => x))(xs, fields, results),
  clamp: ([low, x, high], _, [result]) => {
    const p = low.data.length === 1 ? 0 : 1, q = high.data.length === 1 ? 0 : 1;
    x.data.forEach((value, n) => (result.data[n] = clamp(value, low.data[p * n], high.data[q * n])));
  },
  select_n: ([which, ...cases], _, [result]) => {
    const p = which.data.length === 1 ? 0 : 1, to = result.data;
    for (let n = 0; n < to.length; n++) to[n] = cases[which.data[p * n]].data[n];
  },
  reshape: ([x], _, [result]) => (result.data = x.data), // arrays are never changed once they are made
  broadcast_in_dim: moved(broadcastPlaces),
  transpose: moved((fields, x, result) => placesOf(result.shape, pick(stridesOf(x.shape), fields.dims))),
  rev: moved(reversedPlaces),
  slice: moved(slicePlaces),
  iota: (_, fields, [result]) => {
    const strides = result.shape.map((_size, axis) => (axis === fields.axis ? 1 : 0));
    result.data.set(placesOf(result.shape, strides));
  },
  concatenate,
  pad,
  gather,
  scatter: scatter((_, update) => update),
  "scatter-add": scatter((value, update) => value + update),
  dynamic_slice: ([x, ...starts], _, [result]) => {
    partPlaces(x.shape, result.shape, starts).forEach((place, n) => (result.data[n] = x.data[place]));
  },
  dynamic_update_slice: ([x, part, ...starts], _, [result]) => {
    result.data.set(x.data);
    partPlaces(x.shape, part.shape, starts).forEach((place, n) => (result.data[place] = part.data[n]));
  },
  reduce_sum: reduced(0, (sum, x) => sum + x),
  reduce_prod: reduced(1, (product, x) => product * x),
  reduce_max: reduced(-Infinity, Math.max),
  reduce_min: reduced(Infinity, Math.min),
  reduce_and: reduced(1, (all, x) => all & x),
  reduce_or: reduced(0, (any, x) => any | x),
  argmax: best((x, y) => x > y),
  argmin: best((x, y) => x < y),
  cumsum: cumulative((sum, x) => sum + x),
  cumprod: cumulative((product, x) => product * x),
  cummax: cumulative(Math.max),
  cummin: cumulative(Math.min),
  dot_general: dotGeneral,
  conv_general_dilated: convolution,
  scan,
  while: whileLoop,
  cond: branch,
};

/** A function of arrays. `run` takes the arrays of its inputs, and returns those of its outputs. */
class Program {
  constructor(program, arrays) {
    this.program = program;
    this.arrays = arrays;
    this.known = [];
    for (const [number, place] of program.arrays) this.known[number] = arrays[place];
    this.execute(program.once, this.known);
  }

  run(inputs) {
    const values = this.known.slice();
    this.program.inputs.forEach(([number], n) => (values[number] = inputs[n]));
    this.execute(this.program.steps, values);
    return this.program.outputs.map((operand) => this.operand(operand, values));
  }

  operand(operand, values) {
    if (!Array.isArray(operand)) return values[operand];
    const [text, type] = operand;
    return makeArray(type, [], ARRAYS[type].of(Number(text)));
  }

  execute(operations, values) {
    for (const [name, fields, operands, results] of operations) {
      const made = results.map(([, type, shape]) => makeArray(type, shape));
      OPERATIONS[name](operands.map((operand) => this.operand(operand, values)), fields, made, this);
      results.forEach(([number], n) => (values[number] = made[n]));
    }
  }
}

// ---- numbers in text ------------------------------------------------------------------------------------------------

/** The value of a number in half precision (IEEE 754 binary16), given its 16 bits. */
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1, exponent = (bits >> 10) & 31, fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** The arrays of a page: `forms` has the stored type and the shape of each, `text` their bytes in base64. */
function readArrays(forms, text) {
  const letters = atob(text.trim()), bytes = new Uint8Array(letters.length);
  for (let n = 0; n < bytes.length; n++) bytes[n] = letters.charCodeAt(n);
  let start = 0;
  return forms.map(([stored, shape]) => {
    const Stored = stored === "h" ? Uint16Array : ARRAYS[stored], size = sizeOf(shape);
    const data = new Stored(bytes.slice(start, (start += size * Stored.BYTES_PER_ELEMENT)).buffer);
    return stored === "h" ? makeArray("f", shape, Float32Array.from(data, fromHalf)) : makeArray(stored, shape, data);
  });
}
