"""The page that a trace is saved as: what it holds, that names can do no harm in it, and that it shows what was
recorded.

Those marked `browser` open it in Chromium from a file, as a reader does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_edu as tg
from gpt.config import GPTConfig
from gpt.model import GPT
from tinygrad_edu import inspect, nn, ops
from tinygrad_edu.inspect import page
from tinygrad_edu.inspect.__main__ import main
from tinygrad_edu.inspect.grouping import MOST, group
from tinygrad_edu.inspect.kinds import KINDS
from tinygrad_edu.inspect.record import InputRecord, MachineRecord, OpRecord, ValueRecord

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


def gpt_trace(values: Any = "sample") -> inspect.Trace:
    tg.manual_seed(0)
    model = GPT(GPTConfig(n_layer=3, n_head=2, n_embd=16, block_size=8, vocab_size=11))
    x, y = tg.randint(0, 11, (2, 8)), tg.randint(0, 11, (2, 8))
    with inspect.trace(values) as t:
        _, loss = model(x, y)
        loss.backward()
    return t


@pytest.fixture(scope="module")
def gpt() -> inspect.Trace:
    return gpt_trace()


def hostile() -> inspect.Trace:
    """A trace in which every text is hostile."""
    t = gpt_trace()
    for op in t.ops:
        op.path = HOSTILE
        op.attrs = {HOSTILE: {"text": HOSTILE}}
        op.details = {"element": {"text": [HOSTILE]}}
        op.dtype = HOSTILE
    t.ops[-1].name = HOSTILE
    for line in t.lines:
        line.file = line.function = line.text = HOSTILE
    for call in t.calls:
        call.path, call.module = f"{HOSTILE}{call.id}", HOSTILE
    for p in t.parameters:
        p.name, p.names = HOSTILE, [HOSTILE, HOSTILE]
    t.error = t.machine.python = t.made = HOSTILE
    return t


def chain(n: int, names: tuple[str, ...] = ("mul",)) -> inspect.Trace:
    """A trace of n operations one after another."""
    ops = []
    for i in range(n):
        before = [InputRecord(op=i - 1, gradient=True, shape=[3], dtype="float32")] if i else []
        op = OpRecord(i, names[i % len(names)], "", [3], "float32", before, bytes=12, seconds=1e-6, start=i * 1e-6)
        ops.append(op)
    return inspect.Trace(1, "none", "2026-01-01T00:00:00+00:00", 1.0, MachineRecord(), ops)


class Elements(HTMLParser):
    """All elements of a page with their attributes, and what stands in scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.content: list[tuple[str, str]] = []
        self.within = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.within = tag

    def handle_endtag(self, tag: str) -> None:
        self.within = ""

    def handle_data(self, data: str) -> None:
        if self.within in ("script", "style"):
            self.content.append((self.within, data))


