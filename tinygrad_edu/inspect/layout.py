"""Where the boxes of a picture stand: in layers from top to bottom, frame by frame from the inside out.

The usual four steps of Sugiyama, Tagawa and Toda 1981 ("Methods for visual understanding of hierarchical system
structures"): layers by the longest path, places held free for arrows that pass layers, an order in each layer with few
crossings (by the means of neighbours), and positions as close to those of the neighbours as the widths allow. A frame
is laid out by itself, with places at its top and bottom for the arrows from and to outside, and is then one box of the
frame around it. So nothing overlaps, and arrows go around boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .picture import Picture

CHARACTER, LINE = 7.25, 16.0  # of the font, in pixels
PADDING = 9.0  # inside a box
ACROSS, DOWN = 26.0, 34.0  # between boxes
MARGIN, HEAD = 16.0, 24.0  # inside a frame, and above for its name
LANE = 10.0  # the width that an arrow passing by takes
STRAIGHT = (1.0, 2.0, 8.0)  # how much an arrow between places wants to be, of which none, one or both are passed
ROUNDS = 12

Point = tuple[float, float]
Ends = dict[str, list[tuple[str, float, float]]]
"""For each place, those that arrows lead to or come from: (place, how far to its right it wants this one, how much)."""


@dataclass
class Rectangle:
    x: float
    y: float
    width: float
    height: float


@dataclass
class Layout:
    width: float
    height: float
    boxes: dict[str, Rectangle] = field(default_factory=dict)
    frames: dict[int, Rectangle] = field(default_factory=dict)
    """Of the frames but the first."""
    arrows: list[list[Point]] = field(default_factory=list)
    """The points that each arrow goes through."""


@dataclass
class _Inside:
    """A frame, laid out: where its members and the arrows through it are, from its corner."""

    width: float
    height: float
    places: dict[str, Rectangle]
    """Of boxes and frames ("frame 3")."""
    bends: dict[int, list[Point]]
    """For each arrow, the points between its ends in this frame."""
    rows: dict[str, tuple[float, float]]
    """Of each member, the top and the bottom of its layer."""


def layout(picture: Picture) -> Layout:
    """Place a picture."""
    above = {f.id: f.parent for f in picture.frames}
    members: dict[int, list[str]] = {f.id: [] for f in picture.frames}
    for frame in picture.frames[1:]:
        members[frame.parent or 0].append(f"frame {frame.id}")
    for box in picture.boxes.values():
        members[box.frame].append(box.key)
    first = {key: i for i, key in enumerate(picture.boxes)}

    def around(frame: int) -> list[int]:
        found = [frame]
        while (parent := above[found[-1]]) is not None:
            found.append(parent)
        return found

    # For each frame, the arrows in it: (number, from, to). An arrow through several frames has a piece in each.
    pieces: dict[int, list[tuple[int, str, str]]] = {f.id: [] for f in picture.frames}
    routes: list[list[tuple[int, str, str]]] = []  # the same by arrow: (frame, from, to)
    for n, arrow in enumerate(picture.arrows):
        up, down = around(picture.boxes[arrow.source].frame), around(picture.boxes[arrow.target].frame)
        common = next(f for f in up if f in down)
        leaving, entering = up[: up.index(common)], down[: down.index(common)]
        route, back = [], []
        source, target = arrow.source, arrow.target
        for here in leaving:
            route.append((here, source, f"out {n}"))
            source = f"frame {here}"
        for here in entering:
            back.append((here, f"in {n}", target))
            target = f"frame {here}"
        routes.append([*route, (common, source, target), *reversed(back)])
        for here, source, target in routes[-1]:
            pieces[here].append((n, source, target))

    done: dict[int, _Inside] = {}
    sizes = {
        box.key: (max(map(len, box.lines)) * CHARACTER + 2 * PADDING, len(box.lines) * LINE + 2 * PADDING)
        for box in picture.boxes.values()
    }
    for frame in reversed(picture.frames):  # the inner ones have higher numbers
        keys = sorted(members[frame.id], key=lambda k: _first(k, picture, first, above))
        label = len(frame.label) * CHARACTER if frame.id else 0.0
        done[frame.id] = inside = _place(keys, sizes, pieces[frame.id], done, label, frame.id != 0)
        sizes[f"frame {frame.id}"] = inside.width, inside.height
    found = Layout(done[0].width, done[0].height)
    corners: dict[int, Point] = {0: (0.0, 0.0)}
    for frame in picture.frames:
        x, y = corners[frame.id]
        for key, place in done[frame.id].places.items():
            moved = Rectangle(x + place.x, y + place.y, place.width, place.height)
            if key in picture.boxes:
                found.boxes[key] = moved
            else:
                found.frames[int(key[6:])] = moved
                corners[int(key[6:])] = moved.x, moved.y
    for n, arrow in enumerate(picture.arrows):
        start, end = found.boxes[arrow.source], found.boxes[arrow.target]
        points = [(start.x + start.width / 2, start.y + start.height)]
        for i, (here, source, target) in enumerate(routes[n], 1):
            inside, (x, y) = done[here], corners[here]
            if source in inside.rows:  # straight down to where its layer ends
                points.append((points[-1][0], y + inside.rows[source][1]))
            points += [(x + px, y + py) for px, py in inside.bends[n]]
            if target in inside.rows:  # and straight down from where the layer begins
                across = end.x + end.width / 2
                if i < len(routes[n]):
                    inner = routes[n][i][0]
                    across = corners[inner][0] + done[inner].bends[n][0][0]
                points.append((across, y + inside.rows[target][0]))
        points.append((end.x + end.width / 2, end.y))
        found.arrows.append([p for i, p in enumerate(points) if i == 0 or p != points[i - 1]])
    return found


def _first(key: str, picture: Picture, first: dict[str, int], above: dict[int, int | None]) -> int:
    """When the first box in it ran."""
    if key in first:
        return first[key]
    wanted, found = int(key[6:]), len(first)
    for box in picture.boxes.values():
        frame: int | None = box.frame
        while frame is not None and frame != wanted:
            frame = above[frame]
        if frame is not None:
            found = min(found, first[box.key])
    return found


def _place(
    keys: list[str],
    sizes: dict[str, tuple[float, float]],
    arrows: list[tuple[int, str, str]],
    done: dict[int, _Inside],
    label: float,
    framed: bool,
) -> _Inside:
    """Lay out the members of one frame."""
    inputs = [s for _, s, _ in arrows if s.startswith("in ")]
    outputs = [t for _, _, t in arrows if t.startswith("out ")]
    layer_of = _layers(keys, [(s, t) for _, s, t in arrows if s in sizes and t in sizes])
    last = max(layer_of.values(), default=0)
    layer_of |= dict.fromkeys(inputs, -1) | dict.fromkeys(outputs, last + 1)
    rows: dict[int, list[str]] = {i: [] for i in range(-1, last + 2)}
    for key in [*inputs, *keys, *outputs]:
        rows[layer_of[key]].append(key)
    # An arrow that passes layers goes through a free place in each of them.
    chains: dict[int, list[str]] = {}
    up: Ends = {}
    down: Ends = {}
    for n, source, target in arrows:
        chain = [source]
        for layer in range(layer_of[source] + 1, layer_of[target]):
            chain.append(f"pass {n} {layer}")
            rows[layer].append(chain[-1])
        chain.append(target)
        chains[n] = chain
        leaves, enters = _port(done, source, n, -1), _port(done, target, n, 0)
        for s, t in zip(chain, chain[1:], strict=False):
            right = (leaves if s == source else 0.0) - (enters if t == target else 0.0)
            weight = STRAIGHT[s.startswith("pass ") + t.startswith("pass ")]
            down.setdefault(s, []).append((t, -right, weight))
            up.setdefault(t, []).append((s, right, weight))
    layers = [rows[i] for i in sorted(rows) if rows[i]]
    width = {key: sizes[key][0] if key in sizes else LANE for row in layers for key in row}
    _order(layers, up, down)
    centre = _positions(layers, up, down, width)
    low = min((centre[k] - width[k] / 2 for k in centre), default=0.0)
    high = max((centre[k] + width[k] / 2 for k in centre), default=0.0)
    spare = max(label - (high - low), 0.0)
    shift = MARGIN - low + spare / 2
    places: dict[str, Rectangle] = {}
    bounds: dict[str, tuple[float, float]] = {}
    y, gap = HEAD if framed else MARGIN, 0.0
    for i, row in enumerate(layers):
        tall = max((sizes[k][1] for k in row if k in sizes), default=0.0)
        y += gap if tall or not i else DOWN / 3
        for key in row:
            bounds[key] = y, y + tall
            if key in sizes:
                w, h = sizes[key]
                places[key] = Rectangle(centre[key] + shift - w / 2, y + (tall - h) / 2, w, h)
        y += tall
        gap = DOWN if tall else DOWN / 3
    bends: dict[int, list[Point]] = {}
    for n, chain in chains.items():
        inner = [key for key in chain if key not in sizes]
        bends[n] = [(centre[key] + shift, end) for key in inner for end in dict.fromkeys(bounds[key])]
    members = {key: bounds[key] for key in places}
    return _Inside(high - low + 2 * MARGIN + spare, y + MARGIN, places, bends, members)


def _port(done: dict[int, _Inside], key: str, arrow: int, end: int) -> float:
    """How far to the right of its middle an arrow leaves (-1) or enters (0) a member of a frame."""
    if not key.startswith("frame "):
        return 0.0
    inside = done[int(key[6:])]
    return inside.bends[arrow][end][0] - inside.width / 2


def _layers(keys: list[str], edges: list[tuple[str, str]]) -> dict[str, int]:
    """The layer of each member: one below the lowest of those that lead to it; one without any, right above the first
    that it leads to."""
    order = {key: i for i, key in enumerate(keys)}
    before: dict[str, list[str]] = {key: [] for key in keys}
    after: dict[str, list[str]] = {key: [] for key in keys}
    for s, t in edges:
        before[t].append(s)
        after[s].append(t)
    waiting = {key: len(before[key]) for key in keys}
    ready = [key for key in keys if not waiting[key]]
    layer = dict.fromkeys(keys, 0)
    sorted_keys: list[str] = []
    left = dict.fromkeys(keys)
    while left:
        if not ready:  # frames that lead to each other: the one that ran first comes first
            ready = [min(left, key=order.__getitem__)]
        key = ready.pop(0)
        if key not in left:
            continue
        del left[key]
        sorted_keys.append(key)
        for t in after[key]:
            if t in left:
                layer[t] = max(layer[t], layer[key] + 1)
                waiting[t] -= 1
                if waiting[t] == 0:
                    ready.append(t)
    for key in reversed(sorted_keys):
        if not before[key] and after[key]:
            layer[key] = max(min(layer[t] for t in after[key]) - 1, 0)
    return layer


def _order(layers: list[list[str]], up: Ends, down: Ends) -> None:
    """Sort each layer so that few arrows cross: by the mean place of neighbours, down and up in turns."""
    best, fewest = [list(row) for row in layers], _crossings(layers, down)
    for n in range(ROUNDS):
        order = range(1, len(layers)) if n % 2 == 0 else range(len(layers) - 2, -1, -1)
        for i in order:
            towards = up if n % 2 == 0 else down
            fixed = {key: place for place, key in enumerate(layers[i - 1 if n % 2 == 0 else i + 1])}
            means = {}
            for place, key in enumerate(layers[i]):
                near = [fixed[k] for k, _, _ in towards.get(key, ()) if k in fixed]
                means[key] = sum(near) / len(near) if near else float(place)
            layers[i].sort(key=means.__getitem__)
        if (crossings := _crossings(layers, down)) < fewest:
            best, fewest = [list(row) for row in layers], crossings
    layers[:] = best


def _crossings(layers: list[list[str]], down: Ends) -> int:
    count = 0
    for row, below in zip(layers, layers[1:], strict=False):
        place = {key: i for i, key in enumerate(below)}
        ends = [sorted(place[t] for t, _, _ in down.get(key, ()) if t in place) for key in row]
        seen: list[int] = []
        for here in ends:
            count += sum(1 for a in seen for b in here if a > b)
            seen += here
    return count


def _positions(layers: list[list[str]], up: Ends, down: Ends, width: dict[str, float]) -> dict[str, float]:
    """The centre of each place: near the mean of its neighbours', in order and without overlaps."""
    centre: dict[str, float] = {}
    for row in layers:
        x = 0.0
        for key in row:
            centre[key] = x + width[key] / 2
            x += width[key] + _gap(key)
        middle = (x - _gap(row[-1])) / 2
        for key in row:
            centre[key] -= middle
    for n in range(2 * ROUNDS):
        for row in layers if n % 2 == 0 else reversed(layers):
            wanted, weights = [], []
            for key in row:
                near = [*up.get(key, ()), *down.get(key, ())] if n > ROUNDS else (up, down)[n % 2].get(key, ())
                weight = sum(w for _, _, w in near)
                weights.append(weight or 0.01)
                wanted.append(sum(w * (centre[k] + right) for k, right, w in near) / weight if near else centre[key])
            gaps = [(width[a] + width[b]) / 2 + (_gap(a) + _gap(b)) / 2 for a, b in zip(row, row[1:], strict=False)]
            for key, x in zip(row, _nearest(wanted, weights, gaps), strict=True):
                centre[key] = x
    return centre


def _gap(key: str) -> float:
    return LANE if key.startswith(("pass ", "in ", "out ")) else ACROSS


def _nearest(wanted: Sequence[float], weights: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The positions closest to those wanted (least squares) that are at least the gaps apart: pooling of adjacent
    violators (Ayer et al. 1955)."""
    offsets = [0.0]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    pools: list[list[float]] = []  # [mean, weight, members]
    for x, w, offset in zip(wanted, weights, offsets, strict=True):
        pools.append([x - offset, w, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, weight, members = pools.pop()
            before = pools[-1]
            before[0] = (before[0] * before[1] + mean * weight) / (before[1] + weight)
            before[1] += weight
            before[2] += members
    flat = [mean for mean, _, members in pools for _ in range(int(members))]
    return [x + offset for x, offset in zip(flat, offsets, strict=True)]
