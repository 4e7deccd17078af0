"""What to say when somebody asks for a name that is not here: that it is not, and what is nearest to it."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, NoReturn

ROOT = __package__
# Where names of PyTorch's live, in the order in which they are looked up.
NAMESPACES = (
    "", "Tensor", "nn", "nn.functional", "nn.init", "nn.utils", "optim", "optim.lr_scheduler", "linalg", "special",
    "autograd", "utils.checkpoint", "utils.data", "cuda", "amp",
)  # fmt: skip
# Names whose meaning has a better counterpart than their spelling shows.
INSTEAD = {
    "complex64": "float32",
    "complex128": "float64",
    "einops": "einsum",
    "DataParallel": "nn.Module",
    "distributed": "utils.data.DataLoader",
    "LBFGS": "optim.Adam",
    "gradcheck": "testing.gradcheck",
    "gradgradcheck": "testing.gradgradcheck",
}
NEAR = 0.8  # how similar two spellings are that are worth naming, from 0 to 1: one letter in five may differ


def getter(namespace: str) -> Callable[[str], ModuleType]:
    """A `__getattr__` for the module tinygrad_edu.<namespace> ("" is the package itself).

    It imports a submodule that nobody has imported yet, so that `tinygrad_edu.testing` need not be imported by itself.
    """
    module = ".".join(filter(None, [ROOT, namespace]))

    def __getattr__(name: str) -> ModuleType:
        if name.startswith("_"):  # Python and its tools ask for these to learn what a module can do
            raise AttributeError(f"module {module!r} has no attribute {name!r}", name=name, obj=sys.modules[module])
        if hasattr(sys.modules[module], "__path__") and importlib.util.find_spec(f"{module}.{name}"):
            return importlib.import_module(f"{module}.{name}")
        raise _error(namespace, name)

    return __getattr__


def of_tensor(self: Any, name: str) -> NoReturn:
    """A `__getattr__` for Tensor."""
    if name.startswith("_"):
        raise AttributeError(f"'{type(self).__name__}' object has no attribute {name!r}")
    raise _error("Tensor", name)


def _error(namespace: str, name: str) -> AttributeError:
    # With a name and an object Python would add a suggestion of its own, and unless told None it fills them in.
    return AttributeError(explain(namespace, name), name=None, obj=None)


def explain(namespace: str, name: str) -> str:
    """The sentence for a name that is absent from tinygrad_edu.<namespace>."""
    where = ".".join(filter(None, [ROOT, namespace]))
    from .torch_names import NAMES  # long, and only needed here

    known = name in NAMES.get(namespace, ())
    what = "PyTorch has it, this framework does not" if known else "PyTorch has no such name either"
    near = nearest(namespace, name)
    return f"{where} has no {name!r} ({what}; see docs/torch-compatibility.md); " + (
        f"nearest: {', '.join(near)}" if near else "no name here is near to it"
    )


def nearest(namespace: str, name: str, n: int = 3) -> list[str]:
    """Up to n names of ours that are most like this one: the same name elsewhere, then similar spellings."""
    found = [INSTEAD[name]] if name in INSTEAD else []
    for other in NAMESPACES:
        if other != namespace and not found and name in _names_in(other):
            found.append(f"{other}.{name}" if other else f"{ROOT}.{name}")
    names = _names_in(namespace)
    close = difflib.get_close_matches(name.lower(), sorted({other.lower() for other in names}), n, NEAR)
    found += [other for spelling in close for other in names if other.lower() == spelling]
    return list(dict.fromkeys(found))[:n]


def public(names: Mapping[str, Any]) -> Iterator[str]:
    """The public ones among a module's names, without its submodules: its `__all__`, by which help() lists them."""
    return (name for name in sorted(names) if name[0] != "_" and not isinstance(names[name], ModuleType))


def _names_in(namespace: str) -> list[str]:
    """The public names of tinygrad_edu.<namespace>; none while that is still being imported."""
    found: Any = sys.modules[ROOT]
    for part in filter(None, namespace.split(".")):
        found = vars(found).get(part)
        if found is None:
            return []
    return list(public(vars(found)))
