"""What is offered, what differs from PyTorch, what is absent: `docs/torch-compatibility.md`.

`python -m tinygrad_edu.testing.surface` writes the page; with --names it first asks an installed PyTorch for its public
names and keeps them in `tinygrad_edu/torch_names.py`, so that neither the page nor error messages need PyTorch.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from .. import torch_names
from ..absent import NAMESPACES
from ..absent import ROOT as PACKAGE
from .differences import EVERYWHERE, OF
from .op_table import exists, records, resolve

tinygrad_edu = importlib.import_module(PACKAGE)  # the layer above, which is what is described here
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "torch-compatibility.md"

# Names that Python programs do not use: internals, old aliases, quantised and sparse kernels, other packages' helpers.
_INTERNAL = re.compile(
    r"^(cudnn|miopen|mkldnn|fbgemm|quantized|fake_quant|sym_|autocast_|import_ir|parse_|per_(channel|tensor)|q_|merge_type|"
    r"get_autocast|set_autocast|batch_norm_|bits?\d|bit$|fused_moving|choose_q|sparse_support|profiler_|native_|"
    r"has_torch_function|handle_torch|Broadcasting|GRID_SAMPLE|DEVICE_REQ|PYTORCH_REL|TYPE_CHECKING|EPOCH_DEPR|Param[S]pec|"
    r"u?int[1-7]$|q?u?int\dx\d|qu?int\d|float[48]_|hash_tensor|unify_type|thread_safe|factory_kwargs|prepare_multi|runtime_val|"
    r"argument_val|guaranteed_data|functional_data|non_determ|enforce_grad|kineto|Profiler|NestedIO|is_view_replay|common_|"
    r"multi_dim_common|compiled_with|class[p]roperty|capture_logs|LoggingTensor|TorchDispatch|tree_map|Text$|SavedTensor|GraphExec|SAC_|annotations$|override$|ref$|bisect_right$|cudart|cudaStatus|wait$|fork$)"
    r"|AVG$|SUM$|PRIVATE_|USE_|(?!index_copy).*(_copy|_notes|Storage)$|^(Compilation|JIT|Script|Sym|Call|Deferred)|.*Type$"
)
_TYPES = set(
    """
    Tensor Size Generator device dtype finfo iinfo no_grad enable_grad inference_mode set_grad_enabled autocast
    GradScaler FloatTensor DoubleTensor HalfTensor LongTensor IntTensor ShortTensor CharTensor ByteTensor BoolTensor
    graph layout memory_format OutOfMemoryError AcceleratorError BFloat16Tensor CUDAGraph CUDAPluggableAllocator
    CudaError Event ExternalStream GreenContext MemPool Stream StreamContext device_of
    """.split()
)
_MODULES = {
    "": """
        distributed distributions export fft func fx hub jit masked mps multiprocessing nested onnx overrides package
        profiler quantization sparse xpu
    """.split(),
    "cuda": "amp gds graphs green_contexts jiterator memory nccl nvtx profiler random sparse streams tunable".split(),
}


def names_of_torch(namespace: str) -> list[str]:
    """The public names of torch.<namespace>, asked from PyTorch itself."""
    import torch

    holder = _resolve(torch, namespace)
    modules = _MODULES.get(namespace, ())
    found = []
    for name in sorted({*dir(holder), *modules}):  # its modules may not be imported yet
        value = getattr(holder, name, None)
        module = (getattr(value, "__module__", None) or "").partition(".")[0]
        if name in modules:
            found.append(name)
            continue
        if name[0] == "_" or isinstance(value, ModuleType) or module not in ("torch", "builtins", ""):
            continue
        if namespace in ("", "cuda") and (
            name not in _TYPES and (isinstance(value, type) or name[-1] == "_")  # in-place forms are methods
        ):
            continue
        if not _INTERNAL.match(name) and not (name in ("Tensor", "Optimizer") and namespace not in ("", "optim")):
            found.append(name)
    return found


def write_names(path: Path) -> None:
    """Write PyTorch's public names as a Python module."""
    import torch

    lines = [
        '"""The public names of PyTorch, as `python -m tinygrad_edu.testing.surface --names` found them."""',
        "",
        f'VERSION = "{torch.__version__.partition("+")[0]}"',
        "NAMES = {",
    ]
    for namespace in NAMESPACES:
        text = textwrap.fill(" ".join(names_of_torch(namespace)), 110, break_on_hyphens=False)
        lines += [f'    "{namespace}": """', *textwrap.indent(text, "        ").split("\n"), '    """.split(),']
    path.write_text("\n".join([*lines, "}"]) + "\n", "utf-8")


def offered(namespace: str) -> dict[str, Any]:
    """Our public names of one namespace, with what they stand for."""
    holder = _resolve(tinygrad_edu, namespace)
    found = {}
    for name, value in vars(holder).items():
        elsewhere = namespace and namespace != "Tensor" and not _belongs(holder, name, value)
        if name[0] != "_" and not isinstance(value, (ModuleType, TypeVar)) and not elsewhere:
            found[name] = value
    return {name: found[name] for name in sorted(found, key=_alphabetical)}


def _alphabetical(name: str) -> tuple[str, str]:
    return name.lower(), name


def _belongs(holder: Any, name: str, value: Any) -> bool:
    """Whether a module offers this name, rather than having imported it for its own use."""
    source = inspect.getsource(holder)
    if " import *" in source:  # a module that stands for another one
        return bool(getattr(value, "__module__", None))
    exported = rf"from (?!typing).* import \w+ as {name}$"
    defined = rf"(def|class) {name}\b"
    assigned = rf"([\w, ]+, )?{name}(, [\w, ]+)?( = |: )"
    return bool(re.search(rf"^\s*({exported}|{defined}|{assigned})", source, re.M))


