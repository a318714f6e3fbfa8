// The model itself: reads and draws ids with the arithmetic of nextchar's compiled step, number for number, so that a
// seed gives the same text here and there (docs/export.md). Needs no page; runs in a worker, or in node for the tests.
//
// A variable holds a float32 as the double of the same value. The product of two of these is exact, so
// `fround(a * b + c)` is a fused multiply-add of float32, and `fround(a / b)` is a division.
const { fround, floor } = Math;
const TILE = 8; // rows of a matrix that are multiplied together; in the file their weights are side by side
const UNIT = 4096; // the integer that stands for an activation of 1, with int8 weights
const SHIFT = 2 ** 26;
const POWERS = Float64Array.from({ length: 256 }, (_, k) => 2 ** (k - 127));
const [LOG2E, LN2_HIGH, LN2_LOW, P0, P1, P2, P3, P4] = [1.44269504, 0.693359375, 2.1219444e-4,
  1.987569150e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1].map(fround);

// e^x as a polynomial times the power of two at POWERS[exponent[0]], and 1 + e^x in one rounding.
const exponent = new Int32Array(1); // a variable would be allocated anew for each number
function polynomial(x) {
  const within = x < -87 ? -87 : x > 88 ? 88 : x;
  const k = floor(fround(within * LOG2E + 0.5)), r = fround(k * LN2_LOW - fround(k * LN2_HIGH - within));
  let p = fround(P0 * r + P1);
  p = fround(p * r + P2);
  p = fround(p * r + P3);
  p = fround(p * r + P4);
  p = fround(p * r + 0.5);
  exponent[0] = k + 127;
  return fround(fround(r * r) * p + fround(r + 1));
}
const exponential = (x) => fround(polynomial(x) * POWERS[exponent[0]]);
const onePlusExp = (x) => fround(polynomial(x) * POWERS[exponent[0]] + 1);
const tanh = (x) => fround(1 - fround(2 / onePlusExp(fround(x + x))));

// out = bias + weights x, in float32, in the order of the columns.
function multiplyFloats({ weights, rows }, x, bias, out) {
  const columns = x.length;
  for (let row = 0, p = 0; row < rows; row += TILE) {
    let a = bias[row], b = bias[row + 1], c = bias[row + 2], d = bias[row + 3];
    let e = bias[row + 4], f = bias[row + 5], g = bias[row + 6], h = bias[row + 7];
    for (let k = 0; k < columns; k++, p += TILE) {
      const v = x[k];
      a = fround(weights[p] * v + a); b = fround(weights[p + 1] * v + b);
      c = fround(weights[p + 2] * v + c); d = fround(weights[p + 3] * v + d);
      e = fround(weights[p + 4] * v + e); f = fround(weights[p + 5] * v + f);
      g = fround(weights[p + 6] * v + g); h = fround(weights[p + 7] * v + h);
    }
    out[row] = a; out[row + 1] = b; out[row + 2] = c; out[row + 3] = d;
    out[row + 4] = e; out[row + 5] = f; out[row + 6] = g; out[row + 7] = h;
  }
}
// The same with integers. Each double of `pairs` holds the weights of two rows, u + v 2^26, so one multiplication does
// two; sums of `deep` columns of u stay below 2^25, so that they can be told apart, and all sums are exact.
function multiplyPairs({ pairs, rows, scales, deep }, x, bias, out) {
  const columns = x.length;
  for (let row = 0, p = 0; row < rows; row += TILE) {
    let a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
    for (let first = 0; first < columns; first += deep) {
      const last = Math.min(columns, first + deep);
      let s = 0, t = 0, u = 0, w = 0;
      for (let k = first; k < last; k++, p += 4) {
        const v = x[k];
        s += pairs[p] * v; t += pairs[p + 1] * v; u += pairs[p + 2] * v; w += pairs[p + 3] * v;
      }
      const high = Math.round(s / SHIFT), second = Math.round(t / SHIFT), third = Math.round(u / SHIFT), fourth = Math.round(w / SHIFT);
      a += s - high * SHIFT; b += high;
      c += t - second * SHIFT; d += second;
      e += u - third * SHIFT; f += third;
      g += w - fourth * SHIFT; h += fourth;
    }
    out[row] = fround(fround(a) * scales[row] + bias[row]);
    out[row + 1] = fround(fround(b) * scales[row + 1] + bias[row + 1]);
    out[row + 2] = fround(fround(c) * scales[row + 2] + bias[row + 2]);
    out[row + 3] = fround(fround(d) * scales[row + 3] + bias[row + 3]);
    out[row + 4] = fround(fround(e) * scales[row + 4] + bias[row + 4]);
    out[row + 5] = fround(fround(f) * scales[row + 5] + bias[row + 5]);
    out[row + 6] = fround(fround(g) * scales[row + 6] + bias[row + 6]);
    out[row + 7] = fround(fround(h) * scales[row + 7] + bias[row + 7]);
  }
}
function matrix(weights, scales, rows, largest) {
  if (weights instanceof Float32Array) return { multiply: multiplyFloats, weights, rows };
  const pairs = new Float64Array(weights.length / 2);
  for (let k = 0; k < pairs.length; k++) pairs[k] = weights[2 * k] + weights[2 * k + 1] * SHIFT;
  return { multiply: multiplyPairs, pairs, rows, scales, deep: Math.max(1, floor(64 / largest)) };
}

