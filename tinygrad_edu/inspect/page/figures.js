// Figures of one array: statistics, a heatmap that is a table, and a histogram with a table beside it.

import { el, exact, plural, shape, short, svg } from "./words.js";
import { norm } from "./model.js";

const WIDE = 8; // more columns than this are shown without their numbers

/** Everything that was kept of an array. `dims`: its shape. */
export function figure(name, value, dims, dtype) {
  const box = el("section", { class: "figure", "data-figure": name });
  box.append(el("h4", {}, name, " ", el("span", { class: "dims" }, `${shape(dims)}${dtype ? ` ${dtype}` : ""}`)));
  if (!value) {
    box.append(el("p", { class: "quiet" }, "No values were recorded."));
    return box;
  }
  const single = value.sample && value.sample.values.length === 1 && value.size === 1;
  if (single) {
    const x = value.sample.values[0];
    box.append(el("p", { class: "single", "data-value": exact(x) }, exact(x)));
    return box;
  }
  box.append(el("div", { class: "beside" }, statistics(value), value.histogram.length ? histogram(name, value) : null));
  if (value.sample?.values.length) box.append(heatmap(name, value.sample, value.size));
  return box;
}

function statistics(value) {
  const items = [["min", value.min], ["mean", value.mean], ["max", value.max], ["std", value.std], ["norm", norm(value)]];
  const list = el("dl", { class: "statistics" });
  for (const [name, x] of items) {
    list.append(el("div", {}, el("dt", {}, name), el("dd", { "data-value": exact(x), title: exact(x) }, short(x))));
  }
  for (const [name, n] of [["zeros", value.zeros], ["NaN", value.nans], ["inf", value.infs]]) {
    if (n) list.append(el("div", { class: name === "zeros" ? "" : "bad" }, el("dt", {}, name), el("dd", { "data-value": n }, n.toLocaleString("en"))));
  }
  return list;
}

/** A table of numbers with coloured cells. Arrow keys move in it; the line below reads the cell. */
export function heatmap(name, sample, size) {
  const { values, shape: dims } = sample;
  const columns = dims.length ? dims[dims.length - 1] : 1;
  const rows = dims.length > 1 ? dims[dims.length - 2] : 1;
  const most = Math.max(0, ...values.filter(Number.isFinite).map(Math.abs));
  const whole = values.length === size;
  const box = el("div", { class: `heatmap${columns > WIDE ? " dense" : ""}` });
  const line = el("p", { class: "readout" }, whole ? "all elements" : `a corner of ${plural(size, "element")}`);
  const read = (cell) => {
    line.textContent = `${cell.dataset.at} = ${cell.dataset.value}`;
  };
  for (let start = 0; start < values.length; start += rows * columns) {
    const before = leading(start, dims);
    const table = el("table", { "aria-label": `${name}, ${whole ? "all elements" : "corner"}${before ? `, slice ${before}` : ""}` });
    if (before) table.append(el("caption", {}, `[${before}:, :]`));
    const perRow = dims.length === 1 ? Math.min(columns, WIDE) : columns; // a vector goes over several rows
    for (let i = 0; i < rows * columns && start + i < values.length; i += perRow) {
      const row = el("tr");
      for (let j = i; j < Math.min(i + perRow, rows * columns); j++) {
        const x = values[start + j];
        const at = dims.length === 0 ? "[]" : dims.length === 1 ? `[${j}]` : `[${before}${Math.floor(j / columns)}, ${j % columns}]`;
        const finite = Number.isFinite(x);
        const cell = el("td", {
          class: finite ? (x < 0 ? "negative" : "") : "bad", tabindex: start + j === 0 ? 0 : -1,
          "data-value": exact(x), "data-at": at, "aria-label": `${at} ${exact(x)}`,
        }, tight(x));
        if (finite) cell.style.setProperty("--level", `${most ? Math.round((Math.abs(x) / most) * 100) : 0}%`);
        row.append(cell);
      }
      table.append(row);
    }
    box.append(table);
  }
  box.addEventListener("focusin", (event) => event.target.matches("td") && read(event.target));
  box.addEventListener("mouseover", (event) => event.target.matches("td") && read(event.target));
  box.addEventListener("keydown", (event) => walk(event, box));
  box.append(line);
  return box;
}

/** Few characters, for a cell. */
function tight(x) {
  if (!Number.isFinite(x)) return short(x);
  const size = Math.abs(x);
  if (x === 0) return "0";
  if (Number.isInteger(x) && size < 1e5) return String(x);
  if (size >= 1e4 || size < 1e-3) return x.toExponential(0).replace("e+", "e");
  return size >= 100 ? x.toFixed(0) : x.toFixed(size >= 10 ? 1 : size >= 1 ? 2 : 3).replace(/^(-?)0\./, "$1.");
}

function leading(start, dims) {
  if (dims.length <= 2) return "";
  const index = [];
  let rest = start / (dims[dims.length - 1] * dims[dims.length - 2]);
  for (let axis = dims.length - 3; axis >= 0; axis--) {
    index.unshift(rest % dims[axis]);
    rest = Math.floor(rest / dims[axis]);
  }
  return index.map((i) => `${i}, `).join("");
}

function walk(event, box) {
  const cell = event.target;
  if (!cell.matches("td")) return;
  const row = cell.parentElement;
  const i = [...row.children].indexOf(cell);
  const rows = [...box.querySelectorAll("tr")];
  const above = rows[rows.indexOf(row) - 1];
  const below = rows[rows.indexOf(row) + 1];
  const next = {
    ArrowLeft: row.children[i - 1], ArrowRight: row.children[i + 1],
    ArrowUp: above?.children[i], ArrowDown: below?.children[i],
    Home: row.children[0], End: row.children[row.children.length - 1],
  }[event.key];
  if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) return;
  event.preventDefault();
  event.stopPropagation();
  if (!next) return;
  cell.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

function histogram(name, value) {
  const bins = value.histogram;
  const most = Math.max(...bins);
  const width = (value.max - value.min) / bins.length;
  const edge = (i) => value.min + width * i;
  const highest = bins.indexOf(most);
  const label = `Histogram of ${name}, ${bins.length} bins from ${short(value.min)} to ${short(value.max)}; ` +
    `most between ${short(edge(highest))} and ${short(edge(highest + 1))}`;
  const picture = svg("svg", { viewBox: "0 0 160 56", class: "histogram", role: "img", "aria-label": label });
  bins.forEach((n, i) => {
    const h = most ? (n / most) * 52 : 0;
    picture.append(svg("rect", { x: i * 10 + 0.5, y: 54 - h, width: 9, height: Math.max(h, n ? 1 : 0) },
      svg("title", {}, `${short(edge(i))} to ${short(edge(i + 1))}: ${n}`)));
  });
  picture.append(svg("path", { d: "M0 54.5H160", class: "axis" }));
  if (value.min < 0 && value.max > 0) {
    const zero = (160 * -value.min) / (value.max - value.min);
    picture.append(svg("path", { d: `M${zero} 0V54`, class: "zero" }));
  }
  const table = el("table", { class: "plain" }, el("tr", {}, el("th", {}, "from"), el("th", {}, "to"), el("th", {}, "elements")),
    bins.map((n, i) => el("tr", {}, el("td", {}, short(edge(i))), el("td", {}, short(edge(i + 1))), el("td", {}, String(n)))));
  return el("div", { class: "histogram-box" }, picture,
    el("div", { class: "ends" }, el("span", {}, short(value.min)), el("span", {}, short(value.max))),
    el("details", {}, el("summary", {}, "as a table"), table));
}
