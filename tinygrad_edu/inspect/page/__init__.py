"""A trace as a page: one HTML file that opens by double-click, without a network or a server.

The script and the style are the files beside this one, put into the page as they are: the modules of the script one
after another in one, without their imports. The trace stands in it as JSON. A content security policy allows these and
nothing else, and the script writes text as text only, so that names in a trace cannot do anything.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import inspect
import json
import os
import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from ...serialization import atomic_write
from .. import record
from ..grouping import group
from ..kinds import kind
from ..replay import reference_ops
from ..trace import values_of

if TYPE_CHECKING:
    from ..trace import Trace

# Those that others import come first.
MODULES = ("words", "model", "layout", "color", "figures", "steps", "graph", "panel", "search", "main")
LARGEST = 40 << 20  # bytes; beyond it samples, and then histograms, are left out
NOTEBOOK_HEIGHT = 640  # pixels


def write(trace: Trace, path: str | os.PathLike[str]) -> None:
    """Write the page, whole or not at all."""
    content = as_html(trace).encode()
    with atomic_write(path) as file:
        file.write(content)


def as_html(trace: Trace) -> str:
    """The page."""
    script, style = _script(), _file("style.css")
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'"
    parts = {"POLICY": html.escape(policy), "STYLE": style, "DATA": _embedded(document(trace)), "SCRIPT": script}
    return re.sub(r"\{\{([A-Z]+)\}\}", lambda found: parts[found[1]], _file("index.html"))


def notebook(trace: Trace) -> str:
    """The page in a frame of its own: notebooks run no script of an output, and it can reach nothing outside."""
    return (
        f'<iframe srcdoc="{html.escape(as_html(trace))}" sandbox="allow-scripts" title="Computation graph" '
        f'width="100%" height="{NOTEBOOK_HEIGHT}" style="border: 1px solid #8884; border-radius: 6px"></iframe>'
    )


def document(trace: Trace) -> dict[str, Any]:
    """What the page knows: the trace with samples of its arrays, its groups, and the ops' kinds and formulas."""
    grouping = group(trace)
    data = {
        "trace": _sampled(trace),
        "groups": record.encode(grouping.groups),
        "names": {str(op): name for op, name in grouping.names.items()},
        "notes": grouping.notes,
        "ops": _ops({op.name for op in trace.ops}),
    }
    for fields, words in (
        ({"sample", "details"}, "samples of values and worked elements"),
        ({"histogram"}, "histograms"),
    ):
        if len(_embedded(data)) > LARGEST:
            data["trace"] = _without(data["trace"], fields)
            data["notes"].append(f"To keep the page under {LARGEST >> 20} MB, {words} are left out.")
    return data


def _sampled(trace: Trace) -> dict[str, Any]:
    """The trace's JSON without full values, which are not even encoded."""
    full = [(value, value.full) for _, value, _ in values_of(trace) if value.full is not None]
    try:
        for value, _ in full:
            value.full = None
        return trace.to_dict()
    finally:
        for value, array in full:
            value.full = array


def _without(x: Any, fields: set[str]) -> Any:
    """A JSON value without these fields, wherever they stand."""
    if isinstance(x, dict):
        return {k: _without(v, fields) for k, v in x.items() if k not in fields}
    return [_without(v, fields) for v in x] if isinstance(x, list) else x


def _ops(names: set[str]) -> dict[str, dict[str, str]]:
    """For each of these ops, its kind and what its class says about it."""
    known = {name: op for name, op in reference_ops().items() if name in names}
    return {name: {"kind": kind(name), "text": inspect.getdoc(op) or ""} for name, op in known.items()}


def _embedded(x: Any) -> str:
    """JSON that an HTML parser takes for text only."""
    return json.dumps(x, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


@functools.cache
def _script() -> str:
    """The modules of the script as one: without imports, and with what they export plainly defined."""
    parts = []
    for name in MODULES:
        text = re.sub(r"^import .*?;\n", "", _file(f"{name}.js"), flags=re.MULTILINE | re.DOTALL)
        parts.append(f"// ---- {name}.js\n" + re.sub(r"^export ", "", text, flags=re.MULTILINE))
    return "\n".join(parts)


@functools.cache
def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    """What a content security policy knows a script or style by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
