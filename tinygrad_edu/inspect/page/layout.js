// Where everything stands: each open group is laid out in layers, from the inside out (Sugiyama, Tagawa and Toda, 1981).
// An edge between groups passes through a port at the edge of each, so that it crosses nothing inside.

import { cut, shape } from "./words.js";

const GAP_X = 22;
const GAP_Y = 34;
const PADDING = 18;
export const HEADER = 34;
export const STACK = 8; // how far the nodes behind a repeat look out
const PASSING = [1, 2, 8]; // how straight an edge wants to be of whose ends none, one or both are bends
const ROW = 6; // nodes without edges stand in rows of so many

const textWidth = (text, size) => text.length * size * 0.56;

/** What is written on a node, and how large it is. */
export function card(model, key) {
  const id = Number(key.slice(1));
  if (key[0] === "p") {
    const p = model.parameters[id];
    const title = cut(model.parameterName(p), 26);
    return { title, subtitle: shape(p.shape), w: Math.max(84, textWidth(title, 12) + 28), h: 40 };
  }
  if (key[0] === "o") {
    const op = model.ops[id];
    const own = model.names.has(id);
    const title = cut(model.title(key), 28);
    const subtitle = (own ? `${cut(op.name, 22)} · ` : "") + shape(op.shape);
    return { title, subtitle, w: Math.max(124, textWidth(title, 13) + 34, textWidth(subtitle, 11) + 34), h: 48 };
  }
  const group = model.groups[id];
  const title = cut(group.label, 32);
  const last = model.groupFigures[id].last;
  const times = group.kind === "repeat" ? `×${group.children.length}` : "";
  const about = group.module || (group.kind === "module" ? "" : `${group.ops.toLocaleString("en")} operations`);
  const subtitle = [cut(about, 26), last === null ? "" : shape(model.ops[last].shape)].filter(Boolean).join(" · ");
  const more = times ? STACK : 0;
  const w = Math.max(150, textWidth(title, 13) + (times ? textWidth(times, 12) + 20 : 0) + 62, textWidth(subtitle, 11) + 62) + more;
  return { title, subtitle, times, w, h: 52 + more };
}

/** The places of all visible nodes and the paths of the edges between them. `open`: the ids of open groups. */
export function layout(model, open) {
  const hidden = hiding(model, open);
  const visible = (key) => hidden(model.parent.get(key)) ?? key;
  const edges = visibleEdges(model, visible);
  const levels = new Map(); // by open group: the edges among its children and its ports
  const level = (group) => {
    if (!levels.has(group)) levels.set(group, { edges: [], ins: new Set(), outs: new Set(), seen: new Set() });
    return levels.get(group);
  };
  for (const edge of edges) edge.parts = split(model, edge, level);
  const placed = place(model, 0, open, levels);
  const nodes = new Map();
  const at = new Map(); // by open group: where its inside begins
  collect(model, placed, 0, 0, nodes, at, 0);
  for (const edge of edges) edge.d = path(edge, placed, at);
  return { nodes, edges, width: placed.w, height: placed.h };
}

/** For a group, the key of the outermost closed group that it is or lies in, or null. */
function hiding(model, open) {
  const known = new Map([[undefined, null], [null, null]]);
  const find = (group) => {
    if (!known.has(group)) {
      const above = find(model.groups[group].parent);
      known.set(group, above ?? (group === 0 || open.has(group) ? null : `g${group}`));
    }
    return known.get(group);
  };
  return find;
}

function visibleEdges(model, visible) {
  const shown = model.parameters.map((p) => (model.parent.has(`p${p.id}`) ? visible(`p${p.id}`) : null));
  const where = model.ops.map((op) => visible(`o${op.id}`));
  const found = new Map();
  for (const op of model.ops) {
    for (const x of op.inputs) {
      const from = x.op !== null ? where[x.op] : x.parameter !== null ? shown[x.parameter] : null;
      const to = where[op.id];
      if (from === null || from === to) continue;
      const name = `${from}>${to}`;
      let edge = found.get(name);
      if (!edge) found.set(name, (edge = { name, from, to, gradient: false, cut: false }));
      edge.gradient ||= x.gradient;
      // A differentiable value that no gradient goes back to was cut off.
      edge.cut ||= x.op !== null && !x.gradient && op.graph && model.ops[x.op].graph && op.differentiable;
    }
  }
  return [...found.values()];
}

