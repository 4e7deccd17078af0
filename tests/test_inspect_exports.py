"""Exports: each is read back, in each what the trace says is there, and names stay names."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import tinygrad_edu as tg
from gpt.config import preset
from gpt.model import GPT
from tinygrad_edu import inspect, nn
from tinygrad_edu.inspect import exports, kinds, layout, page, picture
from tinygrad_edu.nn import functional as F

HOSTILE = '"]; end --> <script>alert(1)</script> & \\" %% #quot; \x1b[31m\nclass x'
ENDINGS = (".svg", ".png", ".dot", ".gv", ".mmd", ".explorer.json")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def gpt() -> inspect.Trace:
    tg.manual_seed(0)
    model = GPT(replace(preset("laptop").model, vocab_size=65, n_embd=32, block_size=16))
    x, y = tg.randint(0, 65, (2, 16)), tg.randint(0, 65, (2, 16))
    with inspect.trace("stats") as t:
        model(x, y)[1].backward()
    return t


@pytest.fixture(scope="module")
def bengio() -> inspect.Trace:
    shapes = {"C": (27, 10), "W1": (30, 20), "b1": (20,), "W2": (20, 27), "b2": (27,)}
    C, W1, b1, W2, b2 = (tg.randn(shape).requires_grad_() for shape in shapes.values())
    X, Y = tg.randint(0, 27, (8, 3)), tg.randint(0, 27, (8,))
    with inspect.trace("stats") as t:
        h = tg.tanh(C[X].view(-1, 30) @ W1 + b1)
        F.cross_entropy(h @ W2 + b2, Y).backward()
    return t


@pytest.fixture
def hostile(bengio: inspect.Trace, tmp_path: Path) -> inspect.Trace:
    """The same trace, come back from a file in which somebody has changed all names."""
    bengio.save(tmp_path / "t.json")
    document = json.loads((tmp_path / "t.json").read_text())
    for record in (*document["ops"], *document["parameters"]):
        record["name"] = HOSTILE + record["name"]
    document["calls"] = [{"id": 0, "path": "", "module": HOSTILE}]
    document["calls"] += [{"id": i, "path": f"{HOSTILE}{i}", "module": HOSTILE, "parent": 0} for i in (1, 2)]
    document["calls"].append({"id": 3, "path": f"{HOSTILE}1.{HOSTILE}", "module": HOSTILE, "parent": 1})
    for op in document["ops"]:
        op["call"], op["path"] = 1 + op.get("id", 0) % 3, HOSTILE
    (tmp_path / "t.json").write_text(json.dumps(document))
    return inspect.load(tmp_path / "t.json")


TRACES = ["gpt", "bengio", "hostile"]


def drawn(request: pytest.FixtureRequest, name: str) -> list[picture.Picture]:
    t = request.getfixturevalue(name)
    return [picture.picture(t, level, fold) for level in ("module", "op") for fold in (True, False)]  # type: ignore[arg-type]


# ---- what is drawn ---------------------------------------------------------------------------------------------------


def test_modules_of_gpt(gpt: inspect.Trace):
    p = picture.picture(gpt)
    labels = {box.key: box.lines[0] for box in p.boxes.values()}
    assert p.title == "GPT" and "h.0 … h.3 ×4  Block" in [f.label for f in p.frames]
    assert sorted(labels.values()) == sorted(
        "wte wpe add ln_1 c_attn scaled_dot_product_attention c_proj add ln_2 c_fc gelu c_proj add ln_f lm_head "
        "cross_entropy mean".split()
        + [v for v in labels.values() if v in ("x", "y", "idx", "targets")]
    )
    arrows = [(labels[a.source], labels[a.target]) for a in p.arrows]
    for pair in [
        ("wte", "add"), ("wpe", "add"), ("add", "ln_1"), ("ln_1", "c_attn"), ("c_attn", "scaled_dot_product_attention"),
        ("scaled_dot_product_attention", "c_proj"), ("c_proj", "add"), ("add", "add"), ("add", "ln_2"),
        ("ln_2", "c_fc"), ("c_fc", "gelu"), ("add", "ln_f"), ("ln_f", "lm_head"),
        ("lm_head", "cross_entropy"), ("cross_entropy", "mean"),
    ]:  # fmt: skip
        assert pair in arrows, pair
    whole = picture.picture(gpt, fold=False)
    assert len(whole.boxes) == len(p.boxes) + 3 * 10 and not any("×4" in f.label for f in whole.frames)
    by_key = {box.key: box for box in p.boxes.values()}
    table = next(box for box in by_key.values() if box.lines[0] == "wte")
    assert "2.1k parameters" in table.lines[-1]


def test_operations_of_gpt(gpt: inspect.Trace):
    p = picture.picture(gpt, "op", fold=False)
    inside = [op for op in gpt.ops if op.graph]
    assert {op.id for op in inside} <= {box.op for box in p.boxes.values()}
    names = {box.lines[0] for box in p.boxes.values() if box.kind == "parameter"}
    assert "wte.weight = lm_head.weight" in names and "h.3.mlp.c_fc.weight" in names
    for a in p.arrows:
        source, target = p.boxes[a.source], p.boxes[a.target]
        if source.op is not None and target.op is not None:
            assert any(x.op == source.op for x in gpt.ops[target.op].inputs)
    assert len(picture.picture(gpt, "op").boxes) < len(p.boxes) / 2


def test_layers_alike_are_folded_and_rounds_of_a_loop():
    cell = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
    model = nn.Sequential(nn.Linear(3, 4), *[nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(3)])

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.first = cell, model

        def forward(self, x: tg.Tensor) -> tg.Tensor:
            x = self.first(x)
            for _ in range(5):
                x = self.cell(x)
            return x

    loop = Loop()
    with inspect.trace("none") as t:
        loop(tg.randn(2, 3)).sum().backward()
    labels = [f.label for f in picture.picture(t).frames]
    assert "1 … 3 ×3  Sequential" in labels and "cell ×5  Sequential" in labels


def test_what_was_cut_is_dashed():
    x = tg.randn(3, requires_grad=True)
    with inspect.trace("none") as t:
        (x.exp().detach() * x).sum().backward()
    p = picture.picture(t)
    (cut,) = (a for a in p.arrows if not a.gradient)
    assert p.boxes[cut.source].lines[0] == "exp" and "style=dashed" in exports.dot(p)
    assert "-.->" in exports.mermaid(p) and "stroke-dasharray" in exports.svg(p)


def test_without_a_graph_and_without_operations(tmp_path: Path):
    with tg.no_grad(), inspect.trace("none") as t:
        (tg.randn(3).exp() + 1).sum()
    assert len(picture.picture(t).boxes) == 3
    with inspect.trace("none") as empty:
        pass
    for ending in ENDINGS:
        empty.save(tmp_path / f"e{ending}")


def test_bad_options(gpt: inspect.Trace, tmp_path: Path):
    with pytest.raises(ValueError, match="level must be one of module, op, got 'layer'"):
        gpt.save(tmp_path / "g.svg", level="layer")
    x = tg.randn(2, requires_grad=True)
    with inspect.trace("none") as t:
        y = x
        for _ in range(picture.LARGEST + 1):
            y = y * 1.0
    with pytest.raises(ValueError, match="a picture of 2,001 boxes cannot be read; use a page"):
        t.save(tmp_path / "g.svg")
    with pytest.raises(ValueError, match="svg"):
        t.save(tmp_path / "g.pdf")
    assert not list(tmp_path.iterdir())


# ---- layout ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TRACES)
def test_nothing_overlaps(request: pytest.FixtureRequest, name: str):
    for p in drawn(request, name):
        found = layout.layout(p)
        for a, b in combinations(found.boxes.values(), 2):
            assert apart(a, b), (a, b)
        above = {f.id: f.parent for f in p.frames}
        for box in p.boxes.values():
            around: int | None = box.frame
            inside = set()
            while around:
                inside.add(around)
                around = above[around]
            for frame, r in found.frames.items():
                b = found.boxes[box.key]
                assert within(b, r) if frame in inside else apart(b, r), (box, frame)
            assert within(found.boxes[box.key], layout.Rectangle(0, 0, found.width, found.height))
        for arrow, points in zip(p.arrows, found.arrows, strict=True):
            ends = found.boxes[arrow.source], found.boxes[arrow.target]
            assert points[0][1] == ends[0].y + ends[0].height and points[-1][1] == ends[1].y


def apart(a: Any, b: Any) -> bool:
    return a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y


def within(a: Any, b: Any) -> bool:
    return b.x <= a.x and a.x + a.width <= b.x + b.width and b.y <= a.y and a.y + a.height <= b.y + b.height


@pytest.mark.parametrize("name", ["gpt", "bengio"])  # in the hostile one modules run in each other, which none can do
def test_arrows_go_around_boxes(request: pytest.FixtureRequest, name: str):
    """A curve stays between the heights and the sides of its two ends, and there no other box is."""
    for p in drawn(request, name):
        found = layout.layout(p)
        for arrow, points in zip(p.arrows, found.arrows, strict=True):
            for (ax, ay), (bx, by) in zip(points, points[1:], strict=False):
                assert ay <= by + 1e-6, arrow
                for key, r in found.boxes.items():
                    across = r.x < max(ax, bx) - 0.1 and min(ax, bx) + 0.1 < r.x + r.width
                    if ax == bx:
                        across = r.x < ax < r.x + r.width
                    down = r.y < by - 0.1 and ay + 0.1 < r.y + r.height
                    assert not (across and down), (arrow, key)


def test_arrows_go_straight_where_they_can(gpt: inspect.Trace):
    """The residual stream goes around a block in one line, and what follows each other stands below each other."""
    p = picture.picture(gpt)
    found = layout.layout(p)
    middle = {key: r.x + r.width / 2 for key, r in found.boxes.items()}
    labels = {key: box.lines[0] for key, box in p.boxes.items()}
    straight = {
        (labels[a.source], labels[a.target]) for a in p.arrows if abs(middle[a.source] - middle[a.target]) < 0.5
    }
    assert straight >= {("ln_1", "c_attn"), ("c_attn", "scaled_dot_product_attention"), ("ln_f", "lm_head")}
    for arrow, points in zip(p.arrows, found.arrows, strict=True):
        if (labels[arrow.source], labels[arrow.target]) == ("add", "add"):
            assert len({round(x) for x, _ in points[1:-1]}) <= 3, points


def test_positions_keep_their_distance():
    assert layout._nearest([5.0, 5.0, 5.0], [1, 1, 1], [2.0, 2.0]) == pytest.approx([3.0, 5.0, 7.0])
    assert layout._nearest([0.0, 10.0], [1, 1], [2.0]) == [0.0, 10.0]


# ---- formats ---------------------------------------------------------------------------------------------------------

_DOT = re.compile(
    r'\s*(digraph|subgraph|->|[{}\[\];,=]|"(?:[^"\\]|\\.)*"|[A-Za-z_][A-Za-z_0-9]*|-?\d+(?:\.\d*)?)', re.S
)


def parsed_dot(text: str) -> tuple[dict[str, str], list[tuple[str, str]], int]:
    """Nodes with their labels, edges, and the number of clusters, of the part of DOT's grammar that is written."""
    tokens, end = [], 0
    while end < len(text.rstrip()):
        match = _DOT.match(text, end)
        assert match, text[end : end + 60]
        tokens.append(match[1])
        end = match.end()
    assert tokens[0] == "digraph" and tokens[2] == "{" and tokens[-1] == "}" and tokens.count("{") == tokens.count("}")
    nodes, edges = {}, []
    for i, token in enumerate(tokens):
        if token == "->":
            edges.append((unquoted(tokens[i - 1]), unquoted(tokens[i + 1])))
        if token == "[" and tokens[i - 1][0] == '"' and tokens[i - 2] != "->":
            assert tokens[i + 1 : i + 3] == ["label", "="]
            nodes[unquoted(tokens[i - 1])] = unquoted(tokens[i + 3])
    return nodes, edges, tokens.count("subgraph")


