// The panel beside the graph: everything that was recorded of the selected node, and of the step that is shown.

import { figure, heatmap } from "./figures.js";
import { norm, number } from "./model.js";
import { runningSum } from "./steps.js";
import { bytes, count, cut, el, exact, plural, seconds, shape, short } from "./words.js";

const MOST_LISTED = 30;

export class Panel {
  /** `go(key)` shows another node. */
  constructor(model, element, go) {
    this.model = model;
    this.element = element;
    this.go = go;
    this.key = null;
    this.event = null;
  }

  show(key, event = this.event) {
    this.key = key;
    this.event = event;
    const parts = [];
    const about = event !== null && event.key === key;
    if (key === null) parts.push(...this.#overview());
    else if (key[0] === "o") parts.push(...this.#op(this.model.ops[Number(key.slice(1))], about ? event : null));
    else if (key[0] === "g") parts.push(...this.#group(this.model.groups[Number(key.slice(1))]));
    else parts.push(...this.#parameter(this.model.parameters[Number(key.slice(1))], about ? event : null));
    this.element.replaceChildren(...parts.filter(Boolean));
    this.element.scrollTop = 0;
  }

  // ---- pieces ---------------------------------------------------------------------------------------------------------

  #link(key, text = null) {
    return el("button", { class: "link", type: "button", onclick: () => this.go(key) }, text ?? this.#name(key));
  }

  #name(key) {
    const id = Number(key.slice(1));
    return key[0] === "o" ? `${id} ${this.model.ops[id].name}` : this.model.title(key);
  }

  /** Where an input comes from. */
  #source(x) {
    if (x.op !== null) return this.#link(`o${x.op}`);
    if (x.parameter !== null) return this.#link(`p${x.parameter}`);
    return x.number === null ? "None" : exact(number(x.number));
  }

  #heading(kind, title, about) {
    return el("header", {}, el("p", { class: "kind" }, kind), el("h2", { tabindex: -1 }, title), about);
  }

  #path(key) {
    const groups = this.model.around(key).reverse().slice(1).filter((g) => this.model.groups[g].kind !== "repeat");
    if (!groups.length) return null;
    const steps = groups.flatMap((g, i) => [i ? " › " : null, this.#link(`g${g}`, this.model.groups[g].label)]);
    const own = key[0] === "o" ? this.model.names.get(Number(key.slice(1))) : null; // a module that is but this operation
    return el("nav", { class: "path", "aria-label": "Modules around it" }, ...steps, own ? ` › ${own}` : null);
  }

  #facts(rows) {
    const list = el("dl", { class: "facts" });
    for (const [name, text, data] of rows) {
      if (text === null || text === undefined || text === "") continue;
      list.append(el("div", {}, el("dt", {}, name), el("dd", data ? { "data-fact": data } : {}, ...[text].flat())));
    }
    return list.children.length ? list : null;
  }

  #section(title, ...content) {
    const kept = content.flat().filter(Boolean);
    return kept.length ? el("section", {}, el("h3", {}, title), ...kept) : null;
  }