/** The parts of an edge in the groups that it passes, each {group, a, b}, and their entries in these groups' levels. */
function split(model, edge, level) {
  const up = model.around(edge.from);
  const down = model.around(edge.to);
  while (up.length > 1 && down.length > 1 && up[up.length - 2] === down[down.length - 2]) {
    up.pop();
    down.pop();
  }
  const parts = [];
  const add = (group, a, b) => {
    const here = level(group);
    const name = `${a}>${b}>${edge.from}`;
    if (!here.seen.has(name)) {
      here.seen.add(name);
      here.edges.push({ a, b, source: edge.from });
    }
    parts.push({ group, a, b });
  };
  const port = edge.from; // edges from one node share their ports
  let a = edge.from;
  for (const group of up.slice(0, -1)) {
    level(group).outs.add(port);
    add(group, a, `out:${port}`);
    a = `g${group}`;
  }
  const inside = down.slice(0, -1).reverse();
  add(up[up.length - 1], a, inside.length ? `g${inside[0]}` : edge.to);
  for (let i = 0; i < inside.length; i++) {
    level(inside[i]).ins.add(port);
    add(inside[i], `in:${port}`, i + 1 < inside.length ? `g${inside[i + 1]}` : edge.to);
  }
  for (const part of parts) part.source = port;
  return parts;
}

/** Lay out an open group: {w, h, items, ins, outs, bends} in coordinates from its upper left corner. */
function place(model, group, open, levels) {
  const { edges, ins, outs } = levels.get(group) ?? { edges: [], ins: new Set(), outs: new Set() };
  const items = new Map();
  for (const key of model.groups[group].children) {
    const id = Number(key.slice(1));
    const inner = key[0] === "g" && open.has(id) ? place(model, id, open, levels) : null;
    const size = inner ?? card(model, key);
    items.set(key, { key, w: size.w, h: size.h, inner, card: inner ? null : size, up: [], down: [] });
  }
  for (const port of ins) items.set(`in:${port}`, { key: `in:${port}`, w: 6, h: 0, up: [], down: [], port: true });
  for (const port of outs) items.set(`out:${port}`, { key: `out:${port}`, w: 6, h: 0, up: [], down: [], port: true });
  const links = edges.map((edge) => ({ ...edge, from: items.get(edge.a), to: items.get(edge.b) }));
  rank(items, links);
  const { layers, chains } = route(items, links);
  order(layers);
  spread(layers);
  // Heights of the layers, then everything to the right of and below the padding.
  const top = group === 0 ? 0 : HEADER;
  let y = top + (ins.size ? 8 : group === 0 ? 0 : 4);
  const bounds = layers.map((layer) => {
    const h = Math.max(0, ...layer.map((node) => node.h));
    if (outs.size && layer === layers.at(-1)) y += PADDING - GAP_Y; // the lower edge
    const from = y;
    y += h + (layer.every((node) => node.port) ? GAP_Y / 2 : GAP_Y);
    return { from, to: from + h };
  });
  const nodes = layers.flat();
  const left = nodes.length ? Math.min(...nodes.map((node) => node.x - node.w / 2)) : 0;
  const right = nodes.length ? Math.max(...nodes.map((node) => node.x + node.w / 2)) : 0;
  const padding = group === 0 ? 0 : PADDING;
  const g = model.groups[group];
  const w = Math.max(right - left + 2 * padding, group === 0 ? 0 : textWidth(cut(g.label, 40), 13) + textWidth(g.module, 11) + 90);
  const shift = (w - (right - left)) / 2 - left;
  for (const node of nodes) {
    node.x += shift;
    const { from, to } = bounds[node.rank];
    node.from = from;
    node.to = to;
    node.y = (from + to) / 2;
  }
  const h = Math.max(outs.size ? bounds.at(-1).to : y - GAP_Y + padding, top + 20);
  const portX = (prefix, ports) => new Map([...ports].map((port) => [port, items.get(prefix + port).x]));
  return { group, w, h, items, chains, ins: portX("in:", ins), outs: portX("out:", outs) };
}