def unquoted(token: str) -> str:
    assert token[0] == token[-1] == '"'
    return re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], token[1:-1])


@pytest.mark.parametrize("name", TRACES)
def test_dot(request: pytest.FixtureRequest, name: str):
    for p in drawn(request, name):
        nodes, edges, clusters = parsed_dot(exports.dot(p))
        assert nodes == {box.key: "\n".join(box.lines) for box in p.boxes.values()}
        assert edges == [(a.source, a.target) for a in p.arrows] and clusters == len(p.frames) - 1


@pytest.mark.parametrize("name", TRACES)
def test_svg(request: pytest.FixtureRequest, name: str):
    for p in drawn(request, name):
        root = ElementTree.fromstring(exports.svg(p))
        assert root.tag == f"{SVG}svg" and not list(root.iter(f"{SVG}script"))
        groups = {g.attrib["id"]: [t.text for t in g.iter(f"{SVG}text")] for g in root.iter(f"{SVG}g")}
        assert groups == {box.key: box.lines for box in p.boxes.values()}
        assert sum("marker-end" in e.attrib for e in root.iter(f"{SVG}path")) == len(p.arrows)
        assert not [a for e in root.iter() for a in e.attrib if a.startswith("on") or "href" in a]


_MERMAID = re.compile(
    r"flowchart TB|end|subgraph frame\d+\[\"[^\"\n\[\]<>]*\"\]"
    r"|\w+(\(\[\"(?P<a>[^\"\n\[\]]*)\"\]\)|\[\"(?P<b>[^\"\n\[\]]*)\"\])"
    r"|\w+ (-->|-\.->) \w+|classDef \w+ [\w:#,-]+|class [\w,]+ \w+"
)


