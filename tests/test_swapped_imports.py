"""The same program text runs with PyTorch and, its imports swapped, with tinygrad_edu, and gives the same losses.

The programs in tests/programs/ are written for PyTorch, in the styles in which people write such programs. Each
defines `main(given, steps, **variant)`, which returns a dictionary: "losses" of every step, and whatever else is to be
the same. Initial weights and the order of batches come from NumPy, because random streams differ.
"""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpt import load_text

PROGRAMS = Path(__file__).parent / "programs"
STEPS = 50
RTOL = 1e-4  # of the loss of every step


class Given:
    """What a program gets: data, random numbers and weights that are the same whatever library it runs with."""

    def __init__(self, text: str, names: list[str], sentences: list[tuple[str, int]], digits: np.ndarray, folder: Path):
        self.text, self.names, self.sentences, self.digits, self.folder = text, names, sentences, digits, folder
        self.rng = np.random.default_rng(1234)

    def fill(self, model: Any, torch: Any) -> None:
        """Give all parameters values that depend on their order and shapes alone; vectors called weight are near 1."""
        rng = np.random.default_rng(99)
        with torch.no_grad():
            for name, p in model.named_parameters():
                values = rng.standard_normal(tuple(p.shape)) * 0.1
                if p.dim() == 1 and "weight" in name:
                    values += 1
                p.copy_(torch.from_numpy(values.astype(np.float32)))


SWAPS = (
    (r"^import torch$", "import tinygrad_edu as torch"),
    (r"^import torch\.(\S+) as (\w+)$", r"import tinygrad_edu.\1 as \2"),
    (r"^from torch(\.\S+)? import ", r"from tinygrad_edu\1 import "),
)


def swapped(source: str) -> str:
    """The program with its imports changed, and nothing else."""
    for pattern, replacement in SWAPS:
        source = re.sub(pattern, replacement, source, flags=re.MULTILINE)
    assert not re.search(r"^\s*(import|from) torch\b", source, re.MULTILINE), "an import that is not swapped"
    return source


def load(path: Path, swap: bool) -> dict[str, Any]:
    source = path.read_text("utf-8")
    namespace: dict[str, Any] = {"__name__": path.stem}
    exec(compile(swapped(source) if swap else source, str(path), "exec", dont_inherit=True), namespace)
    return namespace


def same(ours: Any, theirs: Any, where: str) -> None:
    """Losses to RTOL; other numbers to a little more, for their rounding errors have piled up; the rest exactly."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), where
        for key in theirs:
            same(ours[key], theirs[key], f"{where}[{key!r}]")
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs), where
        for i, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            same(our, their, f"{where}[{i}]")
    elif isinstance(theirs, (float, np.ndarray)):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4, err_msg=where)
    else:
        assert ours == theirs, where


def programs() -> Iterator[Any]:
    for path in sorted(PROGRAMS.glob("*.py")):
        last = ast.parse(path.read_text("utf-8")).body[-1]
        variants = ast.literal_eval(last.value) if isinstance(last, ast.Assign) else {"": {}}
        for name, variant in variants.items():
            yield pytest.param(path, variant, id=f"{path.stem}-{name}".strip("-").replace(" ", "-"))


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, data_dir: Path) -> Callable[[str], Given]:
    """Real data, in small parts; the same for both libraries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TINYGRAD_EDU_DATA", str(data_dir))
        patch.setenv("TINYGRAD_EDU_CACHE", str(tmp_path_factory.mktemp("cache")))
        text = load_text("shakespeare")[:20_000]
        names = [row.split(",")[0] for row in load_text("names-pl-female").splitlines()[1:151]]
        try:
            reviews = [(load_text(f"polarity-{kind}").splitlines()[:100], i) for i, kind in enumerate(("neg", "pos"))]
        except FileNotFoundError:  # Shakespeare's lines stand in: does the line end with a question?
            lines = [line.lower() for line in text.splitlines() if " " in line]
            reviews = [([x for x in lines if x.endswith("?") == bool(i)][:100], i) for i in (0, 1)]
        sentences = [(line, label) for lines, label in reviews for line in lines]
        digits = np.loadtxt(load_text("digits").splitlines()[:400], delimiter=",", dtype=np.int64)

    def make(library: str) -> Given:
        return Given(text, names, sentences, digits, tmp_path_factory.mktemp(library))

    return make


@pytest.mark.parametrize("path, variant", list(programs()))
def test_a_program_gives_the_same_losses_after_swapping_its_imports(
    path: Path, variant: dict[str, Any], given: Callable[[str], Given]
) -> None:
    import torch

    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, of what the program's style is known for
        theirs = load(path, swap=False)["main"](given("torch"), STEPS, **variant)
    ours = load(path, swap=True)["main"](given("ours"), STEPS, **variant)

    losses = np.array(theirs["losses"])
    assert losses.shape == (STEPS,) and np.isfinite(losses).all()
    assert losses[-10:].mean() < 0.98 * losses[:5].mean(), "the program learns nothing, so it shows nothing"
    np.testing.assert_allclose(ours.pop("losses"), theirs.pop("losses"), rtol=RTOL)
    same(ours, theirs, path.stem)


def test_the_imports_are_all_that_is_swapped() -> None:
    program = (
        "import torch\nimport torch.nn as nn\nfrom torch.nn import functional as F\nx = torch.ones(1)  # import torch\n"
    )
    assert swapped(program) == (
        "import tinygrad_edu as torch\nimport tinygrad_edu.nn as nn\nfrom tinygrad_edu.nn import functional as F\n"
        "x = torch.ones(1)  # import torch\n"
    )
    for path in PROGRAMS.glob("*.py"):
        changed = [
            line
            for line, new in zip(path.read_text().splitlines(), swapped(path.read_text()).splitlines(), strict=True)
            if line != new
        ]
        assert changed and all(line.startswith(("import torch", "from torch")) for line in changed)


def test_the_programs_need_nothing_of_torch_once_their_imports_are_swapped() -> None:
    for path in PROGRAMS.glob("*.py"):
        names = load(path, swap=True)
        assert "torch" in names, path
        modules = {getattr(value, "__name__", "") for value in names.values() if inspect.ismodule(value)}
        assert not {name for name in modules if name.split(".")[0] == "torch"}