/** Layers by the longest way from a node without inputs; ports first and last. */
function rank(items, links) {
  const nodes = [...items.values()];
  for (const link of links) {
    link.from.down.push(link);
    link.to.up.push(link);
  }
  const waiting = new Map(nodes.map((node) => [node, node.up.length]));
  const sorted = [];
  const ready = nodes.filter((node) => !node.up.length);
  let next = 0;
  const done = new Set();
  while (sorted.length < nodes.length) {
    if (!ready.length) { // a cycle: what came first goes first
      while (done.has(nodes[next])) next++;
      ready.push(nodes[next]);
    }
    const node = ready.shift();
    if (done.has(node)) continue;
    done.add(node);
    sorted.push(node);
    for (const { to } of node.down) {
      waiting.set(to, waiting.get(to) - 1);
      if (waiting.get(to) === 0 && !done.has(to)) ready.push(to);
    }
  }
  const place = new Map(sorted.map((node, i) => [node, i]));
  const forward = (link) => place.get(link.from) < place.get(link.to);
  const first = nodes.some((node) => node.key.startsWith("in:")) ? 1 : 0;
  for (const node of sorted) {
    const before = node.up.filter(forward).map((link) => link.from.rank + 1);
    node.rank = node.key.startsWith("in:") ? 0 : Math.max(first, ...before);
  }
  for (const node of sorted.reverse()) { // sources come down to where they are used
    const after = node.down.filter(forward).map((link) => link.to.rank - 1);
    if (!node.up.length && after.length && !node.port) node.rank = Math.max(node.rank, Math.min(...after));
  }
  const single = nodes.filter((node) => !node.up.length && !node.down.length);
  const connected = nodes.length > single.length;
  if (!connected) single.forEach((node, i) => (node.rank = Math.floor(i / ROW)));
  const last = Math.max(0, ...nodes.filter((node) => !node.key.startsWith("out:")).map((node) => node.rank)) + 1;
  for (const node of nodes) if (node.key.startsWith("out:")) node.rank = last;
}

/** Edges over several layers get a bend in each between; those from one port of one node share their bends. */
function route(items, links) {
  const nodes = [...items.values()];
  const layers = Array.from({ length: 1 + Math.max(0, ...nodes.map((node) => node.rank)) }, () => []);
  for (const node of nodes) {
    node.above = [];
    node.below = [];
    layers[node.rank].push(node);
  }
  const bends = new Map();
  const chains = new Map();
  const joined = new Set();
  for (const link of links) {
    const exit = link.from.inner?.outs.get(link.source);
    const entry = link.to.inner?.ins.get(link.source);
    const exitAt = exit === undefined ? 0 : exit - link.from.w / 2;
    const entryAt = entry === undefined ? 0 : entry - link.to.w / 2;
    const chain = [];
    let node = link.from;
    let at = exitAt;
    for (let r = link.from.rank + 1; r < link.to.rank; r++) {
      const name = `${link.a}|${link.source}|${r}`;
      let bend = bends.get(name);
      if (!bend) {
        bends.set(name, (bend = { bend: true, rank: r, w: 4, h: 0, above: [], below: [] }));
        layers[r].push(bend);
      }
      chain.push(bend);
      connect(node, bend, at, 0, joined);
      node = bend;
      at = 0;
    }
    if (link.to.rank > link.from.rank) connect(node, link.to, at, entryAt, joined);
    chains.set(`${link.a}>${link.b}>${link.source}`, chain);
  }
  return { layers, chains };
}

let serial = 0;