def embedded(text: str) -> dict[str, Any]:
    """The data in a page."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


# ---- the file --------------------------------------------------------------------------------------------------------


def test_the_page_refers_to_nothing_outside_and_allows_only_its_own_script_and_style(gpt):
    text = page.as_html(gpt)
    elements = Elements(text)
    for tag, attributes in elements.found:
        assert not {"src", "href", "action", "data", "srcset", "poster"} & set(attributes), (tag, attributes)
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
    assert {tag for tag, _ in elements.found}.isdisjoint({"link", "iframe", "object", "embed", "img", "base"})
    script, style = (max((c for t, c in elements.content if t == tag), key=len) for tag in ("script", "style"))
    code = [c for t, c in elements.content if t == "script" and not c.startswith("{")]
    assert [u for c in [*code, style] for u in re.findall(r"https?://[^\s\"'`)]+|@import|url\((?!#)", c)] == [
        "http://www.w3.org/2000/svg"  # a name, which nobody fetches
    ]
    (policy,) = [a["content"] for _, a in elements.found if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy and policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy
    hashes = {base64.b64encode(hashlib.sha256(c.encode()).digest()).decode() for c in [*code, style]}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == hashes and len(code) == 1
    assert script


def test_the_script_never_makes_elements_from_text():
    for file in Path(page.__file__).parent.glob("*.js"):
        text = file.read_text("utf-8")
        risky = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|Function\(|DOMParser", text)
        assert risky == [], file.name


def test_the_modules_of_the_script_fit_into_one_and_all_are_in_it():
    files = {file.stem: file.read_text("utf-8") for file in Path(page.__file__).parent.glob("*.js")}
    assert set(files) == set(page.MODULES)
    names: list[str] = []
    for i, name in enumerate(page.MODULES):
        names += re.findall(r"^(?:export )?(?:function|class|const|let)\s+(\w+)", files[name], re.MULTILINE)
        imported = re.findall(r'^import \{.*?\} from "\./(\w+)\.js";$', files[name], re.MULTILINE | re.DOTALL)
        assert len(imported) == files[name].count("import ") and set(imported) <= set(page.MODULES[:i])
    assert len(names) == len(set(names))


def test_every_family_of_ops_has_a_kind():
    families = {Path(file).stem for file in Path(ops.__file__).parent.glob("*.py")} - {"__init__", "op"}
    assert families == set(KINDS)


def test_what_the_page_holds_is_the_trace(gpt):
    data = embedded(page.as_html(gpt))
    assert data["trace"] == json.loads(json.dumps(gpt.to_dict()))
    assert data["ops"]["linear"]["kind"] == "products" and "x @ weight.T" in data["ops"]["linear"]["text"]
    assert set(data["ops"]) == {op.name for op in gpt.ops}


def test_hostile_names_stay_text():
    text = page.as_html(hostile())
    assert HOSTILE not in text and text.count("</script>") == 2 and "<img" not in text
    assert embedded(text)["trace"]["ops"][0]["path"] == HOSTILE
    assert HOSTILE not in page.notebook(hostile())


def test_full_values_are_not_in_the_page():
    full = gpt_trace("full")
    data = page.as_html(full)
    assert '"full"' not in data.replace('"values":"full"', "")
    assert all(op.value is None or isinstance(op.value.full, np.ndarray) for op in full.ops)  # the trace keeps them
    assert abs(len(data) - len(page.as_html(gpt_trace()))) < 0.05 * len(data)


def test_a_page_that_would_be_too_large_leaves_out_samples_and_says_so(gpt, monkeypatch):
    whole = embedded(page.as_html(gpt))
    monkeypatch.setattr(page, "LARGEST", len(json.dumps(page._without(whole, {"sample", "details"}))))
    data = embedded(page.as_html(gpt))
    assert '"sample":' not in json.dumps(data["trace"]) and "histogram" in json.dumps(data["trace"])
    assert any("samples of values" in note for note in data["notes"])
    monkeypatch.setattr(page, "LARGEST", 1)
    data = embedded(page.as_html(gpt))
    assert "histogram" not in json.dumps(data["trace"]["ops"]) and len(data["notes"]) == len(whole["notes"]) + 2


def test_a_notebook_shows_the_page_in_a_frame_that_reaches_nothing(gpt):
    text = gpt._repr_html_()
    ((tag, attributes),) = Elements(text).found
    assert tag == "iframe" and attributes["sandbox"] == "allow-scripts" and attributes["srcdoc"] == page.as_html(gpt)


def test_the_command_writes_a_page(gpt, tmp_path, capsys):
    gpt.save(tmp_path / "step.json")
    assert main([str(tmp_path / "step.json")]) == 0
    assert (tmp_path / "step.html").read_text("utf-8") == page.as_html(inspect.load(tmp_path / "step.json"))
    assert "step.html is written" in capsys.readouterr().out
    assert main([str(tmp_path / "step.json"), "-o", str(tmp_path / "other.html")]) == 0
    assert (tmp_path / "other.html").read_bytes() == (tmp_path / "step.html").read_bytes()


def test_the_command_refuses_what_it_cannot_read(tmp_path, capsys):
    broken = tmp_path / "broken.json"
    broken.write_text('{"format": 1, "ops": [', encoding="utf-8")
    assert main([str(broken)]) == 2
    assert main([str(tmp_path / "missing.json")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all(line.startswith("error: ") for line in errors) and "truncated" in errors[0]
    assert not (tmp_path / "broken.html").exists()


# ---- what is folded --------------------------------------------------------------------------------------------------


def check(trace: inspect.Trace) -> Any:
    """A grouping, in which each operation stands once."""
    grouping = group(trace)
    keys = [key for g in grouping.groups for key in g.children]
    assert len(keys) == len(set(keys))
    assert sorted(int(key[1:]) for key in keys if key[0] == "o") == [op.id for op in trace.ops]
    for g in grouping.groups:
        assert len(g.children) <= MOST
        for key in g.children:
            if key[0] == "g":
                assert grouping.groups[int(key[1:])].parent == g.id
    assert grouping.groups[0].ops == len(trace.ops)
    return grouping


def test_blocks_alike_are_folded(gpt):
    grouping = check(gpt)
    (repeat,) = [g for g in grouping.groups if g.kind == "repeat"]
    assert (repeat.label, len(repeat.children), repeat.module) == ("h.0 … h.2", 3, "Block")
    model = grouping.groups[repeat.parent]
    assert (model.module, model.path, model.parent) == ("GPT", "", 0)
    blocks = [grouping.groups[int(key[1:])] for key in repeat.children]
    assert [b.label for b in blocks] == ["h.0", "h.1", "h.2"]
    assert len({b.ops for b in blocks}) == 1 and repeat.ops == 3 * blocks[0].ops
    assert "h.0 … h.2: 3 modules alike are shown as one." in grouping.notes


def test_a_module_of_one_operation_is_that_operation(gpt):
    grouping = check(gpt)
    names = {gpt.ops[op].path: name for op, name in grouping.names.items()}
    assert names["h.1.attn.c_attn"] == "c_attn" and names["wte"] == "wte"


def test_blocks_that_differ_are_not_folded():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, n)) for n in (4, 4, 6))

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    with inspect.trace() as t:
        Model()(tg.randn(2, 4))
    labels = [g.label for g in check(t).groups if g.kind == "repeat"]
    assert labels == ["blocks.0 … blocks.1"]


def test_calls_of_one_module_in_a_loop_are_folded():
    cell = nn.RNNCell(3, 4)
    h = tg.zeros(2, 4)
    with inspect.trace() as t:
        for _ in range(60):
            h = tg.tanh(cell(tg.ones(2, 3), h)) * 0.5
    grouping = check(t)
    (repeat,) = [g for g in grouping.groups if g.kind == "repeat"]
    assert len(grouping.groups[0].children) <= 3 and repeat.ops >= len(t.ops) - 1
    assert any("60 rounds alike" in note for note in grouping.notes)


def test_values_from_outside_stand_where_they_are_used(gpt):
    grouping = check(gpt)
    shown = {gpt.parameters[int(key[1:])].name for g in grouping.groups for key in g.children if key[0] == "p"}
    assert {"x", "y"} <= shown and not any(name.startswith("h.") for name in shown)
    a, b = tg.tensor(2.0, requires_grad=True), tg.tensor(3.0, requires_grad=True)
    with inspect.trace() as t:
        (a * b + a).backward()
    assert {t.parameters[int(key[1:])].name for key in check(t).groups[0].children if key[0] == "p"} == {"a", "b"}


def test_checks_beside_the_graph_stand_aside():
    weight = tg.ones(3, requires_grad=True)
    with inspect.trace() as t:
        y = (weight * 2).sum()
        with tg.no_grad():
            _ = weight.max() > 0
        y.backward()
    grouping = check(t)
    (aside,) = [g for g in grouping.groups if g.kind == "aside"]
    assert {t.ops[int(key[1:])].name for key in aside.children} >= {"gt"}
    assert any("stand aside" in note for note in grouping.notes)


@pytest.mark.parametrize("names", [("mul",), ("mul", "add", "tanh")])
def test_a_hundred_thousand_operations_are_folded(names):
    grouping = check(chain(100_000, names))
    assert len(grouping.groups[0].children) <= MOST
    assert any("100,000" in note or "33,333" in note for note in grouping.notes)


def test_a_hundred_thousand_operations_without_a_pattern_are_divided():
    t = chain(100_000)
    rng = np.random.default_rng(0)
    for op, name in zip(t.ops, rng.integers(0, 1000, len(t.ops)), strict=True):
        op.name = f"op{name}"
    grouping = check(t)
    assert "all operations: 100,000 nodes next to each other are shown in parts." in grouping.notes


# ---- in a browser ----------------------------------------------------------------------------------------------------

BROWSER = [
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.fail("these tests need Chromium: sudo apt-get install -y chromium")
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=[*BROWSER, *(["--no-sandbox"] if root else [])], timeout=120_000
        )
        yield browser
        browser.close()


class Reader:
    """Someone who looks at a page."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.tab = browser.new_page(viewport={"width": 1280, "height": 800}, reduced_motion="reduce", **options)
        self.tab.set_default_timeout(60_000)
        self.trouble: list[str] = []
        self.requests: list[str] = []
        self.answered: list[str] = []
        self.tab.on("pageerror", lambda error: self.trouble.append(str(error)))
        self.tab.on("console", lambda message: message.type == "error" and self.trouble.append(message.text))
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("response", lambda response: self.answered.append(response.url))
        self.tab.goto(path.as_uri())
        self.tab.wait_for_selector("html[data-ready=true]")

    def titles(self) -> list[str]:
        """What is written on the nodes."""
        return self.tab.locator(".node > .title").evaluate_all("titles => titles.map(title => title.firstChild.data)")

    def node(self, title: str) -> Any:
        return self.tab.locator(".node").nth(self.titles().index(title))

    def open(self, title: str) -> None:
        """Press the sign of a module, wherever it is."""
        self.node(title).locator(".toggle").dispatch_event("click")

    def figures(self) -> dict[str, list[float]]:
        """The numbers in the panel's heatmaps (or the only number), by the figure's name; repeated names count up."""
        script = """() => [...document.querySelectorAll('#details [data-figure]')].map(box => [
            box.dataset.figure,
            [...box.querySelectorAll('.heatmap td, .single')].map(cell => cell.dataset.value)])"""
        return {name: [float(v) for v in values] for name, values in self.tab.evaluate(script)}

    def press(self, *keys: str) -> None:
        for key in keys:
            self.tab.keyboard.press(key)

    def said(self) -> str:
        """What screen readers were told last."""
        return self.tab.locator("#live").text_content()

    def focused(self) -> str:
        """The key of the node that has the focus, or what else has it."""
        return self.tab.evaluate("document.activeElement.dataset.key ?? document.activeElement.id")


