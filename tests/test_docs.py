"""Documentation: its code runs, and it shows the code that is there."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

from tinygrad_edu.ops.normalization import LayerNorm

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = re.compile(r"^```python( notest)?\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: Path, notest: bool) -> list[str]:
    return [code for mark, code in BLOCKS.findall(page.read_text(encoding="utf-8")) if bool(mark) == notest]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, notest=False)], ids=lambda p: p.name)
def test_code_in_the_documentation_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shared: dict[str, object] = {"__name__": "docs"}  # the blocks of a page follow each other
    for number, code in enumerate(blocks(page, notest=False), start=1):
        exec(compile(code, f"{page.name}, block {number}", "exec"), shared)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, notest=True)], ids=lambda p: p.name)
def test_code_that_is_not_run_imports_what_exists(page: Path) -> None:
    for code in blocks(page, notest=True):
        imports = [node for node in ast.parse(code).body if isinstance(node, (ast.Import, ast.ImportFrom))]
        exec(compile(ast.Module(imports, []), page.name, "exec"), {})


def test_the_readme_shows_layer_norm_as_it_is() -> None:
    assert inspect.getsource(LayerNorm).strip() in (ROOT / "README.md").read_text(encoding="utf-8")