// From the pre-activations of the gates, four groups of 16 units in each block, to the next state; order of rounding as
// LLVM compiles kernels/cells.py: products with 1 / (1 + e^-x) are divisions.
const CELLS = {
  lstm(gates, memory, hidden, at, units, whole) {
    for (let k = 0; k < units; k++) {
      const row = (k >> 4) * 64 + (k & 15);
      const i = onePlusExp(-gates[row]), f = onePlusExp(-gates[row + 16]), g = tanh(gates[row + 32]);
      const cell = fround(fround(memory[at + k] / f) + fround(g / i));
      const value = fround(tanh(cell) / onePlusExp(-gates[row + 48]));
      memory[at + k] = cell;
      hidden[at + k] = whole ? floor(fround(value * UNIT + 0.5)) : value;
    }
  },
  gru(gates, memory, hidden, at, units, whole) {
    for (let k = 0; k < units; k++) {
      const row = (k >> 4) * 64 + (k & 15);
      const r = onePlusExp(-gates[row]), z = onePlusExp(-gates[row + 16]);
      const n = tanh(fround(fround(gates[row + 48] / r) + gates[row + 32]));
      const value = fround(fround(fround(memory[at + k] - n) / z) + n);
      memory[at + k] = value;
      hidden[at + k] = whole ? floor(fround(value * UNIT + 0.5)) : value;
    }
  },
  rnn(gates, memory, hidden, at, units, whole) {
    for (let k = 0; k < units; k++) {
      const loss = fround(2 / onePlusExp(fround(gates[k] + gates[k])));
      memory[at + k] = fround(1 - loss);
      hidden[at + k] = whole ? floor(fround(UNIT + 0.5 - UNIT * loss)) : memory[at + k];
    }
  },
};

// shape: { cell, layers, units (of a layer, with padding), size (V), sum (the head reads all layers) }; arrays: as
// exporting/html.py names them. A state is { hidden, memory, logits },
// the first two one layer after the other.
function network({ cell, layers, units, size, sum }, arrays) {
  const whole = !(arrays.first instanceof Float32Array), rows = arrays.table.length / (size + 1);
  const top = layers - 1, scales = (k) => arrays.scales.subarray(k * rows, (k + 1) * rows);
  const matrices = [matrix(arrays.first, scales(0), rows, 1)];
  const part = arrays.above.length / Math.max(1, top);
  for (let k = 0; k < top; k++) matrices.push(matrix(arrays.above.subarray(k * part, (k + 1) * part), scales(k + 1), rows, 1));
  const head = matrix(arrays.head, arrays.head_scales, arrays.head_bias.length, sum ? layers : 1);
  const gates = new Float64Array(rows), total = new Float64Array(units);
  const empty = () => ({ hidden: new Float64Array(layers * units), memory: new Float64Array(layers * units), logits: new Float64Array(head.rows) });
  // Updates a state by an id, and returns the logits of the next, which the next call with this state overwrites.
  function read({ hidden, memory, logits }, id) {
    for (let layer = 0; layer < layers; layer++) {
      const x = hidden.subarray(Math.max(0, layer - 1) * units, (layer + 1) * units), from = layer ? (layer - 1) * rows : id * rows;
      const bias = (layer ? arrays.bias : arrays.table).subarray(from, from + rows);
      matrices[layer].multiply(matrices[layer], x, bias, gates);
      CELLS[cell](gates, memory, hidden, layer * units, units, whole);
    }
    total.set(hidden.subarray(top * units));
    for (let layer = 0; sum && layer < top; layer++) for (let k = 0; k < units; k++) total[k] = fround(total[k] + hidden[layer * units + k]);
    head.multiply(head, total, arrays.head_bias, logits);
    return logits.subarray(0, size);
  }
  return { empty, read, size };
}