function connect(upper, lower, upperAt, lowerAt, joined) {
  upper.serial ??= ++serial;
  lower.serial ??= ++serial;
  const name = `${upper.serial}:${lower.serial}:${upperAt}:${lowerAt}`;
  if (joined.has(name)) return;
  joined.add(name);
  const weight = PASSING[!!upper.bend + !!lower.bend];
  upper.below.push({ node: lower, own: upperAt, its: lowerAt, weight });
  lower.above.push({ node: upper, own: lowerAt, its: upperAt, weight });
}

/** The order within layers with few crossings: each node to the mean place of its neighbours, up and down in turn. */
function order(layers) {
  const number = () => layers.forEach((layer) => layer.forEach((node, i) => (node.order = i)));
  number();
  let best = layers.map((layer) => [...layer]);
  let fewest = crossings(layers);
  for (let sweep = 0; sweep < 8 && fewest > 0; sweep++) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers : [...layers].reverse()) {
      for (const node of layer) {
        const near = down ? node.above : node.below;
        node.want = near.length
          ? near.reduce((sum, n) => sum + n.node.order + (n.node.w ? n.its / n.node.w : 0), 0) / near.length
          : node.order;
      }
      layer.sort((a, b) => a.want - b.want || a.order - b.order);
      layer.forEach((node, i) => (node.order = i));
    }
    const now = crossings(layers);
    if (now < fewest) {
      fewest = now;
      best = layers.map((layer) => [...layer]);
    }
  }
  layers.forEach((layer, i) => layer.splice(0, layer.length, ...best[i]));
  number();
}

function crossings(layers) {
  let n = 0;
  for (const layer of layers) {
    const pairs = layer.flatMap((node) => node.below.map((b) => [node.order, b.node.order]));
    if (pairs.length > 400) return Infinity;
    for (let i = 0; i < pairs.length; i++) {
      for (let j = 0; j < i; j++) if ((pairs[i][0] - pairs[j][0]) * (pairs[i][1] - pairs[j][1]) < 0) n++;
    }
  }
  return n;
}

/** Places from left to right: near the neighbours, in order and apart; then in columns. */
function spread(layers) {
  for (const layer of layers) {
    let x = 0;
    for (const node of layer) {
      node.x = x + node.w / 2;
      x += node.w + GAP_X;
    }
    for (const node of layer) node.x -= x / 2;
  }
  for (let sweep = 0; sweep < 12; sweep++) {
    const sides = sweep >= 10 ? ["above", "below"] : sweep % 2 === 0 ? ["above"] : ["below"];
    for (const layer of sweep % 2 === 0 ? layers : [...layers].reverse()) {
      const wants = layer.map((node) => {
        const near = sides.flatMap((side) => node[side]);
        const weight = near.reduce((sum, n) => sum + n.weight, 0);
        if (!weight) return { at: node.x, weight: 0.01 };
        const at = near.reduce((sum, n) => sum + n.weight * (n.node.x + n.its - n.own), 0) / weight;
        return { at, weight };
      });
      apart(layer, wants);
    }
  }
  const columns = straight(layers);
  for (let sweep = 0; sweep < 8; sweep++) {
    for (const column of sweep % 2 === 0 ? columns : [...columns].reverse()) move(column, layers);
  }
}

/** What is to stand in one line: nodes that have but each other, and the bends of one edge. Of each its node and how far to the right. */
function straight(layers) {
  const columns = [];
  for (const node of layers.flat()) {
    const from = node.above.find((n) => n.node.bend && node.bend) ?? (node.above.length === 1 && node.above[0].node.below.length === 1 ? node.above[0] : null);
    node.column = from?.node.column ?? columns[columns.push([]) - 1];
    const right = from ? node.column.at(-1).right + from.its - from.own : 0;
    node.column.push({ node, right });
  }
  return columns;
}

