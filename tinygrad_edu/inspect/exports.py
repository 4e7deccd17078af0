"""A trace as a picture in other programs' formats: DOT, SVG, PNG, Mermaid, Model Explorer.

Each writer takes level="module" or "op" and fold=True, see picture.py. Names in a trace may come from a file, so every
format's own characters in them are escaped.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

from ..serialization import atomic_write
from .layout import LINE, PADDING, Layout, Point, layout
from .picture import Level, Picture, picture
from .record import OpRecord
from .text import _clean, _shape

if TYPE_CHECKING:
    from .trace import Trace

# The line of a box of each kind, as on the page; its fill is a tint of that, light enough for black letters.
LINES = {
    "products": "#3465a4",
    "elementwise": "#8a8f98",
    "activation": "#d08700",
    "normalization": "#5b8c3e",
    "reduction": "#87559b",
    "shape": "#c5c8c2",
    "indexing": "#2a8a8a",
    "loss": "#c0392b",
    "recurrent": "#3f51b5",
    "own": "#a14a76",
    "other": "#777777",
}


def _tint(color: str) -> str:
    """A seventh of a colour in white."""
    return "#" + "".join(f"{255 - (255 - int(color[i : i + 2], 16)) // 7:02x}" for i in (1, 3, 5))


COLORS = {kind: (_tint(line), line) for kind, line in LINES.items()}
COLORS |= {"parameter": ("#ffffff", "#8c8c8c"), "value": ("#ffffff", "#333333")}
_ROUND = ("parameter", "value")
INK, QUIET, PAPER = "#222222", "#6b6b6b", "#ffffff"


def _write(path: str | os.PathLike[str], text: str | bytes) -> None:
    with atomic_write(path) as file:
        file.write(text.encode() if isinstance(text, str) else text)


# ---- DOT -------------------------------------------------------------------------------------------------------------


def write_dot(trace: Trace, path: str | os.PathLike[str], level: Level = "module", fold: bool = True) -> None:
    """Write a picture in Graphviz's language."""
    _write(path, dot(picture(trace, level, fold)))


def dot(p: Picture) -> str:
    """A picture in Graphviz's language: https://graphviz.org/doc/info/lang.html."""
    lines = [
        f"digraph {_dot(p.title)} {{",
        '  node [shape=box, style=filled, fontname="monospace", fontsize=11];',
        f'  edge [color="{INK}"];',
        *_dot_frame(p, 0, "  "),
    ]
    for a in p.arrows:
        lines.append(f"  {_dot(a.source)} -> {_dot(a.target)}{'' if a.gradient else ' [style=dashed]'};")
    return "\n".join([*lines, "}", ""])


def _dot_frame(p: Picture, frame: int, indent: str) -> Iterator[str]:
    for box in p.boxes.values():
        if box.frame == frame:
            fill, line = COLORS[box.kind]
            shape = ", shape=ellipse" if box.kind in _ROUND else ""
            yield f'{indent}{_dot(box.key)} [label={_dot(*box.lines)}, fillcolor="{fill}", color="{line}"{shape}];'
    for f in p.frames[1:]:
        if f.parent == frame:
            yield f"{indent}subgraph cluster_{f.id} {{"
            yield f'{indent}  label={_dot(f.label)}; fontname="monospace"; style=rounded; color="{QUIET}";'
            yield from _dot_frame(p, f.id, indent + "  ")
            yield f"{indent}}}"


def _dot(*lines: str) -> str:
    """Text in quotes, a line break between lines."""
    return '"' + "\\n".join(s.replace("\\", "\\\\").replace('"', '\\"') for s in lines) + '"'


# ---- Mermaid ---------------------------------------------------------------------------------------------------------


def write_mermaid(trace: Trace, path: str | os.PathLike[str], level: Level = "module", fold: bool = True) -> None:
    """Write a picture as a Mermaid flowchart."""
    _write(path, mermaid(picture(trace, level, fold)))


def mermaid(p: Picture) -> str:
    """A picture as a Mermaid flowchart: https://mermaid.js.org/syntax/flowchart.html. GitHub shows it in Markdown."""
    lines = ["flowchart TB", *_mermaid_frame(p, 0, "  ")]
    lines += [f"  {a.source} {'-->' if a.gradient else '-.->'} {a.target}" for a in p.arrows]
    for kind, (fill, line) in COLORS.items():
        if keys := [box.key for box in p.boxes.values() if box.kind == kind]:
            lines += [f"  classDef {kind} fill:{fill},stroke:{line},color:{INK}", f"  class {','.join(keys)} {kind}"]
    if frames := [f"frame{f.id}" for f in p.frames[1:]]:
        lines += [f"  classDef frame fill:none,stroke:{QUIET},stroke-dasharray:4", f"  class {','.join(frames)} frame"]
    return "\n".join([*lines, ""])