// The key of the random numbers of a seed's first text: numpy's SeedSequence((seed, 0)).generate_state(1, uint64).
function streamKey(seed) {
  const words = [];
  for (let rest = BigInt(seed); rest > 0n || !words.length; rest >>= 32n) words.push(Number(rest & 0xffffffffn));
  words.push(0);
  let constant = 0x43b0d7e5;
  const scramble = (value, factor) => {
    const mixed = value ^ constant;
    constant = Math.imul(constant, factor);
    const product = Math.imul(mixed, constant);
    return product ^ (product >>> 16);
  };
  const mix = (x, y) => {
    const mixed = (Math.imul(x, 0xca01f9dd) - Math.imul(y, 0x4973f715)) | 0;
    return mixed ^ (mixed >>> 16);
  };
  const pool = [0, 1, 2, 3].map((k) => scramble(words[k] ?? 0, 0x931e8875));
  for (let from = 0; from < 4; from++) for (let to = 0; to < 4; to++) if (from !== to) pool[to] = mix(pool[to], scramble(pool[from], 0x931e8875));
  for (const word of words.slice(4)) for (let to = 0; to < 4; to++) pool[to] = mix(pool[to], scramble(word, 0x931e8875));
  constant = 0x8b51f9dd;
  const [low, high] = pool.slice(0, 2).map((value) => BigInt(scramble(value, 0x58f38ded) >>> 0));
  return low | (high << 32n);
}
// Random number `count` of a key, from [0, 1): SplitMix64.
function uniform(key, count) {
  const wrap = (value) => BigInt.asUintN(64, value);
  let z = wrap(key + BigInt(count + 1) * 0x9e3779b97f4a7c15n);
  z = wrap((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
  z = wrap((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
  return Number((z ^ (z >> 31n)) >> 11n) * 2 ** -53;
}
function argmax(values) {
  let best = 0;
  for (let k = 1; k < values.length; k++) if (values[k] > values[best]) best = k;
  return best;
}
// The id that a random number draws, as kernels/sampler.py does it.
function draw(logits, { temperature = 1, topK = 0, topP = 1, minP = 0 }, number) {
  const top = argmax(logits), size = logits.length;
  if (temperature === 0) return top;
  const scale = fround(1 / Math.max(temperature, 1e-30));
  const weights = Array.from(logits, (logit) => {
    const x = fround(fround(logit - logits[top]) * scale);
    return x > -87 ? exponential(x) : 0;
  });
  const most = topK > 0 && topK < size ? topK : size, total = () => weights.reduce((sum, weight) => sum + weight, 0);
  if (most < size || topP < 1) {
    // Of equals, the lower id comes first.
    const order = weights.map((_, k) => k).sort((j, k) => weights[k] - weights[j] || j - k);
    const mass = most < size ? order.slice(0, most).reduce((sum, k) => sum + weights[k], 0) : total();
    let kept = topP < 1 ? 0 : most;
    for (let reached = 0; topP < 1 && kept < most && reached < topP * mass; kept++) reached += weights[order[kept]];
    for (const k of order.slice(kept)) weights[k] = 0;
  }
  const least = fround(fround(minP) * weights[argmax(weights)]);
  for (let k = 0; k < size; k++) if (weights[k] < least) weights[k] = 0;
  const target = number * total();
  let reached = 0, drawn = 0;
  for (let k = 0; k < size; k++) {
    if (weights[k] > 0) {
      drawn = k;
      reached += weights[k];
      if (reached > target) break;
    }
  }
  return drawn;
}
// ln p of every id.
function logProbabilities(logits) {
  const top = logits[argmax(logits)], total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0));
  return Float64Array.from(logits, (logit) => logit - top - total);
}