@pytest.fixture(scope="module")
def gpt_page(gpt, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("page") / "graph.html"
    gpt.save(path)
    return path


@pytest.fixture
def reader(chromium, gpt_page) -> Iterator[Reader]:
    one = Reader(chromium, gpt_page)
    yield one
    assert one.trouble == [] and one.requests == [gpt_page.as_uri()]
    one.tab.close()


def elements(value: ValueRecord) -> list[float]:
    assert value.sample is not None
    return [float(str(x)) for x in value.sample.reshape(-1)]


def close(shown: list[float], recorded: list[float]) -> bool:
    return len(shown) == len(recorded) and all(
        a == b or math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))
        for a, b in zip(shown, recorded, strict=True)
    )


@pytest.mark.browser
def test_the_page_opens_at_the_level_of_modules_with_repeats_folded(reader):
    titles = reader.titles()
    assert "h.0 … h.2" in titles and "ln_f" in titles and "wte" in titles and "c_attn" not in titles
    assert reader.node("h.0 … h.2").locator(".times").text_content() == "×3"
    assert "operations" in reader.tab.locator("#summary").text_content()
    assert "3 modules alike" in reader.tab.locator("#details").text_content()


@pytest.mark.browser
def test_a_block_opens_and_closes(reader):
    reader.node("h.0 … h.2").locator(".toggle").click()
    assert {"h.0", "h.1", "h.2"} <= set(reader.titles())
    reader.node("h.1").dblclick()
    titles = reader.titles()
    assert {"ln_1", "attn", "mlp"} <= set(titles) and titles.count("attn") == 1
    reader.open("attn")
    assert "scaled_dot_product_attention" in reader.titles()
    assert reader.said() == "attn opened"
    reader.press("Escape")  # the focus is on attn, whose module around is h.1
    assert "attn" not in reader.titles() and reader.said() == "h.1 closed"


