// Numbers and shapes in words, and elements of the page. Text from the trace only ever becomes text nodes.

/** At most four significant digits, as short as they can be read. */
export function short(x) {
  if (x === null || x === undefined) return "–";
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "nan" : x > 0 ? "inf" : "-inf";
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e5 || size < 1e-3) return x.toExponential(2).replace("e+", "e");
  return String(Number(x.toPrecision(4)));
}

/** All digits that were recorded. */
export function exact(x) {
  if (x === null || x === undefined) return "–";
  return Number.isFinite(x) ? String(x) : short(x);
}

function scaled(x, base, units) {
  let i = 0;
  while (Math.abs(x) >= base * 0.9995 && i < units.length - 1) {
    x /= base;
    i++;
  }
  return `${i === 0 ? x : Number(x.toPrecision(3))} ${units[i]}`.trim();
}

export const bytes = (n) => scaled(n, 1000, ["B", "kB", "MB", "GB", "TB"]);
export const count = (n) => scaled(n, 1000, ["", "k", "M", "G", "T", "P"]);

export function seconds(s) {
  if (s === null || s === undefined) return "–";
  if (s === 0) return "0 s";
  if (s < 1e-3) return `${Number((s * 1e6).toPrecision(3))} µs`;
  return s < 1 ? `${Number((s * 1e3).toPrecision(3))} ms` : `${Number(s.toPrecision(3))} s`;
}

export const shape = (dims) => (dims.length ? dims.join("×") : "scalar");
export const plural = (n, word) => `${n.toLocaleString("en")} ${word}${n === 1 ? "" : "s"}`;
export const cut = (text, most) => (text.length <= most ? text : text.slice(0, most - 1) + "…");

/** An HTML element; children may be elements, texts, or null. */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}