@pytest.mark.parametrize("name", TRACES)
def test_mermaid(request: pytest.FixtureRequest, name: str):
    for p in drawn(request, name):
        lines = exports.mermaid(p).splitlines()
        labels = {}
        for line in lines:
            match = _MERMAID.fullmatch(line.strip())
            assert match, line
            if label := match["a"] or match["b"]:
                text = re.sub(r"#(\d+);", lambda m: chr(int(m[1])), label.replace("<br/>", "\n"))
                labels[line.strip().split("[")[0].rstrip("(")] = text
        assert labels == {box.key: "\n".join(box.lines) for box in p.boxes.values()}
        arrows = [line.split() for line in lines if "->" in line and '"' not in line]
        assert [(a, b) for a, _, b in arrows] == [(a.source, a.target) for a in p.arrows]
        assert sum("subgraph" in line for line in lines) == sum(line.strip() == "end" for line in lines)


@pytest.mark.parametrize("name", TRACES)
def test_model_explorer(request: pytest.FixtureRequest, name: str, tmp_path: Path):
    t = request.getfixturevalue(name)
    t.save(tmp_path / "t.explorer.json")
    collection = json.loads((tmp_path / "t.explorer.json").read_text())
    assert set(collection) == {"label", "graphs"} and len(collection["graphs"]) == 1
    nodes = {node["id"]: node for node in collection["graphs"][0]["nodes"]}
    assert len(nodes) == len(t.ops) + len(t.parameters)
    for node in nodes.values():
        assert set(node) == {"id", "label", "namespace", "attrs", "incomingEdges", "outputsMetadata"}
        assert all(set(a) == {"key", "value"} and type(a["value"]) is str for a in node["attrs"])
        for edge in node["incomingEdges"]:
            assert set(edge) == {"sourceNodeId", "sourceNodeOutputId", "targetNodeInputId"}
            assert edge["sourceNodeId"] in nodes
        assert node["outputsMetadata"][0]["attrs"][0]["key"] == "shape"
    for op in t.ops:
        edges = nodes[f"o{op.id}"]["incomingEdges"]
        wanted = [f"o{x.op}" if x.op is not None else f"p{x.parameter}" for x in op.inputs if x.shape or x.dtype]
        assert [e["sourceNodeId"] for e in edges] == wanted
    if name == "gpt":
        assert nodes["o8"]["namespace"] == "h/0/attn/c_attn"


