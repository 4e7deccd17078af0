// The order in which everything ran, forward and then backward, and the sums in .grad on the way.

/** All steps in order: {kind: "forward", op} or {kind: "backward" | "arrival", step, op | parameter}. */
export function sequence(model) {
  const events = model.ops.filter((op) => !op.before && op.during === null).map((op) => ({
    kind: "forward", op: op.id, key: `o${op.id}`, start: op.start,
  }));
  for (const step of model.backward) {
    if (step.op !== null) events.push({ kind: "backward", step, op: step.op, key: `o${step.op}`, start: step.start });
    else events.push({ kind: "arrival", step, parameter: step.parameter, key: `p${step.parameter}`, start: step.start });
  }
  // Forward comes first unless several passes alternate; records stand in the order in which they ran.
  let latest = 0;
  for (const event of events) event.time = latest = event.start ?? latest;
  return events.map((event, i) => [event, i]).sort(([a, i], [b, j]) => a.time - b.time || i - j).map(([event]) => event);
}

/** The sum of the gradients handed to a parameter up to a step of this backward pass, with what .grad held before. */
export function runningSum(model, parameter, step) {
  const parts = model.handedToParameter[parameter].filter((part) => part.step.walk === step.walk);
  const before = parts.filter((part) => part.step.id <= step.id);
  const arrival = model.arrivals[parameter].find((one) => one.walk === step.walk);
  const held = earlier(model, parameter, step, arrival);
  const samples = before.map((part) => model.handedOn(part.gradient)?.sample);
  const all = held ? [held, ...samples] : samples;
  return { parts, done: before.length, sample: all.length ? added(all) : null, held, arrival };
}

/** What .grad held before this pass, or null if nothing. */
function earlier(model, parameter, step, arrival) {
  const last = model.arrivals[parameter].filter((one) => one.walk < step.walk).pop();
  if (!arrival?.total || !arrival.incoming) return last ? model.arrived(last)?.sample ?? null : null;
  const total = model.arrived(arrival).sample;
  const incoming = model.incoming(arrival).sample;
  if (!total || !incoming || total.values.every((x, i) => Object.is(x, incoming.values[i]))) return null;
  // Rather the recorded sum after the last pass, unless it was changed since: a difference of rounded numbers is less exact.
  const before = last ? model.arrived(last)?.sample : null;
  const near = (x, i) => Math.abs(x + incoming.values[i] - total.values[i]) <= 1e-6 * Math.abs(total.values[i]);
  if (before?.values.every(near)) return before;
  return { ...total, values: total.values.map((x, i) => x - incoming.values[i]) };
}

function added(samples) {
  const first = samples[0];
  if (samples.some((s) => !s || s.values.length !== first?.values.length)) return null;
  return { ...first, values: first.values.map((_, i) => samples.reduce((sum, s) => sum + s.values[i], 0)) };
}

/** Play, step and rewind. Calls `show(event, index)` for each step, and `changed()` when it starts or stops. */
export class Player {
  constructor(events, show, changed) {
    this.events = events;
    this.show = show;
    this.changed = changed;
    this.index = -1;
    this.interval = 900;
    this.timer = null;
  }

  get playing() {
    return this.timer !== null;
  }

  go(index) {
    const to = Math.max(-1, Math.min(this.events.length - 1, index));
    if (to === this.index) return;
    this.index = to;
    this.show(this.events[to] ?? null, to);
  }

  step(by) {
    this.stop();
    this.go(this.index + by);
  }

  toggle() {
    if (this.playing) return this.stop();
    if (this.index >= this.events.length - 1) this.index = -1;
    this.timer = setTimeout(() => this.#tick(), 0);
    this.changed();
  }

  #tick() {
    this.go(this.index + 1);
    if (this.index >= this.events.length - 1) this.stop();
    else this.timer = setTimeout(() => this.#tick(), this.interval);
  }

  stop() {
    if (!this.playing) return;
    clearTimeout(this.timer);
    this.timer = null;
    this.changed();
  }
}