/** Move a column as near to its neighbours as those beside it allow, if they let it be straight at all. */
function move(column, layers) {
  let [low, high, sum, weight] = [-Infinity, Infinity, 0, 0];
  for (const { node, right } of column) {
    const layer = layers[node.rank];
    const [left, next] = [layer[node.order - 1], layer[node.order + 1]];
    if (left) low = Math.max(low, left.x + distance(left, node) - right);
    if (next) high = Math.min(high, next.x - distance(node, next) - right);
    for (const n of [...node.above, ...node.below]) {
      if (n.node.column === column) continue;
      sum += n.weight * (n.node.x + n.its - n.own - right);
      weight += n.weight;
    }
  }
  if (low > high) return;
  const x = Math.min(high, Math.max(low, weight ? sum / weight : column[0].node.x));
  for (const { node, right } of column) node.x = x + right;
}

/** How far apart the middles of two nodes next to each other are at least. */
const distance = (a, b) => (a.w + b.w) / 2 + (a.bend && b.bend ? 10 : GAP_X);

/** The places closest to those wanted (weighted squares) that keep the nodes of a layer apart: adjacent violators pooled. */
function apart(layer, wants) {
  const blocks = [];
  let offset = 0;
  layer.forEach((node, i) => {
    if (i) offset += distance(layer[i - 1], node);
    blocks.push({ sum: (wants[i].at - offset) * wants[i].weight, weight: wants[i].weight, nodes: [[node, offset]] });
    while (blocks.length > 1) {
      const b = blocks[blocks.length - 1];
      const a = blocks[blocks.length - 2];
      if (a.sum / a.weight <= b.sum / b.weight) break;
      a.sum += b.sum;
      a.weight += b.weight;
      a.nodes.push(...b.nodes);
      blocks.pop();
    }
  });
  for (const block of blocks) for (const [node, at] of block.nodes) node.x = block.sum / block.weight + at;
}

function collect(model, placed, x, y, nodes, at, depth) {
  at.set(placed.group, { x, y, placed });
  for (const node of placed.items.values()) {
    if (node.port) continue;
    const left = x + node.x - node.w / 2;
    const upper = y + node.y - node.h / 2;
    nodes.set(node.key, { key: node.key, x: left, y: upper, w: node.w, h: node.h, open: !!node.inner, card: node.card, depth });
    if (node.inner) collect(model, node.inner, left, upper, nodes, at, depth + 1);
  }
}

/** The path of an edge: straight down as far as the layers of its nodes, ports and bends go, curved between layers. */
function path(edge, top, at) {
  const points = [];
  const add = (x, y) => {
    const before = points.at(-1);
    if (!before || before[0] !== x || before[1] !== y) points.push([x, y]);
  };
  for (const { group, a, b, source } of edge.parts) {
    const { x, y, placed } = at.get(group);
    const from = placed.items.get(a);
    const to = placed.items.get(b);
    const exit = from.inner?.outs.get(source);
    const entry = to.inner?.ins.get(source);
    const fromX = x + (exit === undefined ? from.x : from.x - from.w / 2 + exit);
    const toX = x + (entry === undefined ? to.x : to.x - to.w / 2 + entry);
    add(fromX, y + from.y + from.h / 2);
    if (from.rank < to.rank) add(fromX, y + from.to);
    for (const bend of placed.chains.get(`${a}>${b}>${source}`) ?? []) {
      add(x + bend.x, y + bend.from);
      add(x + bend.x, y + bend.to);
    }
    if (from.rank < to.rank) add(toX, y + to.from);
    add(toX, y + to.y - to.h / 2);
  }
  const text = (x) => String(Math.round(x * 10) / 10);
  let d = `M${text(points[0][0])} ${text(points[0][1])}`;
  for (let i = 1; i < points.length; i++) {
    const [x0, y0] = points[i - 1];
    const [x1, y1] = points[i];
    if (Math.abs(x0 - x1) < 0.5) d += `L${text(x1)} ${text(y1)}`;
    else {
      const middle = (y0 + y1) / 2;
      d += `C${text(x0)} ${text(middle)} ${text(x1)} ${text(middle)} ${text(x1)} ${text(y1)}`;
    }
  }
  return d;
}
