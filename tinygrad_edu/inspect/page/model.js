// The trace as the page knows it: records with their defaults filled in, and who is connected to whom.

import { shape } from "./words.js";

const OP = {
  inputs: [], attrs: {}, call: null, line: null, graph: true, differentiable: true, kernel: "", view: false,
  inside: null, during: null, before: false, bytes: 0, freed: null, saved: [], flops: null, start: null, seconds: null, value: null,
  details: {},
};
const INPUT = { op: null, parameter: null, number: null, output: 0, gradient: false, shape: [], dtype: "" };
const SAVED = { op: null, parameter: null };
const STEP = {
  op: null, parameter: null, start: null, seconds: null, flops: null, incoming: null, gradients: [], total: null,
  details: {},
};
const PARAMETER = { names: [], value: null, gradient: null };
const VALUE = { min: null, max: null, mean: null, std: null, zeros: 0, nans: 0, infs: 0, histogram: [], sample: null };
const GROUP = { parent: null, path: "", module: "", label: "", children: [], ops: 0 };

/** A number of the trace's JSON, where NaN and infinities are strings. */
export function number(x) {
  if (typeof x !== "string") return x;
  return { nan: NaN, inf: Infinity, "-inf": -Infinity }[x] ?? null;
}

function value(record) {
  if (!record) return null;
  const v = { ...VALUE, ...record };
  for (const name of ["min", "max", "mean", "std"]) v[name] = number(v[name]);
  if (v.sample) v.sample = { ...v.sample, values: v.sample.values.map(number) };
  return v;
}

/** The Euclidean norm of the finite elements. */
export function norm(v) {
  if (!v || v.mean === null || v.std === null) return null;
  return Math.sqrt((v.size - v.nans - v.infs) * (v.mean ** 2 + v.std ** 2));
}

export class Model {
  constructor(data) {
    const trace = data.trace;
    this.trace = trace;
    this.notes = data.notes;
    this.kinds = new Map(Object.entries(data.ops)); // by the op's name: its kind and what its class says
    this.names = new Map(Object.entries(data.names).map(([op, name]) => [Number(op), name]));
    this.lines = trace.lines ?? [];
    this.calls = trace.calls ?? [];
    this.groups = data.groups.map((group) => ({ ...GROUP, ...group }));
    this.parameters = (trace.parameters ?? []).map((p) => ({ ...PARAMETER, ...p, lazy: [p.value, p.gradient] }));
    this.ops = (trace.ops ?? []).map((op) => ({
      ...OP, ...op,
      inputs: (op.inputs ?? []).map((x) => ({ ...INPUT, ...x })),
      saved: (op.saved ?? []).map((x) => ({ ...SAVED, ...x })),
    }));
    this.backward = (trace.backward ?? []).map((step) => ({
      ...STEP, ...step, gradients: (step.gradients ?? []).map((g) => ({ value: null, summed: [], ...g })),
    }));
    this.parent = new Map(); // of each key, the group that holds it
    for (const group of this.groups) for (const key of group.children) this.parent.set(key, group.id);
    this.#connect();
    this.#total();
  }

  #connect() {
    this.users = this.ops.map(() => []); // of each op, the ops that use its output
    this.usersOfParameter = this.parameters.map(() => []);
    this.stepsOf = this.ops.map(() => []); // the steps of backward through each op
    this.handed = this.ops.map(() => []); // the gradients handed to each op's output: {step, gradient}
    this.handedToParameter = this.parameters.map(() => []);
    this.arrivals = this.parameters.map(() => []);
    for (const op of this.ops) {
      for (const x of op.inputs) {
        if (x.op !== null) this.users[x.op].push(op.id);
        if (x.parameter !== null) this.usersOfParameter[x.parameter].push(op.id);
      }
    }
    for (const step of this.backward) {
      if (step.op === null) {
        this.arrivals[step.parameter].push(step);
        continue;
      }
      this.stepsOf[step.op].push(step);
      for (const gradient of step.gradients) {
        const input = this.ops[step.op].inputs[gradient.input];
        if (input.op !== null) this.handed[input.op].push({ step, gradient });
        if (input.parameter !== null) this.handedToParameter[input.parameter].push({ step, gradient });
      }
    }
  }

  #total() {
    const own = () => ({ forward: 0, backward: 0, flops: 0, bytes: 0, saved: 0, nans: 0, gradientNans: 0, last: null, aside: false });
    this.figures = this.ops.map((op) => {
      const f = own();
      f.last = op.id;
      if (!op.before) {
        f.forward = op.seconds ?? 0;
        f.flops = op.flops ?? 0;
        f.bytes = op.bytes;
        f.saved = op.saved.reduce((sum, s) => sum + s.held, 0);
      }
      f.nans = op.value ? (op.value.nans ?? 0) + (op.value.infs ?? 0) : 0;
      for (const step of this.stepsOf[op.id]) {
        f.backward += step.seconds ?? 0;
        f.flops += step.flops ?? 0;
        for (const v of [step.incoming, ...step.gradients.map((g) => g.value)]) {
          if (v) f.gradientNans += (v.nans ?? 0) + (v.infs ?? 0);
        }
      }
      return f;
    });
    this.groupFigures = this.groups.map(own);
    for (const op of this.ops) {
      const f = this.figures[op.id];
      const aside = !op.graph && op.differentiable; // such as running statistics, which no output depends on
      for (let g = this.parent.get(`o${op.id}`); g !== null && g !== undefined; g = this.groups[g].parent) {
        const sum = this.groupFigures[g];
        for (const name of ["forward", "backward", "flops", "bytes", "saved", "nans", "gradientNans"]) sum[name] += f[name];
        if (sum.last === null || sum.aside || !aside) [sum.last, sum.aside] = [op.id, aside];
      }
    }
  }

  // Values are read from JSON when they are looked at.
  value(op) {
    return value(op.value);
  }

  parameterValue(p) {
    return value(p.lazy[0]);
  }

  parameterGradient(p) {
    return value(p.lazy[1]);
  }

  incoming(step) {
    return value(step.incoming);
  }

  arrived(step) {
    return value(step.total);
  }

  handedOn(gradient) {
    return value(gradient.value);
  }

  kind(op) {
    return this.kinds.get(op.name)?.kind ?? "own";
  }

  /** What one of a node's figures is, or null where it is not known. */
  figuresOf(key) {
    const id = Number(key.slice(1));
    return key[0] === "o" ? this.figures[id] : key[0] === "g" ? this.groupFigures[id] : null;
  }

  /** The norm of the gradient that arrived at a node's output. */
  gradientNorm(key) {
    const id = Number(key.slice(1));
    if (key[0] === "p") return norm(value(this.parameters[id].lazy[1]));
    const op = key[0] === "o" ? id : this.groupFigures[id].last;
    const steps = op === null ? [] : this.stepsOf[op];
    return steps.length ? norm(this.incoming(steps[steps.length - 1])) : null;
  }

  parameterName(p) {
    return p.name || p.names[0] || `${p.kind} ${shape(p.shape)}`;
  }

  /** What a node is called. */
  title(key) {
    const id = Number(key.slice(1));
    if (key[0] === "g") return this.groups[id].label;
    return key[0] === "o" ? this.names.get(id) ?? this.ops[id].name : this.parameterName(this.parameters[id]);
  }

  /** The groups around a node, innermost first. */
  around(key) {
    const found = [];
    for (let g = this.parent.get(key); g !== null && g !== undefined; g = this.groups[g].parent) found.push(g);
    return found;
  }
}
