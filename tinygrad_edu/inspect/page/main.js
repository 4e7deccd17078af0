// Brings the page to life: the model, the picture, the panel, the search and the steps.

import { Graph } from "./graph.js";
import { norm, Model } from "./model.js";
import { Panel } from "./panel.js";
import { connectSearch } from "./search.js";
import { Player, sequence } from "./steps.js";
import { el, plural, seconds, shape, short } from "./words.js";

const byId = (id) => document.getElementById(id);
const model = new Model(JSON.parse(byId("data").textContent));

// ---- words above and below ---------------------------------------------------------------------------------------------

let clearing = null;

/** Says something to screen readers, and where it matters to everybody. */
function say(text, loud = false) {
  byId("live").textContent = text;
  if (!loud) return;
  byId("message").textContent = text;
  byId("message").hidden = false;
  clearTimeout(clearing);
  clearing = setTimeout(() => (byId("message").hidden = true), 8000);
}

function showLegend(legend) {
  const items = legend.map(({ kind, trouble, scale, text }) => {
    if (scale) {
      return el("li", { class: "scale" }, el("span", {}, text), el("span", { class: "range" }, el("span", {}, scale.low),
        el("span", { class: "ramp", "aria-hidden": "true" }), el("span", {}, scale.high), scale.log ? el("span", { class: "quiet" }, "logarithmic") : null));
    }
    const sign = kind || trouble ? el("span", { class: "sign", "aria-hidden": "true", "data-kind": kind ?? "", "data-trouble": trouble ?? "" }) : null;
    return el("li", {}, sign, text);
  });
  byId("legend").replaceChildren(...items);
}

// ---- selecting ---------------------------------------------------------------------------------------------------------

const panel = new Panel(model, byId("details"), go);
const graph = new Graph(model, byId("graph"), {
  select: (key) => {
    byId("panel").classList.add("open");
    panel.show(key, player?.events[player.index] ?? null);
  },
  painted: showLegend,
  message: say,
});

/** Show a node wherever it is: open what is around it, select it, bring it into view. */
function go(key) {
  if (graph.reveal(key).length) graph.render();
  graph.select(key);
  const shown = graph.visible(key);
  if (shown !== null) {
    graph.focus(shown);
    graph.bring(shown, true, true);
  } else say(`${model.title(key)} is not drawn: it is an input of the operations listed in the panel`);
}

// ---- stepping ----------------------------------------------------------------------------------------------------------

const events = sequence(model);
const reachedForward = new Map(events.map((event, i) => [event.kind === "forward" ? event.key : null, i]));
const firstOf = new Map(); // of each group, the first step in it
for (const [key, i] of reachedForward) {
  if (key === null) continue;
  for (const group of model.around(key)) if (!firstOf.has(`g${group}`) || firstOf.get(`g${group}`) > i) firstOf.set(`g${group}`, i);
}
let opened = []; // groups that following the steps has opened

function showStep(event, index) {
  byId("position").value = index + 1;
  if (event === null) {
    for (const group of opened) graph.open.delete(group);
    if (opened.length) graph.render();
    opened = [];
    graph.mark(null);
    panel.show(graph.selected, null);
    byId("step-text").textContent = "before the first step";
    byId("position").setAttribute("aria-valuetext", "before the first step");
    say("before the first step");
    return;
  }
  if (byId("follow").checked) follow(event.key);
  const op = event.op === undefined ? null : model.ops[event.op];
  const from = op ? op.inputs.filter((x, i) => event.kind === "forward" || event.step.gradients.some((g) => g.input === i))
    .map((x) => (x.op !== null ? `o${x.op}` : x.parameter !== null ? `p${x.parameter}` : null)).filter(Boolean) : [];
  graph.mark({
    kind: event.kind, key: event.key, from,
    reached: (key) => (firstOf.get(key) ?? reachedForward.get(key) ?? -1) <= index,
  });
  graph.select(event.key);
  const shown = graph.visible(event.key);
  if (shown !== null) graph.bring(shown);
  const [text, more] = stepWords(event, index);
  byId("step-text").textContent = text;
  byId("position").setAttribute("aria-valuetext", text);
  say(text + more);
}

/** Open the modules around a step, and close those that earlier steps had opened. */
function follow(key) {
  const around = new Set(model.around(key));
  const left = opened.filter((group) => !around.has(group) && graph.open.has(group));
  for (const group of left) graph.open.delete(group);
  const added = graph.reveal(key);
  opened = [...opened.filter((group) => around.has(group)), ...added];
  if (left.length || added.length) graph.render(graph.visible(key));
}

