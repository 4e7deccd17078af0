"""What to say when somebody asks for a name that is not here: that it is not, and what is nearest to it."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Callable
from typing import Any, NoReturn

ROOT = __package__
# Where names of PyTorch's live, in the order in which they are looked up.
NAMESPACES = (
    "", "Tensor", "nn", "nn.functional", "nn.init", "nn.utils", "optim", "optim.lr_scheduler", "linalg", "special",
    "autograd", "utils.data", "cuda", "amp",
)  # fmt: skip
# Names whose meaning has a better counterpart than their spelling shows.
INSTEAD = {
    "rrelu": ("nn.functional.leaky_relu",),
    "jit": ("compile",),
    "complex64": ("float32",),
    "complex128": ("float64",),
    "einops": ("einsum",),
    "DataParallel": ("nn.Module",),
    "distributed": ("utils.data.DataLoader",),
    "LBFGS": ("optim.Adam",),
    "eig": ("linalg.norm",),
}


def getter(namespace: str) -> Callable[[str], NoReturn]:
    """A `__getattr__` for the module tinygrad_edu.<namespace> ("" is the package itself)."""

    def __getattr__(name: str) -> NoReturn:
        module = ".".join(filter(None, [ROOT, namespace]))
        if name.startswith("_"):  # Python and its tools ask for these to learn what a module can do
            raise AttributeError(f"module {module!r} has no attribute {name!r}", name=name, obj=sys.modules[module])
        # Not name= and obj=: Python would add its own suggestion.
        raise AttributeError(explain(namespace, name))

    return __getattr__


def of_tensor(self: Any, name: str) -> NoReturn:
    """A `__getattr__` for Tensor."""
    if name.startswith("_"):
        raise AttributeError(f"'{type(self).__name__}' object has no attribute {name!r}")
    raise AttributeError(explain("Tensor", name))


def explain(namespace: str, name: str) -> str:
    """The sentence for a name that is absent from tinygrad_edu.<namespace>."""
    where = ".".join(filter(None, [ROOT, namespace]))
    if hasattr(sys.modules.get(where), "__path__") and importlib.util.find_spec(f"{where}.{name}"):
        return f"{where}.{name} is a module that is not imported yet; write `import {where}.{name}`"
    from .torch_names import NAMES  # long, and only needed here

    known = name in NAMES.get(namespace, ())
    what = "PyTorch has it, this framework does not" if known else "PyTorch has no such name either"
    near = nearest(namespace, name)
    return f"{where} has no {name!r} ({what}; see docs/torch-compatibility.md)" + (
        f"; nearest: {', '.join(near)}" if near else ""
    )


def nearest(namespace: str, name: str, n: int = 3) -> list[str]:
    """Up to n names of ours that are most like this one: the same name elsewhere, then similar spellings."""
    found = [other for other in INSTEAD.get(name, ()) if _resolve(other) is not None]
    for other in NAMESPACES:
        if other != namespace and not found and name in public(other):
            found.append(f"{other}.{name}" if other else f"{ROOT}.{name}")
    names = public(namespace)
    close = difflib.get_close_matches(name, names, n, 0.6)
    return list(dict.fromkeys(found + close))[:n]


def public(namespace: str) -> list[str]:
    """The public names of tinygrad_edu.<namespace>, without its submodules."""
    holder = _resolve(namespace)
    return [n for n in vars(holder) if n[0] != "_" and type(vars(holder)[n]).__name__ != "module"] if holder else []


def _resolve(dotted: str) -> Any:
    """What a dotted name below the package stands for; None if nothing does."""
    found: Any = sys.modules[ROOT]
    for part in filter(None, dotted.split(".")):
        found = vars(found).get(part)
        if found is None:
            return None
    return found