def _mermaid_frame(p: Picture, frame: int, indent: str) -> Iterator[str]:
    for box in p.boxes.values():
        if box.frame == frame:
            label = "<br/>".join(map(_mermaid, box.lines))
            yield f'{indent}{box.key}(["{label}"])' if box.kind in _ROUND else f'{indent}{box.key}["{label}"]'
    for f in p.frames[1:]:
        if f.parent == frame:
            yield f'{indent}subgraph frame{f.id}["{_mermaid(f.label)}"]'
            yield from _mermaid_frame(p, f.id, indent + "  ")
            yield f"{indent}end"


def _mermaid(text: str) -> str:
    """Letters, digits and harmless marks as they are, all else as Mermaid's #number;."""
    return "".join(c if c.isalnum() or c in " ._-,:×…" else f"#{ord(c)};" for c in text)


# ---- SVG -------------------------------------------------------------------------------------------------------------


def write_svg(trace: Trace, path: str | os.PathLike[str], level: Level = "module", fold: bool = True) -> None:
    """Write a picture as SVG."""
    _write(path, svg(picture(trace, level, fold)))


def svg(p: Picture) -> str:
    """A picture as SVG 1.1, laid out by layout.py."""
    found = layout(p)
    w, h = math.ceil(found.width), math.ceil(found.height)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" '
        f'role="img" font-family="\'DejaVu Sans Mono\', Menlo, Consolas, monospace" font-size="12">',
        f"<title>{escape(p.title)}</title>",
        f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{INK}"/></marker></defs>',
        f'<rect width="{w}" height="{h}" fill="{PAPER}"/>',
    ]
    for frame in p.frames[1:]:
        out.append(_svg_rect(found.frames[frame.id], 8, "none", QUIET, ' stroke-dasharray="4 3"'))
    for arrow, points in zip(p.arrows, found.arrows, strict=True):
        dashes = "" if arrow.gradient else ' stroke-dasharray="3 3"'
        label = quoteattr(f"{arrow.source} to {arrow.target}")
        out.append(
            f'<path d="{_svg_path(points)}" fill="none" stroke="{INK}" stroke-width="1.1" marker-end="url(#tip)"'
            f"{dashes} aria-label={label}/>"
        )
    for frame in p.frames[1:]:  # over the arrows, which are broken there
        r = found.frames[frame.id]
        out.append(
            f'<text x="{r.x + 12:.1f}" y="{r.y + 17:.1f}" fill="{QUIET}" stroke="{PAPER}" stroke-width="4" '
            f'paint-order="stroke">{escape(frame.label)}</text>'
        )
    for box in p.boxes.values():
        fill, line = COLORS[box.kind]
        r = found.boxes[box.key]
        out.append(f'<g id="{box.key}"><title>{escape(" ".join(box.lines))}</title>')
        out.append(_svg_rect(r, r.height / 2 if box.kind in _ROUND else 4, fill, line))
        for i, text in enumerate(box.lines):
            y = r.y + PADDING + (i + 0.76) * LINE
            weight = ' font-weight="bold"' if i == 0 else ""
            x = r.x + r.width / 2
            out.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" fill="{INK}"{weight}>{escape(text)}</text>')
        out.append("</g>")
    return "\n".join([*out, "</svg>", ""])


def _svg_rect(r: Any, radius: float, fill: str, line: str, more: str = "") -> str:
    return (
        f'<rect x="{r.x:.1f}" y="{r.y:.1f}" width="{r.width:.1f}" height="{r.height:.1f}" rx="{radius:.1f}" '
        f'fill="{fill}" stroke="{line}"{more}/>'
    )


def _svg_path(points: list[Point]) -> str:
    (x, y), *rest = points
    text = f"M{x:.1f} {y:.1f}"
    for (ax, ay), (bx, by) in zip(points, rest, strict=False):
        half = (ay + by) / 2
        curve = f"C{ax:.1f} {half:.1f} {bx:.1f} {half:.1f} " if abs(ax - bx) >= 0.5 else "L"
        text += f"{curve}{bx:.1f} {by:.1f}"
    return text


# ---- PNG -------------------------------------------------------------------------------------------------------------


def write_png(
    trace: Trace, path: str | os.PathLike[str], level: Level = "module", fold: bool = True, dpi: int = 144
) -> None:
    """Write a picture as PNG, drawn by Matplotlib."""
    p = picture(trace, level, fold)
    _write(path, png(p, layout(p), dpi))


