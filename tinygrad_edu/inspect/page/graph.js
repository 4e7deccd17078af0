// The picture: nodes and edges as SVG, opened and closed, moved and enlarged, walked by keyboard.

import { paint } from "./color.js";
import { HEADER, STACK, layout } from "./layout.js";
import { plural, shape, svg } from "./words.js";

const SMALLEST = 0.05;
const LARGEST_SCALE = 2.5;
export const MOST_VISIBLE = 2000;

export class Graph {
  /** `on`: {select(key), painted(legend), message(text)}. */
  constructor(model, element, on) {
    this.model = model;
    this.element = element;
    this.on = on;
    this.open = new Set([0]);
    this.mode = "kind";
    this.selected = null;
    this.shown = new Map(); // by key: its element
    this.grounds = new Map(); // by key of an open group: what lies below the edges in it
    this.focusKey = null;
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.groundLayer = svg("g", { "aria-hidden": "true" });
    this.edgeLayer = svg("g", { class: "edges", "aria-hidden": "true" });
    this.activeLayer = svg("g", { class: "active-edges", "aria-hidden": "true" });
    this.nodeLayer = svg("g");
    this.world = svg("g", { class: "world" }, this.groundLayer, this.edgeLayer, this.activeLayer, this.nodeLayer);
    const arrow = (id, size) => svg("marker", {
      id, viewBox: "0 0 8 8", refX: 7, refY: 4, markerUnits: "userSpaceOnUse", markerWidth: size, markerHeight: size, orient: "auto-start-reverse",
    }, svg("path", { d: "M0 0.8L7.5 4L0 7.2Z", class: id }));
    element.append(svg("defs", {}, arrow("arrow", 9), arrow("arrow-forward", 13), arrow("arrow-backward", 13)), this.world);
    this.#listen();
  }

  /** Open the groups that a reader wants to see at first: down to several nodes. */
  start() {
    const { groups } = this.model;
    let group = groups[0];
    for (;;) {
      const inner = group.children.filter((key) => key[0] === "g").map((key) => groups[Number(key.slice(1))]);
      const large = inner.filter((one) => one.ops > 0.8 * group.ops);
      if (large.length !== 1 || (["repeat", "part"].includes(large[0].kind) && group.children.length > 1)) break;
      group = large[0];
      this.open.add(group.id);
    }
    this.render();
    this.fit(false);
  }

  render(anchor = null) {
    const before = anchor === null ? null : this.places?.nodes.get(anchor);
    const old = this.places?.nodes;
    this.places = layout(this.model, this.open);
    const { nodes, edges } = this.places;
    if (before) { // what was opened or closed stays where it is
      const now = nodes.get(anchor);
      if (now) {
        this.x += (before.x + before.w / 2 - now.x - now.w / 2) * this.scale;
        this.y += (before.y - now.y) * this.scale;
      }
    }
    for (const [key, element] of this.shown) {
      const node = nodes.get(key);
      if (node && element.classList.contains("box") === node.open) continue;
      this.shown.delete(key);
      element.remove();
      this.grounds.get(key)?.remove();
      this.grounds.delete(key);
    }
    for (const node of nodes.values()) if (!this.shown.has(node.key)) this.#draw(node, old, anchor);
    this.edgeLayer.classList.remove("fresh");
    if (old) this.element.getBoundingClientRect(); // what changes from here on is animated
    for (const node of nodes.values()) this.#put(node);
    this.edgeLayer.replaceChildren(...edges.map((edge) => svg("path", {
      d: edge.d, class: edge.cut && !edge.gradient ? "edge cut" : "edge", "marker-end": "url(#arrow)",
    })));
    this.edgeLayer.classList.toggle("fresh", !!old);
    this.#moved(!!old);
    this.color(this.mode);
    this.mark(this.active ?? null);
    if (this.focusKey === null || !nodes.has(this.focusKey)) this.#tabStop(this.visible(this.focusKey) ?? nodes.keys().next().value);
    this.select(this.selected, false);
  }

