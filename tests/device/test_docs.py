"""Code of the documentation that is for a GPU, marked ```python gpu, runs on one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCKS = re.compile(r"^```python gpu\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = {page.name: blocks for page in DOCS.glob("*.md") if (blocks := BLOCKS.findall(page.read_text("utf-8")))}


@pytest.mark.parametrize("page", PAGES)
def test_code_in_the_documentation_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shared: dict[str, object] = {"__name__": "docs"}  # the blocks of a page follow each other
    for number, code in enumerate(PAGES[page], start=1):
        exec(compile(code, f"{page}, block {number}", "exec"), shared)


def test_the_page_of_gpus_is_among_them():
    assert len(PAGES["gpu.md"]) >= 3
