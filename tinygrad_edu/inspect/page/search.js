// Finding nodes by name, operation, module, parameter, shape or source line.

import { el, shape } from "./words.js";

const MOST = 40;

/** All keys that match every word of a query, best first. */
export function find(model, query) {
  const words = query.toLowerCase().replace(/(\d)\s*[x*,]\s*(?=\d)/g, "$1×").split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  model.searchable ??= index(model);
  const found = [];
  for (const entry of model.searchable) {
    if (!words.every((word) => entry.text.includes(word))) continue;
    const is = (test) => words.some((word) => entry.names.some((name) => test(name, word)));
    const exact = is((name, word) => name === word) ? 0 : is((name, word) => name.startsWith(word)) ? 1 : 2;
    found.push([exact, entry.key]);
  }
  return found.sort((a, b) => a[0] - b[0]).map(([, key]) => key);
}

function index(model) {
  const entries = [];
  const add = (key, names, ...more) => entries.push({
    key, names: names.map((name) => name.toLowerCase()), text: [...names, ...more].join(" ").toLowerCase(),
  });
  for (const g of model.groups) {
    if (g.parent !== null && g.kind !== "part") add(`g${g.id}`, [g.label], g.path, g.module);
  }
  for (const p of model.parameters) {
    if (p.name || p.names.length) add(`p${p.id}`, [p.name, ...p.names], p.kind, shape(p.shape), p.dtype);
  }
  for (const op of model.ops) {
    const line = op.line === null ? null : model.lines[op.line];
    add(`o${op.id}`, [op.name, model.names.get(op.id) ?? ""], op.path, shape(op.shape), op.dtype, line ? `${line.file}:${line.line}` : "");
  }
  return entries;
}

/** Connects the field and the list of results; `go(key)` shows a result. */
export function connectSearch(model, field, list, state, go) {
  let keys = [];
  let at = -1;
  const close = () => {
    list.hidden = true;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  };
  const mark = (i) => {
    at = i;
    [...list.children].forEach((item, j) => item.setAttribute("aria-selected", String(i === j)));
    const item = list.children[i];
    if (!item) return;
    field.setAttribute("aria-activedescendant", item.id);
    item.scrollIntoView({ block: "nearest" });
  };
  const choose = (i) => {
    if (!keys[i]) return;
    close();
    go(keys[i]);
  };
  const update = () => {
    keys = find(model, field.value);
    list.replaceChildren(...keys.slice(0, MOST).map((key, i) => {
      const id = Number(key.slice(1));
      const op = key[0] === "o" ? model.ops[id] : null;
      const where = op ? `${op.path || "operations"} · ${shape(op.shape)}` : key[0] === "p" ? `${model.parameters[id].kind} · ${shape(model.parameters[id].shape)}` : model.groups[id].module || "group";
      const name = op ? `${op.id} ${op.name}` : model.title(key);
      return el("li", { id: `result-${i}`, role: "option", "aria-selected": "false", "data-result": key, onpointerdown: (event) => {
        event.preventDefault();
        choose(i);
      } }, el("span", {}, name), el("span", { class: "dims" }, where));
    }));
    const empty = !field.value.trim();
    list.hidden = empty || !keys.length;
    field.setAttribute("aria-expanded", String(!list.hidden));
    state.textContent = empty ? "" : !keys.length ? "nothing found" : keys.length === 1 ? "1 found" : `${keys.length.toLocaleString("en")} found`;
    mark(keys.length && !empty ? 0 : -1);
  };
  field.addEventListener("input", update);
  field.addEventListener("focus", () => field.value && update());
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    const shown = Math.min(keys.length, MOST);
    if (event.key === "ArrowDown" && shown) mark((at + 1) % shown);
    else if (event.key === "ArrowUp" && shown) mark((at + shown - 1) % shown);
    else if (event.key === "Enter") choose(at);
    else if (event.key === "Escape") {
      if (field.value) {
        field.value = "";
        update();
      } else field.blur();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
}