@pytest.mark.browser
def test_opening_is_animated_and_ends_where_nothing_moves(reader):
    """Nodes grow out of the one that was opened, unless the reader wants no motion."""
    corners = """nodes => nodes.map(node => {
        const {e, f} = new DOMMatrix(getComputedStyle(node).transform);
        return [node.dataset.key, e, f]; })"""
    nodes = reader.tab.locator(".node")
    reader.open("h.0 … h.2")
    still = nodes.evaluate_all(corners)
    reader.open("h.0 … h.2")
    reader.tab.emulate_media(reduced_motion="no-preference")
    reader.open("h.0 … h.2")
    assert nodes.evaluate_all(corners) != still
    reader.tab.evaluate("() => Promise.all(document.getAnimations().map(animation => animation.finished))")
    assert nodes.evaluate_all(corners) == still


@pytest.mark.browser
def test_nodes_do_not_overlap_and_lie_inside_their_modules(reader):
    for title in ("h.0 … h.2", "h.0", "attn", "h.2", "mlp"):
        reader.open(title)
    boxes = reader.tab.evaluate(
        """() => [...document.querySelectorAll('.node')].map(n => {
            const r = n.querySelector('.card, .frame').getBoundingClientRect();
            return [n.dataset.key, n.classList.contains('box'), r.left, r.top, r.right, r.bottom]; })"""
    )
    cards = [b for b in boxes if not b[1]]
    assert len(cards) > 25
    for i, a in enumerate(cards):
        for b in cards[:i]:
            assert a[2] >= b[4] or b[2] >= a[4] or a[3] >= b[5] or b[3] >= a[5], (a, b)
        inside = [f for f in boxes if f[1] and f[2] <= a[2] and f[3] <= a[3] and f[4] >= a[4] and f[5] >= a[5]]
        crossed = [f for f in boxes if f[1] and a[2] < f[4] and f[2] < a[4] and a[3] < f[5] and f[3] < a[5]]
        assert inside == crossed


@pytest.mark.browser
def test_search_finds_names_shapes_and_parameters(reader, gpt):
    reader.press("/")
    reader.tab.keyboard.type("c_fc")
    shown = reader.tab.locator("#results li")
    names = [op.path for op in gpt.ops] + [p.name for p in gpt.parameters]
    assert shown.count() == sum("c_fc" in name for name in names)
    reader.press("Enter")
    assert reader.tab.locator("#details .path").text_content() == "GPT › h.0 › mlp › c_fc"
    assert "c_fc" in reader.titles()
    field = reader.tab.locator("#search")
    for query in ("linear 2x8x48", "linear 2×8×48", "linear 2, 8, 48"):
        field.fill(query)
        assert reader.tab.locator("#found").text_content() == "3 found", query
    field.fill("wte.weight")
    reader.tab.locator("#results li", has_text="parameter").click()
    assert reader.tab.locator("#details h2").text_content() == "wte.weight"
    assert "lm_head.weight" in reader.tab.locator("#details").text_content()
    field.fill("nothing like this")
    assert reader.tab.locator("#found").text_content() == "nothing found"


@pytest.mark.browser
def test_the_panel_shows_what_was_recorded(reader, gpt):
    op = next(op for op in gpt.ops if op.path == "h.2.attn.c_attn")
    step = next(s for s in gpt.backward if s.op == op.id)
    reader.tab.locator("#search").fill(f"{op.path}")
    reader.tab.locator(f'#results [data-result="o{op.id}"]').click()
    shown = reader.figures()
    assert close(shown["value"], elements(op.value)) and close(shown["gradient of the output"], elements(step.incoming))
    text = reader.tab.locator("#details").inner_text()
    assert "y = x @ weight.T + bias" in text and f"{gpt.lines[op.line].file}:{gpt.lines[op.line].line}" in text
    assert "h.2.attn.c_attn.weight" in text and "Saved for backward" in text
    assert op.freed and f"after {op.freed} of {len(gpt.ops) + len(gpt.backward)} steps" in text
    mean = reader.tab.locator('[data-figure="value"] .statistics dd').nth(1).get_attribute("data-value")
    assert math.isclose(float(mean), op.value.mean, rel_tol=1e-12)
    histogram = reader.tab.locator('[data-figure="value"] .histogram-box')
    assert histogram.locator("svg").get_attribute("aria-label").startswith("Histogram of value, 16 bins")
    counts = histogram.locator("table td:nth-child(3)").all_text_contents()
    assert [int(n) for n in counts] == op.value.histogram