  #links(keys) {
    const list = el("ul", { class: "links" }, keys.slice(0, MOST_LISTED).map((key) => el("li", {}, this.#link(key))));
    if (keys.length > MOST_LISTED) list.append(el("li", { class: "quiet" }, `and ${(keys.length - MOST_LISTED).toLocaleString("en")} more`));
    return list;
  }

  #worked(details) {
    const lines = details?.element?.text;
    if (!Array.isArray(lines) || !lines.length) return null;
    return el("div", { class: "worked" }, el("h4", {}, "One element, with its numbers"), el("ul", {}, lines.map((line) => el("li", {}, String(line)))));
  }

  // ---- the whole trace ------------------------------------------------------------------------------------------------

  #overview() {
    const { trace, groups, ops, parameters } = this.model;
    const machine = trace.machine ?? {};
    const figures = this.model.groupFigures[0];
    const trained = parameters.filter((p) => p.kind === "parameter");
    const elements = trained.reduce((sum, p) => sum + p.shape.reduce((n, d) => n * d, 1), 0);
    return [
      this.#heading("Trace", groups[0].children.length === 1 ? this.model.title(groups[0].children[0]) : "All operations"),
      trace.error ? el("p", { class: "warning" }, `The block ended in ${trace.error}`) : null,
      this.#facts([
        ["operations", ops.length.toLocaleString("en")], ["steps of backward", this.model.backward.length.toLocaleString("en")],
        ["parameters", elements ? `${count(elements)} in ${plural(trained.length, "tensor")}` : null], ["FLOPs", count(figures.flops)],
        ["forward", seconds(figures.forward)], ["backward", seconds(figures.backward)], ["new memory", bytes(figures.bytes)],
        ["kept for backward", bytes(figures.saved)], ["values", trace.values], ["made", trace.made],
        ["with", [machine.tinygrad_edu && `tinygrad_edu ${machine.tinygrad_edu}`, machine.numpy && `NumPy ${machine.numpy}`, machine.python && `Python ${machine.python}`].filter(Boolean).join(", ")],
      ]),
      this.model.notes.length
        ? this.#section("Folded", el("ul", { class: "notes" }, this.model.notes.slice(0, MOST_LISTED).map((note) => el("li", {}, note)),
          this.model.notes.length > MOST_LISTED ? el("li", {}, `and ${(this.model.notes.length - MOST_LISTED).toLocaleString("en")} more`) : null))
        : null,
      el("p", { class: "quiet" }, "Select a node to see what was recorded of it, or step through with the bar below."),
    ];
  }

  // ---- a group --------------------------------------------------------------------------------------------------------

  #group(group) {
    const key = `g${group.id}`;
    const f = this.model.groupFigures[group.id];
    const names = new Map();
    const waiting = [group];
    while (waiting.length) {
      for (const child of waiting.pop().children) {
        const id = Number(child.slice(1));
        if (child[0] === "g") waiting.push(this.model.groups[id]);
        if (child[0] === "o") names.set(this.model.ops[id].name, (names.get(this.model.ops[id].name) ?? 0) + 1);
      }
    }
    const often = [...names].sort((a, b) => b[1] - a[1]);
    const last = f.last === null ? null : this.model.ops[f.last];
    const own = group.path === "" ? [] : this.model.parameters.filter((p) => p.kind === "parameter" && [p.name, ...p.names].some((n) => n.startsWith(`${group.path}.`)));
    const kinds = {
      module: "Module", repeat: "Repeated", round: "Round", part: "Part of a long list", aside: "Beside the graph",
      inside: "Inside a Function", backward: "Ran during backward", trace: "Trace",
    };
    return [
      this.#heading(kinds[group.kind] ?? "Group", group.label, this.#path(key)),
      this.#facts([
        ["class", group.module], ["path", group.kind === "module" ? group.path : ""],
        ["alike", group.kind === "repeat" ? String(group.children.length) : null],
        ["operations", group.ops.toLocaleString("en")],
        ["parameters", own.length && group.kind !== "repeat" ? count(own.reduce((sum, p) => sum + p.shape.reduce((n, d) => n * d, 1), 0)) : null],
        ["forward", seconds(f.forward), "forward"], ["backward", seconds(f.backward), "backward"], ["FLOPs", count(f.flops)],
        ["new memory", bytes(f.bytes)], ["kept for backward", bytes(f.saved)],
        ["NaN or infinity", f.nans || f.gradientNans ? `${f.nans.toLocaleString("en")} in values, ${f.gradientNans.toLocaleString("en")} in gradients` : null],
      ]),
      last ? this.#section("Last output", figure("value", this.model.value(last), last.shape, last.dtype)) : null,
      this.#section("Operations", el("ul", { class: "counts" }, often.slice(0, MOST_LISTED).map(([name, n]) => el("li", {}, name, el("span", {}, `×${n.toLocaleString("en")}`))))),
    ];
  }

  // ---- an operation ---------------------------------------------------------------------------------------------------

  #op(op, event) {
    const { model } = this;
    const key = `o${op.id}`;
    const steps = model.stepsOf[op.id];
    const about = model.kinds.get(op.name);
    const f = model.figures[op.id];
    const [formula, ...rest] = (about?.text ?? "").split("\n\n");
    const parts = [
      this.#heading(`Operation ${op.id}`, op.name, this.#path(key)),
      event ? this.#step(op, event) : null,
      formula ? el("p", { class: "formula" }, formula) : el("p", { class: "quiet" }, "An operation of your own."),
      rest.length ? el("details", { class: "more" }, el("summary", {}, "more about it"), rest.map((text) => el("p", {}, text))) : null,
    ];
    if (!event || event.kind !== "forward") parts.push(this.#section("Output", figure("value", model.value(op), op.shape, op.dtype)));
    if (!event) parts.push(this.#section("Worked example", this.#worked(op.details)));
    if (!event || event.kind === "forward") parts.push(this.#gradients(op, steps));
    parts.push(this.#inputs(op), this.#attributes(op));
    if (model.users[op.id].length) parts.push(this.#section("Used by", this.#links([...new Set(model.users[op.id])].map((id) => `o${id}`))));
    parts.push(
      this.#section("Cost", this.#facts([
        ["forward", op.before ? "before the trace" : seconds(op.seconds), "forward"],
        ["backward", steps.length ? seconds(f.backward) : null, "backward"],
        ["FLOPs", op.flops === null ? null : `${count(op.flops)}${steps.length ? ` + ${count(f.flops - op.flops)} backward` : ""}`, "flops"],
        ["new memory", op.view ? "0 B, a view" : bytes(op.bytes), "bytes"],
        ["let go", op.freed === null ? null : `after ${op.freed.toLocaleString("en")} of ${plural(model.ops.length + model.backward.length, "step")}`],
        ["kept for backward", bytes(f.saved), "saved"],
        ["ran as", op.kernel ? `the fused kernel ${op.kernel}` : "the readable op"],
        ["in the graph", op.graph ? null : op.differentiable ? "no: nothing here requires a gradient" : "no: it has no gradient"],
      ])),
      this.#saved(op), this.#line(op),
    );
    return parts;
  }

  #gradients(op, steps) {
    const parts = steps.slice(-3).flatMap((step) => [
      figure(steps.length > 1 ? `gradient of the output, pass ${step.walk + 1}` : "gradient of the output", this.model.incoming(step), op.shape, null),
      this.#worked(step.details),
    ]);
    return this.#section("Gradient", parts);
  }

  #inputs(op) {
    if (!op.inputs.length) return null;
    const step = this.model.stepsOf[op.id].at(-1);
    const table = el("table", { class: "plain" }, el("tr", {}, ["input", "shape", "gradient handed back"].map((t) => el("th", { scope: "col" }, t))));
    op.inputs.forEach((x, i) => {
      const gradient = step?.gradients.find((g) => g.input === i);
      const was = x.op === null ? null : this.model.ops[x.op];
      let text = x.gradient ? "yes" : "–";
      if (gradient) {
        const n = norm(this.model.handedOn(gradient));
        text = n === null ? "yes" : `norm ${short(n)}`;
      } else if (was && !x.gradient && was.graph && op.graph) text = "cut off";
      table.append(el("tr", {}, el("td", {}, this.#source(x)), el("td", {}, x.number === null ? `${shape(x.shape)} ${x.dtype}` : ""),
        el("td", {}, text, gradient?.summed.length ? el("span", { class: "quiet" }, ` summed over ${gradient.summed.map((a) => `axis ${a}`).join(", ")}`) : null)));
    });
    return this.#section("Inputs", table);
  }

  #attributes(op) {
    const rows = Object.entries(op.attrs).map(([name, x]) => [name, cut(attribute(x), 200)]);
    return rows.length ? this.#section("Settings", this.#facts(rows)) : null;
  }

  #saved(op) {
    if (!op.saved.length) return null;
    const table = el("table", { class: "plain" }, el("tr", {}, ["what", "shape", "held"].map((t) => el("th", { scope: "col" }, t))));
    for (const s of op.saved) {
      const what = s.op !== null ? (s.op === op.id ? "its output" : this.#link(`o${s.op}`)) : s.parameter !== null ? this.#link(`p${s.parameter}`) : "an intermediate value";
      table.append(el("tr", {}, el("td", {}, what), el("td", {}, `${shape(s.shape)} ${s.dtype}`), el("td", {}, s.held ? bytes(s.held) : "no more")));
    }
    return this.#section("Saved for backward", table);
  }

  #line(op) {
    const line = op.line === null ? null : this.model.lines[op.line];
    if (!line) return null;
    const [from, to] = line.columns?.length === 2 ? line.columns : [0, 0];
    const text = line.text ?? "";
    return this.#section("Source", el("p", { class: "place" }, `${line.file}:${line.line}`, line.function ? ` in ${line.function}` : ""),
      text ? el("pre", { class: "code", tabindex: 0 }, text.slice(0, from), to > from ? el("mark", {}, text.slice(from, to)) : null, text.slice(Math.max(from, to))) : null);
  }

  // ---- steps ----------------------------------------------------------------------------------------------------------

  #step(op, event) {
    const { model } = this;
    if (event.kind === "forward") {
      return el("section", { class: "step forward" }, el("h3", {}, "Forward: this operation runs"),
        op.inputs.map((x, i) => this.#input(op, x, i)), figure("output", model.value(op), op.shape, op.dtype), this.#worked(op.details));
    }
    const { step } = event;
    const handed = model.handed[op.id].filter((part) => part.step.walk === step.walk && part.step.id < step.id);
    const box = el("section", { class: "step backward" }, el("h3", {}, "Backward: the gradient passes through"));
    box.append(figure("incoming gradient", model.incoming(step), op.shape, null));
    if (handed.length > 1) {
      box.append(el("p", { class: "quiet" }, `the sum of ${handed.length} gradients, from `,
        ...handed.slice(0, 6).flatMap((part, i) => [i ? ", " : null, this.#link(`o${part.step.op}`)]), handed.length > 6 ? " …" : null));
    }
    const worked = this.#worked(step.details);
    if (worked) box.append(worked);
    for (const gradient of step.gradients) {
      const x = op.inputs[gradient.input];
      const to = el("p", { class: "handed" }, "hands to ", this.#source(x),
        gradient.summed.length ? `, summed over ${gradient.summed.map((a) => `axis ${a}`).join(", ")} of the output, which broadcasting had repeated` : null);
      box.append(to, figure(`gradient for input ${gradient.input}`, model.handedOn(gradient), x.shape, null));
      if (x.parameter !== null) box.append(this.#sum(x.parameter, step));
    }
    if (!step.gradients.length) box.append(el("p", { class: "quiet" }, "It hands nothing on."));
    return box;
  }

  #input(op, x, i) {
    const { model } = this;
    const value = x.op !== null ? model.value(model.ops[x.op]) : x.parameter !== null ? model.parameterValue(model.parameters[x.parameter]) : null;
    if (!value) return el("p", { class: "handed" }, `input ${i}: `, this.#source(x));
    const small = value.size <= 64;
    return el("details", { class: "input", open: small }, el("summary", {}, `input ${i}: ${this.#name(x.op !== null ? `o${x.op}` : `p${x.parameter}`)}`),
      figure(`input ${i}`, value, x.shape, x.dtype));
  }

  /** The running sum in a parameter's .grad after a step. */
  #sum(id, step) {
    const p = this.model.parameters[id];
    const { parts, done, sample, held } = runningSum(this.model, id, step);
    const name = `${this.model.parameterName(p)}.grad`;
    const box = el("div", { class: "sum", "data-sum": id });
    box.append(el("h4", {}, name), el("p", {}, `${done} of ${plural(parts.length, "contribution")}${held ? ", on top of what it held before" : ""}`));
    if (sample && (parts.length > 1 || held)) {
      box.append(heatmap(`running sum of ${name}`, sample, p.shape.reduce((n, d) => n * d, 1)));
    }
    return box;
  }

  // ---- a parameter ----------------------------------------------------------------------------------------------------

  #parameter(p, event) {
    const { model } = this;
    const handed = model.handedToParameter[p.id];
    const parts = [
      this.#heading(p.kind === "parameter" ? "Parameter" : p.kind === "buffer" ? "Buffer" : "Value from outside", model.parameterName(p), this.#path(`p${p.id}`)),
      p.names.length > 1 ? el("p", { class: "quiet" }, `shared: ${p.names.join(", ")}`) : null,
    ];
    if (event) {
      const { step } = event;
      const box = el("section", { class: "step backward" }, el("h3", {}, "Arrival: the sum is in .grad"), figure("what arrived in all", model.incoming(step), p.shape, p.dtype));
      box.append(figure(".grad afterwards", model.arrived(step), p.shape, p.dtype));
      parts.push(box);
    }
    parts.push(this.#facts([["shape", shape(p.shape)], ["dtype", p.dtype], ["memory", bytes(p.bytes)]]));
    parts.push(this.#section("Value", figure("value", model.parameterValue(p), p.shape, p.dtype)));
    if (p.gradient && !event) parts.push(this.#section("Gradient", figure(".grad", model.parameterGradient(p), p.shape, p.dtype)));
    if (handed.length) {
      const table = el("table", { class: "plain" }, el("tr", {}, ["from", "norm", "in pass"].map((t) => el("th", { scope: "col" }, t))));
      for (const { step, gradient } of handed.slice(0, MOST_LISTED)) {
        table.append(el("tr", {}, el("td", {}, this.#link(`o${step.op}`)), el("td", {}, short(norm(model.handedOn(gradient)))), el("td", {}, String(step.walk + 1))));
      }
      parts.push(this.#section("Its gradient is the sum of", table));
    }
    parts.push(this.#section("Used by", this.#links([...new Set(model.usersOfParameter[p.id])].map((id) => `o${id}`))));
    return parts;
  }
}

/** An attribute of an op in the trace's JSON, as Python would write it. */
export function attribute(x) {
  if (x === null) return "None";
  if (x === true) return "True";
  if (x === false) return "False";
  if (Array.isArray(x)) return `[${x.map(attribute).join(", ")}]`;
  if (typeof x !== "object") return typeof x === "string" ? JSON.stringify(x) : String(x);
  if (Array.isArray(x.tuple)) return `(${x.tuple.map(attribute).join(", ")}${x.tuple.length === 1 ? "," : ""})`;
  if (Array.isArray(x.slice)) {
    const [from, to, by] = x.slice;
    return `${from ?? ""}:${to ?? ""}${by === null ? "" : `:${by}`}`;
  }
  if (x.ellipsis) return "...";
  return String(x.dtype ?? x.float ?? x.text ?? "");
}
