"""The shape of the project: what may import what, what an import costs, what an installation holds."""

from __future__ import annotations

import ast
import configparser
import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up. A module imports from its own layer and from those below it.
LAYERS = (
    ("tinygrad_edu.absent", "tinygrad_edu.torch_names"),
    ("tinygrad_edu.backend",),
    ("tinygrad_edu.autograd",),
    ("tinygrad_edu.ops",),
    ("tinygrad_edu.dispatch",),
    ("tinygrad_edu.kernels", "tinygrad_edu.mirror"),
    ("tinygrad_edu.functional", "tinygrad_edu.tensor", "tinygrad_edu.creation", "tinygrad_edu.random"),
    ("tinygrad_edu.autograd.functional",),
    ("tinygrad_edu.serialization", "tinygrad_edu.amp", "tinygrad_edu.settings", "tinygrad_edu.backends"),
    ("tinygrad_edu.linalg", "tinygrad_edu.special", "tinygrad_edu.cuda"),
    ("tinygrad_edu.nn", "tinygrad_edu.optim", "tinygrad_edu.data"),
    ("tinygrad_edu.utils",),  # only PyTorch's places for what stands elsewhere
    ("tinygrad_edu.testing",),
    ("tinygrad_edu.inspect",),
    ("tinygrad_edu",),
    ("tinygrad_edu.doctor",),
    ("gpt",),
    ("examples",),
)
LAYER_OF = {name: height for height, names in enumerate(LAYERS) for name in names}
SOURCES = sorted(path for top in ("tinygrad_edu", "gpt", "examples") for path in (ROOT / top).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


class Import:
    """One module that a file imports: its full name, and whether it is imported along with the file."""

    def __init__(self, path: Path, line: int, name: str, eager: bool) -> None:
        self.path, self.line, self.name, self.eager = path, line, name, eager
        self.top = name.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} imports {self.name}"


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports_of(path: Path) -> Iterator[Import]:
    """The imports that run, so none under `if TYPE_CHECKING`.

    `from package import module` counts as an import of the module.
    """

    def visit(node: ast.AST, eager: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            children: list[ast.AST] = list(node.orelse)
        else:
            children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(path, node.lineno, alias.name, eager)
        elif isinstance(node, ast.ImportFrom):
            package = module_name(path).split(".")
            package = package if path.name == "__init__.py" else package[:-1]
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(path, node.lineno, inner if is_module(inner) else base, eager)
        inside_function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        for child in children:
            yield from visit(child, eager and not inside_function)

    return visit(ast.parse(path.read_text("utf-8")), True)


def layer_of(module: str) -> int:
    """The height of a module. KeyError: a new part of tinygrad_edu that LAYERS does not name yet."""
    parts = module.split(".")
    within = LAYER_OF.get(".".join(parts[:3]))  # a file that PyTorch's names put into the package of a lower layer
    return LAYER_OF[".".join(parts[:2]) if parts[0] == "tinygrad_edu" else parts[0]] if within is None else within


ALL_IMPORTS = [found for path in SOURCES for found in imports_of(path)]


def requirements(*extras: str) -> set[str]:
    """The names by which the packages that an installation with these extras brings are imported."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["options"]["install_requires"].split("\n")
    for extra in extras:
        lines += config["options.extras_require"][extra].split("\n")
    names = (re.split(r"[<>=!~\[ ]", line.strip())[0].lower().replace("-", "_") for line in lines)
    return {re.sub(r"_cuda\d+x$", "", name) for name in names if name}


def test_the_checks_below_see_the_sources():
    eager = {(i.path.name, i.name) for i in ALL_IMPORTS if i.eager}
    assert ("tensor.py", "tinygrad_edu.functional.elementwise") in eager
    assert ("elementwise.py", "tinygrad_edu.dispatch") in eager
    assert ("elementwise.py", "tinygrad_edu.tensor") not in eager  # it stands under TYPE_CHECKING


def test_imports_point_down():
    upwards = [
        str(found)
        for found in ALL_IMPORTS
        if found.top in ("tinygrad_edu", "gpt", "examples")
        and layer_of(found.name) > layer_of(module_name(found.path))
    ]
    assert not upwards


def test_only_backend_and_kernels_name_cupy():
    allowed = (ROOT / "tinygrad_edu/backend", ROOT / "tinygrad_edu/kernels")
    named = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in SOURCES
        if not path.is_relative_to(allowed[0]) and not path.is_relative_to(allowed[1])
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if (isinstance(node, ast.Name) and node.id in ("cupy", "cp"))
        or (isinstance(node, ast.Constant) and node.value == "cupy")  # import_module("cupy")
    ]
    named += [
        str(i) for i in ALL_IMPORTS if i.top == "cupy" and not any(i.path.is_relative_to(a) for a in allowed)
    ]
    assert not named


def test_torch_is_imported_by_testing_alone_and_only_when_called():
    torch = [i for i in ALL_IMPORTS if i.top in ("torch", "transformers")]
    assert not [str(i) for i in torch if i.eager or not i.path.is_relative_to(ROOT / "tinygrad_edu/testing")]


def test_the_engine_names_no_array_library():
    engine = ROOT / "tinygrad_edu/autograd"
    assert not [str(i) for i in ALL_IMPORTS if i.path.is_relative_to(engine) and i.top in ("numpy", "cupy")]


def test_the_model_knows_neither_tokenizers_nor_optimizers_nor_files():
    known = {i.name for i in ALL_IMPORTS if i.eager and i.path == ROOT / "gpt/model.py"}
    ours = {name for name in known if name.startswith(("gpt", "tinygrad_edu"))}
    assert ours == {"gpt.config", "tinygrad_edu", "tinygrad_edu.nn", "tinygrad_edu.nn.functional"}
    assert known.isdisjoint({"io", "json", "pathlib", "safetensors", "tiktoken"})


def test_what_is_imported_is_required():
    def missing(imports: list[Import], *extras: str) -> list[str]:
        known = requirements(*extras) | set(sys.stdlib_module_names) | {"tinygrad_edu", "gpt"}
        known |= {path.stem for path in (ROOT / "examples").glob("*.py")}  # they share a few functions
        return [str(i) for i in imports if i.top not in known]

    package = [i for i in ALL_IMPORTS if not i.path.is_relative_to(ROOT / "examples")]
    for_cpu = [i for i in package if i.path.is_relative_to(ROOT / "tinygrad_edu/kernels/cpu")]
    for_cuda = [i for i in package if i.path.is_relative_to(ROOT / "tinygrad_edu/kernels/cuda")]
    assert not missing([i for i in package if i.eager and i not in for_cpu and i not in for_cuda])
    assert not missing(for_cpu, "fast")
    assert not missing(for_cuda, "cuda12")
    assert not missing(ALL_IMPORTS, "fast", "examples", "test", "cuda12")


IMPORT = """
import sys, numpy
opened = []
sys.addaudithook(lambda event, args: event == "open" and opened.append(str(args[0])))
import {package}
watched = list(opened)
print(sorted(set(sys.modules) & {heavy!r}), [f for f in watched if not f.endswith((".py", ".pyc"))])
"""
HEAVY = {
    "cupy",
    "numba",
    "torch",
    "transformers",
    "matplotlib",
    "tiktoken",
    "safetensors",
    "tyro",
    "pooch",
    "tqdm",
}


@pytest.mark.parametrize("package", ["tinygrad_edu", "gpt"])
def test_import_is_silent_reads_no_files_and_leaves_heavy_packages_alone(package):
    code = IMPORT.format(package=package, heavy=HEAVY)
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "[] []\n", "")


def test_links_in_the_documentation_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert pages and not broken


def test_the_index_lists_every_decision():
    records = sorted(path.name for path in (ROOT / "docs/decisions").glob("*.md"))
    assert [name[:4] for name in records] == [f"{n:04}" for n in range(1, len(records) + 1)]
    listed = re.findall(r"\(decisions/([^)]+)\)", (ROOT / "docs/README.md").read_text("utf-8"))
    assert listed == records


@pytest.mark.slow
def test_an_installation_from_the_built_wheel_works(tmp_path):
    """`pip install` of what `python -m build` makes gives a working command line, without any extra."""

    def run(*command: str | Path) -> str:
        done = subprocess.run(list(map(str, command)), cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    run(sys.executable, "-m", "build", "--outdir", tmp_path / "dist", ROOT)
    venv.create(tmp_path / "venv", with_pip=True)
    bin = tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin")
    run(bin / "python", "-m", "pip", "install", "--quiet", *(tmp_path / "dist").glob("*.whl"))

    where = (
        "import importlib.resources as r; print(*(r.files(p) / 'py.typed' for p in ('tinygrad_edu', 'gpt')))"
    )
    typed = run(bin / "python", "-c", where).split()
    assert all(Path(marker).is_file() and Path(marker).is_relative_to(tmp_path) for marker in typed)
    assert "train" in run(bin / "python", "-m", "gpt", "--help")
    assert "train" in run(bin / "gpt", "--help")
    page = (
        "import tinygrad_edu as tg\nfrom tinygrad_edu import inspect\n"
        "with inspect.trace() as t: tg.ones(3, requires_grad=True).sum().backward()\nt.save('graph.html')"
    )
    run(bin / "python", "-c", page)
    assert (tmp_path / "graph.html").read_text("utf-8").count("</script>") == 2