@pytest.mark.browser
def test_every_step_shows_the_recorded_numbers_there_and_back(reader, gpt):
    """Forward and then backward, in the order in which they ran, with the sums in .grad; and all of it in reverse."""
    steps = [*gpt.ops, *gpt.backward]
    running: dict[int, np.ndarray] = {}
    sums: dict[tuple[int, int], np.ndarray] = {}  # by step and parameter: what is in .grad after it
    for i, step in enumerate(steps):
        if i < len(gpt.ops) or step.op is None:
            continue
        for gradient in step.gradients:
            parameter = gpt.ops[step.op].inputs[gradient.input].parameter
            if parameter is not None:
                running[parameter] = running.get(parameter, 0.0) + gradient.value.sample.astype(np.float64)
                sums[i, parameter] = running[parameter]
    shared = 0
    for i in range(len(steps)):
        reader.press("ArrowRight")
        shared += check_step(reader, gpt, i, sums)
    assert shared == 2  # the table is used as the head, and as the embedding
    reader.press("ArrowRight")  # there is none after the last
    for i in reversed(range(len(steps) - 1)):
        reader.press("ArrowLeft")
        shared += check_step(reader, gpt, i, sums)
    assert shared == 4
    reader.press("ArrowLeft")
    assert reader.said() == "before the first step"


def check_step(reader: Reader, trace: inspect.Trace, i: int, sums: dict[tuple[int, int], np.ndarray]) -> int:
    """Read what is shown of a step. Returns how many running sums are shown."""
    steps = [*trace.ops, *trace.backward]
    step, shown, said = steps[i], reader.figures(), reader.said()
    assert said.startswith(f"{i + 1} of {len(steps)}: "), said
    if i < len(trace.ops):
        assert f"forward, {step.name}" in said and f"output {'×'.join(map(str, step.shape)) or 'scalar'}" in said
        assert close(shown["output"], elements(step.value))
        for j, x in enumerate(step.inputs):
            if x.op is not None or x.parameter is not None:
                source = trace.ops[x.op] if x.op is not None else trace.parameters[x.parameter]
                assert close(shown[f"input {j}"], elements(source.value))
        return 0
    if step.op is None:
        assert f"arrival in {trace.parameters[step.parameter].name}.grad" in said
        assert close(shown["what arrived in all"], elements(step.incoming))
        assert close(shown[".grad afterwards"], elements(step.total))
        last = max(j for j, parameter in sums if parameter == step.parameter)
        assert np.allclose(sums[last, step.parameter], step.total.sample, rtol=1e-5, atol=1e-8)
        return 0
    assert f"backward, {trace.ops[step.op].name}" in said
    assert close(shown["incoming gradient"], elements(step.incoming))
    count = 0
    for gradient in step.gradients:
        assert close(shown[f"gradient for input {gradient.input}"], elements(gradient.value))
        parameter = trace.ops[step.op].inputs[gradient.input].parameter
        if parameter is not None:
            cells = reader.tab.locator(f'[data-sum="{parameter}"] td')
            values = cells.evaluate_all("cells => cells.map(cell => Number(cell.dataset.value))")
            if values:  # where it is not this gradient alone
                count += 1
                assert np.allclose(values, sums[i, parameter].reshape(-1), rtol=1e-6, atol=1e-12)
    return count


@pytest.mark.browser
def test_the_numbers_of_one_element_are_shown(reader, gpt):
    op = next(op for op in gpt.ops if op.name == "layer_norm" and op.details)
    reader.tab.locator("#search").fill(op.path)
    reader.tab.locator(f'#results [data-result="o{op.id}"]').click()
    step = next(s for s in gpt.backward if s.op == op.id)
    shown = [box.locator("li").all_text_contents() for box in reader.tab.locator("#details .worked").all()]
    assert shown == [op.details["element"]["text"], step.details["element"]["text"]]


@pytest.mark.browser
def test_steps_open_modules_and_mark_where_they_are(reader):
    reader.tab.locator("#backward").click()
    assert "backward" in reader.said()
    current = reader.tab.locator(".node.current.backward")
    assert current.count() == 1
    assert reader.tab.locator(".node.waiting").count() == 0
    reader.press("Home")
    for _ in range(200):
        reader.press("ArrowRight")
        if ", linear in h.2.mlp" in reader.said():
            break
    assert "mlp" in reader.titles() and current.count() == 1
    assert reader.tab.locator(".flow.backward").count() >= 1
    reader.tab.locator("#follow").uncheck()
    reader.tab.locator("#first").click()
    assert "mlp" not in reader.titles()
    reader.press("ArrowRight")
    assert reader.tab.locator(".node.waiting").count() > 3