  /** Make the elements of a node, where it grows out of what was there. */
  #draw(node, old, anchor) {
    const element = node.open ? this.#box(node) : this.#card(node);
    this.shown.set(node.key, element);
    this.nodeLayer.append(element);
    if (node.open) {
      const ground = svg("rect", { class: node.depth % 2 ? "ground odd" : "ground", rx: 10, "data-key": node.key });
      this.grounds.set(node.key, ground);
      this.groundLayer.append(ground);
    }
    if (!old) return;
    const from = old.get(node.key) ?? old.get(anchor) ?? node;
    for (const part of this.#parts(node)) {
      part.style.transform = `translate(${from.x}px, ${from.y}px)`;
      part.classList.toggle("new", !old.has(node.key));
    }
  }

  #put(node) {
    for (const part of this.#parts(node)) {
      part.style.transform = `translate(${node.x}px, ${node.y}px)`;
      part.classList.remove("new");
    }
    if (!node.open) return;
    for (const rect of [this.shown.get(node.key).querySelector(".frame"), this.grounds.get(node.key)]) {
      rect.setAttribute("width", node.w);
      rect.setAttribute("height", node.h);
    }
  }

  #parts(node) {
    const element = this.shown.get(node.key);
    return node.open ? [this.grounds.get(node.key), element] : [element];
  }

  #group(node, kind) {
    const g = this.model.groups[Number(node.key.slice(1))];
    const open = kind === "box";
    const button = svg("g", { class: "toggle", "aria-hidden": "true" },
      svg("rect", { x: -11, y: -11, width: 22, height: 22, rx: 6 }), svg("path", { d: open ? "M-4 0H4" : "M-4 0H4M0 -4V4" }),
      svg("title", {}, open ? "Close" : "Open"));
    button.addEventListener("click", (event) => {
      event.stopPropagation();
      this.toggle(node.key);
    });
    const words = [this.model.title(node.key), g.module, g.kind === "repeat" ? `${g.children.length} alike` : "", plural(g.ops, "operation")];
    return { button, label: words.filter(Boolean).join(", ") };
  }

  #element(node, kind, label) {
    const element = svg("g", {
      class: `node ${kind}`, role: "button", tabindex: -1, "data-key": node.key, "aria-label": label,
      "aria-expanded": node.key[0] === "g" ? String(kind === "box") : null,
    });
    return element;
  }

  #box(node) {
    const { button, label } = this.#group(node, "box");
    const element = this.#element(node, "box", label);
    const g = this.model.groups[Number(node.key.slice(1))];
    button.style.transform = `translate(${18}px, ${HEADER / 2}px)`;
    const title = svg("text", { x: 36, y: 22, class: "title" }, g.label);
    if (g.module && g.module !== g.label) title.append(svg("tspan", { class: "dims", dx: 8 }, g.module));
    element.append(svg("rect", { class: "frame", rx: 10 }), title, button);
    return element;
  }

  #card(node) {
    const { title, subtitle, times, w, h } = node.card;
    const sort = { o: "op", g: "group", p: "input" }[node.key[0]];
    const id = Number(node.key.slice(1));
    let label = `${title}, ${subtitle.replaceAll("×", " by ")}`;
    let button = null;
    if (sort === "group") ({ button, label } = this.#group(node, "group"));
    if (sort === "op") {
      const op = this.model.ops[id];
      label = [this.model.title(node.key), op.name, op.path ? `in ${op.path}` : "", `shape ${shape(op.shape)}`].filter(Boolean).join(", ");
    }
    const element = this.#element(node, `${sort}${times ? " repeat" : ""}`, label);
    const behind = times ? STACK : 0; // a repeat stands before others, which look out above and to the right
    if (times) {
      for (const d of [behind, behind / 2]) element.append(svg("rect", { class: "behind", x: d, y: behind - d, width: w - behind, height: h - behind, rx: 8 }));
    }
    const [right, middle] = [w - behind, (h + behind) / 2];
    element.append(svg("rect", { class: "card", y: behind, width: right, height: h - behind, rx: sort === "input" ? h / 2 : 8 }));
    if (sort === "op") element.append(svg("rect", { class: "stripe", x: 0, y: 8, width: 4, height: h - 16, rx: 2 }));
    const centered = sort === "input";
    const at = { x: centered ? w / 2 : 16, "text-anchor": centered ? "middle" : null };
    element.append(svg("text", { ...at, y: middle - 3, class: "title" }, title), svg("text", { ...at, y: middle + 13, class: "subtitle" }, subtitle));
    if (button) {
      button.style.transform = `translate(${right - 20}px, ${middle}px)`;
      element.append(button);
      if (times) element.append(svg("text", { x: right - 38, y: middle - 3, class: "times", "text-anchor": "end" }, times));
    }
    element.append(svg("title", {}, label));
    return element;
  }

  // ---- opening and closing --------------------------------------------------------------------------------------------

  toggle(key) {
    const id = Number(key.slice(1));
    if (key[0] !== "g") return;
    if (this.open.has(id)) this.open.delete(id);
    else this.open.add(id);
    this.render(key);
    this.focus(key);
    this.on.message(`${this.model.title(key)} ${this.open.has(id) ? "opened" : "closed"}`);
  }

  openAll() {
    const waiting = [...this.open];
    let visible = this.places.nodes.size;
    let left = 0;
    for (const id of waiting) {
      for (const key of this.model.groups[id].children) {
        const inner = Number(key.slice(1));
        if (key[0] !== "g" || waiting.includes(inner)) continue;
        const more = this.model.groups[inner].children.length;
        if (visible + more > MOST_VISIBLE) left++;
        else {
          visible += more;
          this.open.add(inner);
          waiting.push(inner);
        }
      }
    }
    this.render();
    this.fit();
    const rest = left ? `; ${plural(left, "group")} stay closed, since more than ${MOST_VISIBLE} nodes would not be readable` : "";
    this.on.message(`${plural(visible, "node")} shown${rest}`, !!left);
  }

  closeAll() {
    this.open = new Set([0]);
    this.start();
    this.on.message("modules closed");
  }

  /** The node that stands for a key: itself, or the closed group around it. Null: it stands nowhere. */
  visible(key) {
    if (key === null || key === undefined) return null;
    if (this.places.nodes.has(key)) return key;
    for (const group of this.model.around(key)) if (this.places.nodes.has(`g${group}`)) return `g${group}`;
    return null;
  }

  /** Open the groups around a node. Returns those that were closed. */
  reveal(key) {
    const closed = this.model.around(key).filter((group) => !this.open.has(group));
    for (const group of closed) this.open.add(group);
    return closed;
  }

  // ---- showing --------------------------------------------------------------------------------------------------------

  color(mode) {
    this.mode = mode;
    const { found, legend } = paint(this.model, mode, this.places.nodes);
    for (const [key, element] of this.shown) {
      const color = found.get(key);
      const card = element.querySelector(".card");
      if (!card) continue;
      element.dataset.mode = mode;
      element.dataset.kind = color?.kind ?? "";
      element.dataset.trouble = color?.trouble ?? "";
      card.style.setProperty("--level", color?.level === undefined ? "" : `${Math.round(color.level * 100)}%`);
      element.classList.toggle("measured", color?.level !== undefined);
      const title = element.querySelector(":scope > title");
      const label = element.getAttribute("aria-label");
      title.textContent = color?.text && mode !== "kind" ? `${label}; ${color.text}` : label;
    }
    this.on.painted(legend);
  }

  select(key, tell = true) {
    this.selected = key;
    const shown = this.visible(key);
    for (const [k, element] of this.shown) {
      element.classList.toggle("selected", k === shown);
    }
    if (tell && key !== null) this.on.select(key);
  }

  /** Show where a step is: {kind, key, from: keys that its inputs come from, upto} or null. */
  mark(active) {
    this.active = active;
    this.element.classList.toggle("stepping", active !== null);
    const here = active === null ? null : this.visible(active.key);
    for (const [key, element] of this.shown) {
      element.classList.toggle("current", key === here);
      element.classList.toggle("backward", key === here && active.kind !== "forward");
      element.classList.toggle("waiting", active !== null && !element.classList.contains("box") && !active.reached(key));
    }
    this.activeLayer.replaceChildren();
    const sources = new Set(here === null ? [] : active.from.map((key) => this.visible(key)));
    for (const [i, edge] of this.places.edges.entries()) {
      const flows = edge.to === here && sources.has(edge.from);
      this.edgeLayer.children[i].classList.toggle("covered", flows);
      if (!flows) continue;
      const forward = active.kind === "forward";
      this.activeLayer.append(svg("path", {
        d: edge.d, class: forward ? "flow forward" : "flow backward",
        [forward ? "marker-end" : "marker-start"]: `url(#arrow-${forward ? "forward" : "backward"})`,
      }));
    }
  }

  // ---- moving ---------------------------------------------------------------------------------------------------------

  #moved(smooth = false) {
    this.world.classList.toggle("smooth", smooth);
    this.world.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
  }

  fit(smooth = true) {
    const { width, height } = this.element.getBoundingClientRect();
    const { width: w, height: h } = this.places;
    this.scale = Math.max(SMALLEST, Math.min(1.1, (width - 48) / w, (height - 48) / h));
    // A tall graph is read from its top rather than from far away.
    const readable = Math.min(0.62, (width - 48) / w);
    const tall = this.scale < readable;
    if (tall) this.scale = Math.max(SMALLEST, readable);
    this.x = (width - w * this.scale) / 2;
    this.y = tall ? 24 : (height - h * this.scale) / 2;
    this.#moved(smooth);
  }

  zoom(factor, cx, cy, smooth = false) {
    const { width, height } = this.element.getBoundingClientRect();
    const x = cx ?? width / 2;
    const y = cy ?? height / 2;
    const scale = Math.max(SMALLEST, Math.min(LARGEST_SCALE, this.scale * factor));
    this.x = x - ((x - this.x) * scale) / this.scale;
    this.y = y - ((y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.#moved(smooth);
  }

  /** Bring a node into view, moving as little as needed; or `far` from the edges if it is not there already. */
  bring(key, smooth = true, far = false) {
    const node = this.places.nodes.get(key);
    if (!node) return;
    const { width, height } = this.element.getBoundingClientRect();
    if (this.scale < 0.4) this.scale = 0.7;
    const inside = (at, size, room) => {
      const margin = far ? room / 3 : 70;
      if (size + 2 * margin > room) return (room - size) / 2 < 70 ? 70 - at : (room - size) / 2 - at;
      return Math.max(margin - at, 0) + Math.min(room - margin - (at + size), 0);
    };
    this.x += inside(this.x + node.x * this.scale, node.w * this.scale, width);
    this.y += inside(this.y + node.y * this.scale, (node.open ? HEADER : node.h) * this.scale, height);
    this.#moved(smooth);
  }

  #tabStop(key) {
    this.shown.get(this.focusKey)?.setAttribute("tabindex", -1);
    this.focusKey = key ?? null;
    this.shown.get(key)?.setAttribute("tabindex", 0);
  }

  focus(key) {
    this.#tabStop(key);
    this.shown.get(key)?.focus({ preventScroll: true });
  }

  /** The nearest node in a direction: along edges where there are any, else by place. */
  #neighbour(key, dx, dy) {
    const { nodes, edges } = this.places;
    const from = nodes.get(key);
    const center = (node) => [node.x + node.w / 2, node.y + (node.open ? HEADER / 2 : node.h / 2)];
    const [x, y] = center(from);
    let candidates = [...nodes.values()].filter((node) => node.key !== key);
    if (dy !== 0 && !from.open) {
      const along = edges.filter((e) => (dy > 0 ? e.from : e.to) === key).map((e) => nodes.get(dy > 0 ? e.to : e.from));
      if (along.length) candidates = along;
    }
    let best = null;
    let least = Infinity;
    for (const node of candidates) {
      const [nx, ny] = center(node);
      const forward = (nx - x) * dx + (ny - y) * dy;
      const aside = Math.abs((nx - x) * dy) + Math.abs((ny - y) * dx);
      if (forward <= 1) continue;
      const distance = forward + (dx !== 0 ? 4 : 1.5) * aside;
      if (distance < least) [best, least] = [node.key, distance];
    }
    return best;
  }

  #listen() {
    const { element } = this;
    const keyOf = (event) => event.target.closest?.("[data-key]")?.dataset.key ?? null;
    element.addEventListener("keydown", (event) => {
      const key = keyOf(event);
      if (key === null || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
      const direction = { ArrowDown: [0, 1], ArrowUp: [0, -1], ArrowRight: [1, 0], ArrowLeft: [-1, 0] }[event.key];
      if (direction) {
        const next = this.#neighbour(key, ...direction);
        if (next) {
          this.focus(next);
          this.bring(next);
        }
      } else if (event.key === "Enter") {
        this.select(key);
        if (key[0] === "g") this.toggle(key);
      } else if (event.key === "Escape" || event.key === "Backspace") {
        const above = this.model.parent.get(key);
        if (above === undefined || above === 0) return;
        this.toggle(`g${above}`);
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });
    element.addEventListener("dblclick", (event) => {
      const key = keyOf(event);
      if (key !== null && key[0] === "g") this.toggle(key);
    });
    let drag = null;
    element.addEventListener("pointerdown", (event) => {
      if (event.button === 0) drag = { x: event.clientX, y: event.clientY, moved: false };
    });
    element.addEventListener("pointermove", (event) => {
      if (drag === null) return;
      const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
      if (!drag.moved && Math.hypot(dx, dy) < 4) return;
      if (!drag.moved) element.setPointerCapture(event.pointerId);
      drag = { x: event.clientX, y: event.clientY, moved: true };
      this.x += dx;
      this.y += dy;
      this.#moved();
    });
    const release = () => {
      this.dragged = drag?.moved ?? false;
      drag = null;
    };
    element.addEventListener("pointerup", release);
    element.addEventListener("pointercancel", release);
    element.addEventListener("click", (event) => {
      const key = keyOf(event);
      if (this.dragged || key === null) return;
      this.#tabStop(key);
      this.select(key);
    });
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      const { left, top } = element.getBoundingClientRect();
      const unit = event.deltaMode === 1 ? 16 : 1;
      if (event.shiftKey) {
        this.x -= (event.deltaX || event.deltaY) * unit;
        this.#moved();
      } else this.zoom(Math.exp(-event.deltaY * unit * (event.ctrlKey ? 0.01 : 0.0015)), event.clientX - left, event.clientY - top);
    }, { passive: false });
  }
}