/** A step in words, and what is added for those who do not see the panel. */
function stepWords(event, index) {
  const at = `${(index + 1).toLocaleString("en")} of ${events.length.toLocaleString("en")}: `;
  const size = (value, words) => (norm(value) === null ? "" : `, ${words}${short(norm(value))}`);
  if (event.kind === "arrival") {
    return [`${at}arrival in ${model.parameterName(model.parameters[event.parameter])}.grad`, size(model.arrived(event.step), "norm ")];
  }
  const op = model.ops[event.op];
  const what = `${at}${event.kind}, ${op.name}${op.path ? ` in ${op.path}` : ""}`;
  if (event.kind === "forward") return [what, `, output ${shape(op.shape)}`];
  return [what, size(model.incoming(event.step), "incoming gradient of norm ")];
}

const player = new Player(events, showStep, () => {
  byId("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  byId("play").title = player.playing ? "Pause (space)" : "Play (space)";
  byId("play").dataset.playing = String(player.playing);
});
const firstBackward = events.findIndex((event) => event.kind !== "forward");
byId("position").max = events.length;
byId("position").addEventListener("input", (event) => {
  player.stop();
  player.go(Number(event.target.value) - 1);
});
byId("play").addEventListener("click", () => player.toggle());
byId("next").addEventListener("click", () => player.step(1));
byId("previous").addEventListener("click", () => player.step(-1));
byId("first").addEventListener("click", () => player.step(-events.length - 1));
byId("backward").addEventListener("click", () => player.step(firstBackward - player.index));
byId("backward").disabled = firstBackward < 0;
byId("speed").addEventListener("change", (event) => (player.interval = 900 / Number(event.target.value)));

// ---- the bar above -----------------------------------------------------------------------------------------------------

connectSearch(model, byId("search"), byId("results"), byId("found"), go);
byId("color").addEventListener("change", (event) => graph.color(event.target.value));
byId("open-all").addEventListener("click", () => graph.openAll());
byId("close-all").addEventListener("click", () => graph.closeAll());
byId("fit").addEventListener("click", () => graph.fit());
byId("close-panel").addEventListener("click", () => byId("panel").classList.remove("open"));
byId("overview").addEventListener("click", () => {
  graph.select(null, false);
  panel.show(null, null);
  byId("panel").classList.add("open");
});
byId("help").addEventListener("click", () => byId("keys").showModal());
byId("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  say(dark ? "light" : "dark");
});

// ---- the keyboard ------------------------------------------------------------------------------------------------------

const KEYS = {
  "/": () => byId("search").focus(),
  " ": () => player.toggle(),
  ArrowRight: () => player.step(1),
  ArrowLeft: () => player.step(-1),
  ".": () => player.step(1),
  ",": () => player.step(-1),
  "+": () => graph.zoom(1.25, undefined, undefined, true),
  "=": () => graph.zoom(1.25, undefined, undefined, true),
  "-": () => graph.zoom(0.8, undefined, undefined, true),
  0: () => graph.fit(),
  "?": () => byId("keys").showModal(),
  g: () => {
    graph.focus(graph.focusKey);
    graph.bring(graph.focusKey);
  },
  p: () => byId("details").querySelector("h2")?.focus(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
  const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
  const pressing = event.target.matches("button, summary, input[type=checkbox]") && event.key === " ";
  if (typing || pressing || !(event.key in KEYS)) return;
  event.preventDefault();
  KEYS[event.key]();
});

// ---- begin -------------------------------------------------------------------------------------------------------------

const { ops, backward, trace, notes } = model;
byId("summary").textContent = [plural(ops.length, "operation"), plural(backward.length, "step") + " of backward", seconds(trace.seconds)].join(" · ");
const top = model.groups[0].children.length === 1 ? model.title(model.groups[0].children[0]) : "";
document.title = top ? `${top}: computation graph` : "Computation graph";
byId("name").textContent = top || "Computation graph";
if (ops.length) graph.start();
else say("The trace holds no operation: nothing ran inside the block.", true);
panel.show(null, null);
if (!events.length) for (const control of document.querySelectorAll("#player button, #player input, #player select")) control.disabled = true;
if (notes.length > 0 && ops.length > 2000) say(`${plural(ops.length, "operation")}, folded into ${plural(graph.places.nodes.size, "node")}. ${notes[0]}`, true);
document.documentElement.dataset.ready = "true";