@pytest.mark.browser
def test_it_plays_and_pauses(reader):
    reader.tab.locator("#speed").select_option("10")
    reader.tab.locator("#graph").click(position={"x": 5, "y": 5})
    reader.press("Space")
    assert reader.tab.locator("#play").get_attribute("aria-label") == "Pause"
    for _ in range(200):  # the page allows no script of a test to wait in it
        if int(reader.tab.locator("#position").input_value()) >= 4:
            break
        reader.tab.wait_for_timeout(50)
    reader.press("Space")
    assert reader.tab.locator("#play").get_attribute("aria-label") == "Play"
    assert int(reader.tab.locator("#position").input_value()) >= 4


@pytest.mark.browser
def test_everything_is_done_by_keyboard(reader, gpt):
    """A module is opened, an operation selected, its numbers read and steps made without a mouse."""
    reader.press("g")
    assert reader.focused() == "g1"  # the model
    seen = set()
    title = "document.activeElement.querySelector('.title').firstChild.data"
    while reader.tab.evaluate(title) != "h.0 … h.2":
        assert reader.focused() not in seen, seen
        seen.add(reader.focused())
        reader.press("ArrowDown")
    repeat = reader.focused()
    assert reader.tab.evaluate("document.activeElement.getAttribute('aria-expanded')") == "false"
    reader.press("Enter")
    assert reader.focused() == repeat and "h.1" in reader.titles()
    assert reader.tab.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"
    for key in ("ArrowDown", "Enter", "ArrowDown"):  # into the block, open it, to its first node
        reader.press(key)
    assert "h.0" in reader.tab.evaluate("document.activeElement.getAttribute('aria-label')")
    reader.press("/")
    reader.tab.keyboard.type("h.1.mlp gelu")
    reader.press("Enter")
    op = next(op for op in gpt.ops if op.path == "h.1.mlp.gelu")
    assert reader.focused() == f"o{op.id}"
    reader.press(".", ".", ",")
    assert reader.said().startswith("1 of ")
    reader.tab.evaluate("document.activeElement.blur()")
    reader.press("ArrowRight", "ArrowRight", "ArrowLeft")
    assert reader.said().startswith("2 of ")
    reader.press("p")
    assert reader.tab.evaluate("document.activeElement.textContent") == gpt.ops[1].name
    reader.press("g")
    reader.tab.locator(".heatmap td").first.focus()
    reader.press("ArrowRight", "ArrowDown")
    cell = reader.tab.evaluate("document.activeElement.dataset.at")
    assert cell == "[1, 1]"
    x = next(p for p in gpt.parameters if p.name == "x")
    assert reader.tab.locator(".readout").first.text_content() == f"[1, 1] = {x.value.sample[1, 1]}"
    reader.press("?")
    assert reader.tab.locator("#keys").is_visible()
    reader.press("Escape")
    assert not reader.tab.locator("#keys").is_visible()


@pytest.mark.browser
def test_tab_comes_to_every_control_once(reader):
    """The graph and each heatmap are one stop each, in which the arrow keys move."""
    seen = []
    for _ in range(60):
        reader.press("Tab")
        seen.append(reader.tab.evaluate("(e => e.id || e.dataset.key || e.tagName)(document.activeElement)"))
        if seen[-1] == "BODY":
            break
    controls = reader.tab.locator("#bar :is(button, input, select), #player :is(button, input, select)")
    ids = controls.evaluate_all("all => all.filter(e => !e.disabled).map(e => e.id || e.tagName)")
    assert [c for c in seen if c in ids] == ids and sum(c[:1] in "gop" and c[1:].isdigit() for c in seen) == 1


@pytest.mark.browser
def test_nodes_figures_and_controls_have_names(reader):
    reader.tab.locator("#open-all").click()
    without = reader.tab.evaluate(
        """() => [...document.querySelectorAll('.node, button, select, input, svg[role], aside, footer, dialog')]
            .filter(e => !e.getAttribute('aria-label') && !e.getAttribute('aria-labelledby') && !e.textContent.trim()
                && !e.closest('label') && !e.title)
            .map(e => e.outerHTML.slice(0, 100))"""
    )
    assert without == []
    assert reader.tab.locator('.node:not([role="button"])').count() == 0
    assert reader.tab.locator('.node[tabindex="0"]').count() == 1


@pytest.mark.browser
def test_screen_readers_are_told_what_is_there(reader, gpt):
    """By the roles and names that the browser computes."""
    role = reader.tab.get_by_role
    block = role("button", name="h.0 … h.2, Block, 3 alike, 51 operations")
    assert block.get_attribute("aria-expanded") == "false"
    role("combobox", name="Search names").fill("h.2.attn.c_attn linear")
    results = role("listbox", name="Results").get_by_role("option", selected=True)
    assert results.text_content().startswith("42 linear")
    reader.press("ArrowDown", "ArrowUp", "Enter")
    assert role("button", name="c_attn, linear, in h.2.attn.c_attn, shape 2×8×48").count() == 1
    value = role("table", name="value, corner, slice 0")
    op = gpt.ops[42]
    row = value.get_by_role("row").nth(3).get_by_role("cell").nth(5)
    assert row.get_attribute("aria-label") == f"[0, 3, 5] {op.value.sample[0, 3, 5]!s}"
    assert role("img", name="Histogram of value, 16 bins").count() == 1
    assert role("navigation", name="Modules around it").text_content() == "GPT › h.2 › attn › c_attn"
    role("button", name="Step", exact=True).click()
    step = f"1 of {len(gpt.ops) + len(gpt.backward)}: forward, amin"
    assert role("slider", name="Step").get_attribute("aria-valuetext") == step
    assert role("status").filter(has_text="1 of ").text_content().endswith("output scalar")


