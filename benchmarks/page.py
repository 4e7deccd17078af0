"""How long the page of GPT-2's trace takes: from the address to the drawn graph, to open all modules, for a step, and
for a frame while the graph is dragged.

    python benchmarks/page.py                  # GPT-2 with 124M parameters, 12 blocks, random weights
    python benchmarks/page.py --ops 100000     # as many operations one after another
    python benchmarks/page.py --trace step.json

Needs the extra `browser` and Chromium (apt-get install -y chromium). Each time is the least of several.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tinygrad_edu import inspect  # noqa: E402  # the checkout need not be installed


def gpt2_trace() -> inspect.Trace:
    """One step of GPT-2 on 64 random tokens, with samples of all values."""
    import tinygrad_edu as tg
    from gpt import GPT, GPTConfig

    tg.manual_seed(0)
    model = GPT(GPTConfig())
    x, y = tg.randint(0, 50257, (1, 64)), tg.randint(0, 50257, (1, 64))
    with inspect.trace(values="sample") as t:
        _, loss = model(x, y)
        loss.backward()
    return t


def chain(n: int) -> inspect.Trace:
    """As many operations of three kinds, each of which takes the last one's output."""
    from tinygrad_edu.inspect.record import InputRecord, MachineRecord, OpRecord

    ops = []
    for i in range(n):
        before = [InputRecord(op=i - 1, gradient=True, shape=[3], dtype="float32")] if i else []
        ops.append(OpRecord(i, ("mul", "add", "tanh")[i % 3], "", [3], "float32", before, bytes=12, seconds=1e-6))
    return inspect.Trace(1, "none", "", 1.0, MachineRecord(), ops)


def launch(playwright: Any) -> Any:
    """The browser. SystemExit: it is not installed."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        sys.exit("Chromium is missing; install it: sudo apt-get install -y chromium")
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    return playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"] if root else [])


# Drags the graph to and fro, once for each frame, and finds how long the frames took.
FRAMES = """async () => {
    const graph = document.querySelector('#graph');
    const at = (type, x) => graph.dispatchEvent(
        new PointerEvent(type, {pointerId: 1, button: 0, clientX: x, clientY: 300, bubbles: true}));
    graph.setPointerCapture = () => null; // no finger is down
    const times = [];
    at('pointerdown', 400);
    for (let i = 0; i < 120; i++) {
        at('pointermove', 400 + 300 * Math.sin(i / 10));
        times.push(await new Promise(requestAnimationFrame));
    }
    at('pointerup', 400);
    return times.slice(1).map((time, i) => time - times[i]).sort((a, b) => a - b);
}"""


def least(runs: int, run: Callable[[], Any]) -> float:
    """Seconds of the fastest of several runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Write the page, open it, and print the times."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=Path, help="a saved trace instead of GPT-2's")
    parser.add_argument("--ops", type=int, help="a chain of so many operations instead")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    trace = inspect.load(options.trace) if options.trace else chain(options.ops) if options.ops else gpt2_trace()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder, "graph.html")
        writing = least(options.runs, lambda: trace.save(path))
        print(f"{len(trace.ops):,} operations, {len(trace.backward):,} steps of backward")
        print(f"written in {writing:.2f} s, {path.stat().st_size / 1e6:.2f} MB")
        browser = launch(playwright)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})

        def open_page() -> None:
            tab.goto(path.as_uri())
            tab.wait_for_selector("html[data-ready=true]")

        print(f"opened in {least(options.runs, open_page):.2f} s")
        for what, control in ("all modules opened", "#open-all"), ("a step", "#next"):
            took = least(options.runs, lambda: tab.evaluate("control => control.click()", tab.query_selector(control)))  # noqa: B023
            print(f"{what} in {took * 1e3:.0f} ms")
        tab.evaluate("document.querySelector('#first').click()")
        frames = tab.evaluate(FRAMES)
        shown = tab.locator(".node").count()
        median, slow = frames[len(frames) // 2], frames[len(frames) * 19 // 20]
        print(f"a frame while {shown} nodes are dragged: {median:.0f} ms, and 95 of 100 take at most {slow:.0f} ms")
        browser.close()


if __name__ == "__main__":
    main()