def signature(value: Any) -> str:
    """The arguments of a function or class, without their types; '' for what is not called."""
    if not callable(value):
        return ""
    try:
        parameters = inspect.signature(value).parameters.values()
    except ValueError:
        return "(...)"
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters if p.name != "self"]
    text = str(inspect.Signature(plain))
    return re.sub(r" at 0x[0-9a-f]+|<(class|function) '?([\w.]+)'?>", r"\2", text)


# Where a namespace is tested first of all; a name that no record describes is looked for there before elsewhere.
_TESTS = {
    "": ("test_tensor", "test_surface"), "Tensor": ("test_tensor", "test_engine"), "nn": ("test_nn",),
    "nn.functional": ("test_nn",), "nn.init": ("test_init",), "nn.utils": ("test_nn",), "optim": ("test_optim",),
    "optim.lr_scheduler": ("test_lr_scheduler",), "autograd": ("test_engine", "test_gradcheck"),
    "amp": ("test_amp",), "cuda": ("test_gpu", "test_surface"),
    "utils.checkpoint": ("test_recompute",), "utils.data": ("test_data",),
}  # fmt: skip


def proofs() -> Callable[[str, str, Any], str]:
    """A function that says where a name is tested: its record in the op table, or a test file that uses it."""
    families: dict[Any, str] = {}
    for family, entries in records().items():
        for entry in entries:
            name = entry.name.partition("(")[0].strip()
            families.setdefault(name, family)
            families.setdefault(f"Tensor.{name}_", family)
            if exists(tinygrad_edu, name):
                families.setdefault(resolve(tinygrad_edu, name), family)
    tests = {path.stem: path.read_text("utf-8") for path in sorted((ROOT / "tests").glob("test_*.py"))}
    words = {name: set(re.findall(r"\w+", text)) for name, text in tests.items()}

    def proof(namespace: str, name: str, value: Any) -> str:
        for known in (value if callable(value) else None, f"{namespace}.{name}" if namespace else name):
            if known in families:
                return f"records of {families[known]}"
        preferred = _TESTS.get(namespace, ("test_surface",))
        places = sorted((file for file in words if name in words[file]), key=lambda f: not f.startswith(preferred))
        return f"`{places[0]}.py`" if places else ""

    return proof


def page() -> str:
    """The text of docs/torch-compatibility.md."""
    proof = proofs()
    spaces = {space: offered(space) for space in NAMESPACES}
    count = sum(len(names) for names in spaces.values())
    sections = (line for space in NAMESPACES for line in _section(space, spaces[space], proof))
    return "\n".join([*_introduction(count), *sections, ""]).rstrip("\n") + "\n"


def _introduction(count: int) -> Iterator[str]:
    text = (
        f"The {count} public names below mean what they mean in PyTorch {torch_names.VERSION}, with the arguments that "
        "are shown, their order and their defaults. *Proof* names the records of the op table (in "
        "`tinygrad_edu/testing/table/`: value, gradient, dtype and errors are compared with PyTorch's) or a file of "
        "tests. `python -m tinygrad_edu.testing.surface` writes this page."
    )
    yield from ("# What is offered, and what differs from PyTorch", "", textwrap.fill(text, 118), "")
    yield from ("## Differences everywhere", "")
    yield from (textwrap.fill(f"- {text}", 118, subsequent_indent="  ") for text in EVERYWHERE)
    yield ""


def _section(namespace: str, names: dict[str, Any], proof: Callable[[str, str, Any], str]) -> Iterator[str]:
    theirs = set(torch_names.NAMES[namespace])
    yield f"## tinygrad_edu{'.' if namespace else ''}{namespace}"
    yield ""
    yield "| name and arguments | differs | proof |"
    yield "| --- | --- | --- |"
    for name, value in names.items():
        dotted = f"{namespace}.{name}" if namespace else name
        notes = [OF[dotted]] if dotted in OF else []
        # PyTorch's list of names holds its in-place functions as methods of Tensor alone.
        if name not in theirs and not (not namespace and name[-1] == "_" and name in torch_names.NAMES["Tensor"]):
            notes.append("not in PyTorch")
        call = f"{name}{signature(value)}".replace("|", "\\|")
        yield f"| `{call}` | {'; '.join(notes)} | {proof(namespace, name, value)} |"
    absent = sorted(theirs - set(names) - set(dir(_resolve(tinygrad_edu, namespace))), key=_alphabetical)
    if absent:
        yield ""
        yield f"Not here ({len(absent)}):"
        yield textwrap.fill(", ".join(f"`{name}`" for name in absent) + ".", 118, break_on_hyphens=False)
    yield ""


def _resolve(root: Any, dotted: str) -> Any:
    for part in filter(None, dotted.split(".")):
        root = getattr(root, part)
    return root


def main(arguments: list[str]) -> int:
    """Write the page, and with --names PyTorch's names before it."""
    if arguments not in ([], ["--names"]):
        print("usage: python -m tinygrad_edu.testing.surface [--names]", file=sys.stderr)
        return 2
    if arguments:
        write_names(Path(torch_names.__file__))
        print("wrote tinygrad_edu/torch_names.py; run again without --names to write the page")
        return 0
    PAGE.write_text(page(), "utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