CONTRAST = """() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgba = color => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const linear = x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
    const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
    const found = [];
    const add = (element, ink, paper) => found.push(
        [ratio(rgba(ink), rgba(paper)), element.textContent.trim().slice(0, 40), ink, paper]);
    const style = element => getComputedStyle(element);
    const words = element => [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    for (const text of document.querySelectorAll('.node:not(.waiting) text')) {
        const node = text.closest('.node');
        const paper = node.querySelector('.card') ?? document.querySelector(`.ground[data-key="${node.dataset.key}"]`);
        add(text, style(text).fill, style(paper).fill);
    }
    for (const element of document.querySelectorAll('body :not(script, style, svg *)')) {
        if (!words(element) || !element.checkVisibility() || element.matches('#live, :disabled')) continue;
        let behind = element;
        while (rgba(style(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
        add(element, style(element).color, style(behind).backgroundColor);
    }
    return found;
}"""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out(chromium, gpt_page, scheme):
    """By the ratio that WCAG 2 asks of text, 4.5, in all colours."""
    reader = Reader(chromium, gpt_page, color_scheme=scheme)
    reader.tab.locator("#open-all").click()
    reader.tab.locator("#search").fill("gelu")
    for mode in ("kind", "time", "memory", "gradient", "nan"):
        reader.tab.locator("#color").select_option(mode)
        if mode == "memory":
            reader.tab.locator("#backward").click()
        found = reader.tab.evaluate(CONTRAST)
        assert len(found) > 150 and [one for one in found if one[0] < 4.5] == []
    reader.tab.close()


@pytest.mark.browser
@pytest.mark.parametrize("mode", ["kind", "time", "memory", "gradient", "nan"])
def test_colours_have_a_legend(reader, mode):
    reader.tab.locator("#color").select_option(mode)
    words = {"kind": "products of matrices", "gradient": "gradient norm", "nan": "NaN"}
    assert words.get(mode, mode) in reader.tab.locator("#legend").text_content()
    fills = reader.tab.evaluate("() => [...document.querySelectorAll('.card')].map(c => getComputedStyle(c).fill)")
    assert len(set(fills)) > (1 if mode == "nan" else 3)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_follows_the_scheme_and_switches(chromium, gpt_page, scheme):
    reader = Reader(chromium, gpt_page, color_scheme=scheme)
    brightness = "() => Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    before = reader.tab.evaluate(brightness)
    assert (before > 128) == (scheme == "light")
    reader.tab.locator("#theme").click()
    assert (reader.tab.evaluate(brightness) > 128) == (scheme == "dark")
    reader.tab.close()


@pytest.mark.browser
def test_nan_is_marked(chromium, tmp_path):
    x = tg.tensor([1.0, 0.0], requires_grad=True)
    with inspect.trace() as t, np.errstate(all="ignore"):
        (x.log() * 0).sum().backward()
    t.save(tmp_path / "nan.html")
    reader = Reader(chromium, tmp_path / "nan.html")
    reader.tab.locator("#color").select_option("nan")
    assert reader.node("log").get_attribute("data-trouble") == "value"
    reader.node("mul").click()
    assert "nan" in reader.tab.locator('[data-figure="value"] td').all_text_contents()
    assert reader.trouble == []


@pytest.mark.browser
def test_hostile_names_do_nothing(chromium, tmp_path):
    path = tmp_path / "hostile.html"
    path.write_text(page.as_html(hostile()), encoding="utf-8")
    reader = Reader(chromium, path)
    reader.tab.locator("#open-all").click()
    for key in reader.tab.locator(".node").evaluate_all("nodes => nodes.map(node => node.dataset.key)")[::-5]:
        reader.tab.locator(f'.node[data-key="{key}"]').focus()
        reader.press("Enter")
        assert HOSTILE in reader.tab.locator("#details").text_content()
    reader.tab.locator("#backward").click()
    reader.tab.locator("#search").fill("script")
    assert reader.tab.locator("#results li").count() > 0
    assert HOSTILE in reader.tab.locator("#details").text_content()
    assert reader.tab.title() != "taken" and reader.tab.locator("img").count() == 0
    assert reader.trouble == [] and reader.requests == [path.as_uri()]


