// What the colours of the nodes mean.

import { bytes, seconds, short } from "./words.js";

export const KINDS = {
  products: "products of matrices", elementwise: "elementwise", activation: "activation",
  normalization: "normalization", reduction: "reduction", shape: "shape and order", indexing: "indexing",
  loss: "loss", recurrent: "recurrent cell", own: "your own", other: "other",
};

const sum = (...names) => (model, key) => {
  const f = model.figuresOf(key);
  return f === null ? null : names.reduce((total, name) => total + f[name], 0);
};

/** The measures that a node can be coloured by: what it is for a node, and how it is written. */
export const MEASURES = {
  time: { label: "time", of: sum("forward", "backward"), text: seconds, note: "forward and backward" },
  memory: { label: "memory", of: sum("bytes", "saved"), text: bytes, note: "new for outputs, and kept for backward" },
  gradient: { label: "gradient norm", of: (model, key) => model.gradientNorm(key), text: short, log: true, note: "at the output" },
};

/** Colours for visible nodes: for each key, {level} from 0 to 1, {kind} or {trouble}; and the legend. */
export function paint(model, mode, nodes) {
  const found = new Map();
  const closed = [...nodes.values()].filter((node) => !node.open);
  if (mode === "kind") {
    const seen = new Set();
    for (const { key } of closed) {
      if (key[0] !== "o") continue;
      const kind = model.kind(model.ops[Number(key.slice(1))]);
      seen.add(kind);
      found.set(key, { kind, text: KINDS[kind] });
    }
    const legend = Object.keys(KINDS).filter((kind) => seen.has(kind)).map((kind) => ({ kind, text: KINDS[kind] }));
    return { found, legend };
  }
  if (mode === "nan") {
    for (const { key } of closed) {
      const f = model.figuresOf(key);
      if (!f) continue;
      const trouble = f.nans ? "value" : f.gradientNans ? "gradient" : "none";
      found.set(key, { trouble, text: TROUBLE[trouble] });
    }
    const known = model.trace.values !== "none";
    const legend = Object.entries(TROUBLE).map(([trouble, text]) => ({ trouble, text }));
    return { found, legend: known ? legend : [{ text: "values were not recorded" }] };
  }
  const measure = MEASURES[mode];
  const values = new Map(closed.map(({ key }) => [key, measure.of(model, key)]));
  const positive = [...values.values()].filter((x) => x > 0 && Number.isFinite(x));
  if (!positive.length) return { found, legend: [{ text: `no ${measure.label} was recorded` }] };
  const high = Math.max(...positive);
  const low = measure.log ? Math.min(...positive) : 0;
  for (const [key, x] of values) {
    if (x === null) continue;
    let level = x / high;
    if (measure.log) level = high === low ? 1 : x > 0 ? Math.log(x / low) / Math.log(high / low) : 0;
    found.set(key, { level: Math.max(0, Math.min(1, level)), text: `${measure.label} ${measure.text(x)}` });
  }
  const scale = { low: measure.text(low), high: measure.text(high), log: !!measure.log };
  return { found, legend: [{ scale, text: `${measure.label}, ${measure.note}` }] };
}

const TROUBLE = { value: "NaN or infinity in the values", gradient: "only in gradients", none: "none" };