def png(p: Picture, found: Layout, dpi: int = 144) -> bytes:
    """A picture as the bytes of a PNG. ImportError: Matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.patches import FancyBboxPatch, PathPatch
        from matplotlib.path import Path as Curve
        from matplotlib.patheffects import withStroke
    except ImportError as error:
        raise ImportError(
            'a PNG is drawn by Matplotlib, which is missing: pip install "tinygrad_edu[examples]", or save as .svg'
        ) from error
    longest = 30_000 / max(found.width, found.height, 1) * 72  # Agg draws no larger picture
    figure = Figure(figsize=(found.width / 72, found.height / 72), dpi=min(dpi, longest))
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, found.width), ylim=(found.height, 0))
    axes.axis("off")
    font: dict[str, Any] = {"family": "DejaVu Sans Mono", "parse_math": False}

    def rectangle(r: Any, radius: float, fill: str, line: str, style: str = "-") -> None:
        shape = f"round,pad=0,rounding_size={radius}"
        axes.add_patch(FancyBboxPatch((r.x, r.y), r.width, r.height, boxstyle=shape, fc=fill, ec=line, lw=1, ls=style))

    for frame in p.frames[1:]:
        rectangle(found.frames[frame.id], 8, "none", QUIET, "--")
    for arrow, points in zip(p.arrows, found.arrows, strict=True):
        vertices, codes = [points[0]], [Curve.MOVETO]
        for (ax, ay), (bx, by) in zip(points, points[1:], strict=False):
            half = (ay + by) / 2
            vertices += [(ax, half), (bx, half), (bx, by)]
            codes += [Curve.CURVE4] * 3
        style = "-" if arrow.gradient else (0, (3, 3))
        axes.add_patch(PathPatch(Curve(vertices, codes), fc="none", ec=INK, lw=1.1, ls=style))
        x, y = points[-1]
        axes.add_patch(PathPatch(Curve([(x - 3.5, y - 7), (x, y), (x + 3.5, y - 7), (x - 3.5, y - 7)]), fc=INK, lw=0))
    for frame in p.frames[1:]:
        r = found.frames[frame.id]
        broken = [withStroke(linewidth=4, foreground=PAPER)]
        axes.text(r.x + 12, r.y + 17, frame.label, color=QUIET, size=11.5, path_effects=broken, **font)
    for box in p.boxes.values():
        r = found.boxes[box.key]
        rectangle(r, r.height / 2.01 if box.kind in _ROUND else 4, *COLORS[box.kind])
        for i, text in enumerate(box.lines):
            y = r.y + PADDING + (i + 0.76) * LINE
            weight = "bold" if i == 0 else "normal"
            axes.text(r.x + r.width / 2, y, text, ha="center", color=INK, size=11.5, weight=weight, **font)
    buffer = io.BytesIO()
    canvas.print_png(buffer)
    return buffer.getvalue()


# ---- Model Explorer --------------------------------------------------------------------------------------------------


def write_model_explorer(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write every operation as a graph that Google's Model Explorer opens."""
    _write(path, json.dumps(model_explorer(trace), allow_nan=False, separators=(",", ":")))


def model_explorer(trace: Trace) -> dict[str, Any]:
    """A trace as a graph collection of Model Explorer, all operations in layers by module.

    Format: https://github.com/google-ai-edge/model-explorer, graph_builder.py.
    """
    backward: dict[int, float] = {}
    for step in trace.backward:
        if step.op is not None:
            backward[step.op] = backward.get(step.op, 0.0) + (step.seconds or 0.0)
    nodes = [
        {
            "id": f"p{p.id}", "label": _clean(p.name) or "tensor", "namespace": "",
            "attrs": _attrs({"kind": p.kind, "names": ", ".join(p.names), "bytes": p.bytes}),
            "incomingEdges": [], "outputsMetadata": _metadata(p.shape, p.dtype),
        }
        for p in trace.parameters
    ]  # fmt: skip
    for op in trace.ops:
        edges = []
        for k, x in enumerate(op.inputs):
            source = f"o{x.op}" if x.op is not None else f"p{x.parameter}" if x.parameter is not None else None
            if source is not None:
                edges.append({"sourceNodeId": source, "sourceNodeOutputId": str(x.output), "targetNodeInputId": str(k)})
        facts = {
            "line": trace.location(op), "kernel": op.kernel, "FLOPs": op.flops, "bytes": op.bytes,
            "saved for backward": op.saved_bytes, "forward ms": _ms(op.seconds),
            "backward ms": _ms(backward.get(op.id)), **{str(k): json.dumps(v) for k, v in op.attrs.items()},
            **_statistics(op),
        }  # fmt: skip
        nodes.append({
            "id": f"o{op.id}", "label": _clean(op.name), "namespace": _namespace(op), "attrs": _attrs(facts),
            "incomingEdges": edges, "outputsMetadata": _metadata(op.shape, op.dtype),
        })  # fmt: skip
    return {"label": "tinygrad_edu", "graphs": [{"id": "trace", "nodes": nodes}]}


def _namespace(op: OpRecord) -> str:
    """The module path in Model Explorer's form, without what it reads otherwise."""
    return "/".join(_clean(part).replace("/", "∕").replace(";", ",") for part in op.path.split(".") if part)


def _attrs(facts: dict[str, Any]) -> list[dict[str, str]]:
    return [{"key": _clean(k), "value": _clean(str(v))} for k, v in facts.items() if v not in (None, "", 0)]


def _metadata(shape: list[int], dtype: str) -> list[dict[str, Any]]:
    return [{"id": "0", "attrs": [{"key": "shape", "value": f"{_clean(dtype)} {_shape(shape)}"}]}]


def _statistics(op: OpRecord) -> dict[str, Any]:
    v = op.value
    if v is None:
        return {}
    return {"min": v.min, "max": v.max, "mean": v.mean, "std": v.std, "NaN": v.nans, "infinite": v.infs}


def _ms(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds * 1e3:.4g}"