@pytest.mark.browser
def test_what_got_into_the_page_all_the_same_could_do_nothing(chromium, gpt_page):
    """The policy of the page stops scripts, styles, and whatever would be loaded."""
    reader = Reader(chromium, gpt_page)
    reader.tab.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = "document.title = 'taken'";
            document.body.append(script);
            document.body.insertAdjacentHTML('beforeend', `
                <img src="https://example.org/x" onerror="document.title = 'taken'">
                <link rel="stylesheet" href="https://example.org/y"><iframe src="https://example.org/z"></iframe>
                <p id="styled" style="position: fixed">x</p>`);
            fetch('https://example.org/w').catch(() => null);
        }"""
    )
    reader.tab.wait_for_timeout(300)
    assert reader.tab.title() == "GPT: computation graph"
    assert reader.tab.locator("#styled").evaluate("p => getComputedStyle(p).position") == "static"
    assert len([text for text in reader.trouble if "Content Security Policy" in text]) >= 6
    assert not [url for url in reader.answered if url != gpt_page.as_uri()]


@pytest.mark.browser
def test_what_a_file_may_say_all_the_same_breaks_nothing(chromium, gpt, tmp_path):
    """Records that contradict each other, of kinds that no recorder writes, but that are read."""
    gpt.save(tmp_path / "odd.json")
    document = json.loads((tmp_path / "odd.json").read_text("utf-8"))
    texts = [[1, None, {}], "x"]
    odd = [None, 0, "", "x", [], {}, {"slice": [1]}, {"tuple": 3}, *({"element": {"text": text}} for text in texts)]
    for i, op in enumerate(document["ops"]):
        op["attrs"] = {"a": odd[i % len(odd)]}
        op["details"] = odd[8 + i % 2] if i % 3 else {"element": odd[i % len(odd)]}
        op["shape"] = op["shape"][: i % 4] if not op.get("value") else op["shape"]
        if i % 5 == 0:
            op.pop("value", None)
        elif value := op.get("value"):
            value["histogram"] = [[], [0], [1, 2, 3]][i % 3]
            value[("min", "max", "mean", "std")[i % 4]] = (None, "nan", "inf", -1e300)[i % 4]
            if i % 2:
                value["sample"] = {"shape": [0], "dtype": "float32", "values": []}
    for step in document["backward"][::3]:
        step.pop("incoming", None)
        step.pop("gradients", None)
    (tmp_path / "odd.json").write_text(json.dumps(document), encoding="utf-8")
    inspect.load(tmp_path / "odd.json").save(tmp_path / "odd.html")
    reader = Reader(chromium, tmp_path / "odd.html")
    reader.tab.locator("#open-all").click()
    for mode in ("time", "memory", "gradient", "nan"):
        reader.tab.locator("#color").select_option(mode)
    for node in reader.tab.locator(".node").all():
        node.dispatch_event("click")
    for _ in range(len(gpt.ops) + len(gpt.backward)):
        reader.press("ArrowRight")
    assert reader.said().startswith(f"{len(gpt.ops) + len(gpt.backward)} of ") and reader.trouble == []
    reader.tab.close()


@pytest.mark.browser
def test_a_hundred_thousand_operations_open_and_say_what_is_folded(chromium, tmp_path):
    chain(100_000).save(tmp_path / "large.html")
    reader = Reader(chromium, tmp_path / "large.html")
    assert 1 < len(reader.titles()) <= MOST + 1
    assert "100,000" in reader.tab.locator("#message").text_content()
    reader.tab.locator("#open-all").click()
    assert "stay closed" in reader.tab.locator("#message").text_content()
    reader.press("ArrowRight")
    assert reader.said().startswith("1 of 100,000")
    assert reader.trouble == []


@pytest.mark.browser
def test_a_trace_of_nothing_opens(chromium, tmp_path):
    with inspect.trace() as t:
        pass
    t.save(tmp_path / "empty.html")
    reader = Reader(chromium, tmp_path / "empty.html")
    assert "holds no operation" in reader.tab.locator("#message").text_content() and reader.trouble == []


@pytest.mark.browser
def test_the_page_works_in_the_frame_of_a_notebook(chromium, gpt, tmp_path):
    """Its script runs there, reads nothing of the notebook and asks for nothing."""
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><title>notebook</title>{gpt._repr_html_()}", encoding="utf-8")
    tab = chromium.new_page(viewport={"width": 1000, "height": 700})
    trouble: list[str] = []
    asked: list[str] = []
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("console", lambda message: message.type == "error" and trouble.append(message.text))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(path.as_uri())
    frame = tab.frame_locator("iframe")
    frame.locator("html[data-ready=true]").wait_for(timeout=60_000)
    assert "h.0 … h.2" in frame.locator(".node > .title").evaluate_all("all => all.map(title => title.firstChild.data)")
    frame.locator("#theme").click()
    frame.locator("#search").fill("h.2.mlp gelu")
    frame.locator("#search").press("Enter")
    op = next(op for op in gpt.ops if op.path == "h.2.mlp.gelu")
    cells = frame.locator('[data-figure="value"] td').filter(visible=True)
    shown = cells.evaluate_all("cells => cells.filter(c => c.dataset.value).map(c => Number(c.dataset.value))")
    assert close(shown, elements(op.value))
    frame.locator("#backward").click()
    assert "backward, mean" in frame.locator("#step-text").text_content()
    script = "(() => { try { return parent.document.title } catch (error) { return error.name } })()"
    assert tab.frames[1].evaluate(script) == "SecurityError"
    assert trouble == [] and asked == [path.as_uri()]
    tab.close()