def test_png(gpt: inspect.Trace, hostile: inspect.Trace, tmp_path: Path):
    matplotlib_image = pytest.importorskip("matplotlib.image")
    for t in (gpt, hostile):
        t.save(tmp_path / "g.png", dpi=72)
        pixels = matplotlib_image.imread(tmp_path / "g.png")
        p = picture.picture(t)
        found = layout.layout(p)
        assert abs(pixels.shape[0] - found.height) <= 1 and abs(pixels.shape[1] - found.width) <= 1
        assert pixels[..., :3].min() < 0.3 and pixels[0, 0, :3].min() == 1  # ink on white paper
        for box in p.boxes.values():
            r = found.boxes[box.key]
            color = pixels[round(r.y + 4), round(r.x + r.width / 2 + 4), :3]
            fill = [int(exports.COLORS[box.kind][0][i : i + 2], 16) / 255 for i in (1, 3, 5)]
            assert color == pytest.approx(fill, abs=0.01), box


def test_colors_are_those_of_the_page():
    style = (Path(page.__file__).parent / "style.css").read_text("utf-8")
    assert set(exports.LINES) == set(kinds.RANKED) and set(kinds.KINDS.values()) < set(kinds.RANKED)
    for kind, color in exports.LINES.items():
        assert f"  --{kind}: light-dark({color}, " in style


def test_png_without_matplotlib(gpt: inspect.Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"pip install \"tinygrad_edu\[examples\]\", or save as \.svg"):
        gpt.save(tmp_path / "g.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
def test_names_do_no_harm(hostile: inspect.Trace, tmp_path: Path, ending: str):
    hostile.save(tmp_path / f"h{ending}")
    content = (tmp_path / f"h{ending}").read_bytes()
    if ending != ".png":
        assert b"\x1b" not in content
        assert b"<script>" not in content or ending in (".dot", ".gv", ".explorer.json")  # plain text there
        content.decode()


def test_an_input_that_requires_grad_is_drawn_and_parameters_of_modules_are_not():
    x, layer = tg.randn(5, 3, requires_grad=True), nn.Linear(3, 4)
    with inspect.trace() as t:
        (layer(x) * 2).sum().backward()
    p = picture.picture(t)
    (box,) = [box for box in p.boxes.values() if box.op is None]
    assert box.kind == "parameter" and box.lines[0] == "x"
    assert [a.gradient for a in p.arrows if a.source == box.key] == [True]
