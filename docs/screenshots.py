"""Take the pictures of the inspector's page that the guide shows: images/inspect-*.png, anew.

    python docs/screenshots.py [FOLDER]

Needs the extra `browser` and Chromium (apt-get install -y chromium).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from page import launch  # noqa: E402  # the checkout need not be installed

from tinygrad_edu import inspect  # noqa: E402


def gpt_trace() -> inspect.Trace:
    """One step of a GPT with twelve small blocks."""
    import tinygrad_edu as tg
    from gpt import GPT, GPTConfig

    tg.manual_seed(0)
    model = GPT(GPTConfig(n_layer=12, n_head=4, n_embd=32, block_size=16, vocab_size=65))
    x, y = tg.randint(0, 65, (2, 16)), tg.randint(0, 65, (2, 16))
    with inspect.trace(values="sample") as t:
        _, loss = model(x, y)
        loss.backward()
    return t


def modules(tab: Any) -> None:
    """As it opens."""


def opened(tab: Any) -> None:
    """A block opened, and in it the product that makes queries, keys and values."""
    search(tab, "h.0.attn.c_attn linear")


def backward(tab: Any) -> None:
    """The step of backward through the output layer: one element with its numbers."""
    tab.locator("#backward").click()
    while "linear in lm_head" not in tab.locator("#step-text").text_content():
        tab.locator("#next").click()
    tab.locator("#details .worked").evaluate("box => box.scrollIntoView()")


def summed(tab: Any) -> None:
    """The step through the embedding, whose table has a gradient from the output layer already."""
    tab.locator("#position").press("End")
    while "backward, embedding in wte" not in tab.locator("#step-text").text_content():
        tab.locator("#previous").click()
    tab.locator("#details .sum").evaluate("box => box.scrollIntoView({block: 'end'})")


def search(tab: Any, text: str) -> None:
    tab.locator("#search").fill(text)
    tab.locator("#search").press("Enter")


PICTURES: dict[str, tuple[Callable[[Any], None], str]] = {
    "inspect-modules": (modules, "light"),
    "inspect-open": (opened, "light"),
    "inspect-backward": (backward, "light"),
    "inspect-backward-dark": (summed, "dark"),
}


def main() -> None:
    """Write the pictures."""
    from playwright.sync_api import sync_playwright

    out = Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder, "graph.html")
        gpt_trace().save(path)
        browser = launch(playwright)
        for name, (show, scheme) in PICTURES.items():
            size = {"width": 1280, "height": 800}
            tab = browser.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
            tab.goto(path.as_uri())
            tab.wait_for_selector("html[data-ready=true]")
            show(tab)
            tab.mouse.move(640, 795)
            tab.wait_for_timeout(100)
            tab.screenshot(path=out / f"{name}.png")
            tab.close()
        browser.close()


if __name__ == "__main__":
    main()
