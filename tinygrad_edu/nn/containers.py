"""Modules that hold modules or parameters: in a row, in a list, in a dict."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Self, cast

from ..tensor import Tensor
from .module import Module, indented
from .parameter import Parameter


class _Row(Module):
    """What Sequential and ModuleList share: they behave as a list of their modules."""

    def _listed(self) -> list[tuple[str, Module]]:
        return cast(list[tuple[str, Module]], list(self._modules.items()))

    def _key(self, index: int) -> str:
        """The name of the module at a position, which may count from the end."""
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} modules")
        return list(self._modules)[index]

    def _arrange(self, entries: Iterable[tuple[str, Module]]) -> None:
        """Hold these modules in this order, with the numbers among their names following it."""
        named: dict[str, Module | None] = {}
        for i, (key, module) in enumerate(entries):
            named[str(i) if key.isdigit() else key] = module
        self._modules = named

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(cast(dict[str, Module], self._modules).values())

    def __getitem__(self, index: int | slice) -> Any:
        """The module at a position; for a slice, a container of the same class with those modules."""
        return self._modules[self._key(index)] if not isinstance(index, slice) else self._part(self._listed()[index])

    def _part(self, entries: list[tuple[str, Module]]) -> Self:
        return type(self)([module for _, module in entries])  # type: ignore[call-arg]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._key(index), module)

    def __delitem__(self, index: int | slice) -> None:
        entries = self._listed()
        if not isinstance(index, slice):
            self._key(index)  # checks it
        del entries[index]
        self._arrange(entries)

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        number = len(self)
        while str(number) in self._modules:  # a slice keeps the names that its modules had
            number += 1
        self.add_module(str(number), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end, in order."""
        if not isinstance(modules, Iterable):
            raise TypeError(
                f"{self._get_name()}.extend should be called with an iterable, got {type(modules).__name__}"
            )
        for module in list(modules):
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Add a module before the one at this position."""
        if not -len(self) <= index <= len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} modules")
        self.append(module)
        entries = self._listed()
        entries.insert(index + len(self) - 1 if index < 0 else index, entries.pop())
        self._arrange(entries)
        return self

    def pop(self, index: int | slice = -1) -> Any:
        """Take out and return the module at a position."""
        taken = self[index]
        del self[index]
        return taken

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)


class Sequential(_Row):
    """Modules that run one after another, each on the output of the one before.

    `Sequential(a, b)` names them "0", "1"; an OrderedDict of modules gives them its names.
    """

    def __init__(self, *args: Module | OrderedDict[str, Module]) -> None:
        super().__init__()
        if len(args) == 1 and isinstance(args[0], OrderedDict):
            for name, module in args[0].items():
                self.add_module(name, module)
        elif len(args) == 1 and isinstance(args[0], (list, tuple)):
            raise TypeError(f"Sequential takes modules, got a {type(args[0]).__name__}; write Sequential(*modules)")
        else:
            for i, arg in enumerate(args):
                self.add_module(str(i), cast(Module, arg))

    def forward(self, input: Any) -> Any:
        for module in self._modules.values():
            input = module(input)  # type: ignore[misc]
        return input

    def _part(self, entries: list[tuple[str, Module]]) -> Self:
        return type(self)(OrderedDict(entries))

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(f"add operator supports only objects of Sequential class, but {type(other)} is given.")
        return Sequential(*self, *other)


class ModuleList(_Row):
    """Modules in a list, registered so that their parameters are found. It has no forward of its own."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __repr__(self) -> str:
        runs: list[tuple[int, int, str]] = []  # (first, last, repr) of equal neighbours
        for i, module in enumerate(self):
            text = indented(module)
            if runs and runs[-1][2] == text:
                runs[-1] = (runs[-1][0], i, text)
            else:
                runs.append((i, i, text))
        lines = [
            f"({first}): {text}" if first == last else f"({first}-{last}): {last - first + 1} x {text}"
            for first, last, text in runs
        ]
        return f"{self._get_name()}()" if not lines else "\n  ".join([f"{self._get_name()}(", *lines]) + "\n)"


class ModuleDict(Module):
    """Modules by name, registered so that their parameters are found. It has no forward of its own."""

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Any:
        return self._modules[key]

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        del self._modules[key]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> ValuesView[Any]:
        """The modules."""
        return self._modules.values()

    def items(self) -> ItemsView[str, Any]:
        """The names with their modules."""
        return self._modules.items()

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Add modules from a mapping or from pairs, replacing those of the same names."""
        for key, module in _pairs(self, modules):
            self[key] = module

    def pop(self, key: str) -> Module:
        """Take out and return a module."""
        module = self[key]
        del self[key]
        return module

    def clear(self) -> None:
        """Take out all modules."""
        self._modules.clear()


class ParameterList(Module):
    """Parameters in a list, registered. Tensors become Parameters; other objects are kept as they are."""

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._size = 0
        if values is not None:
            self.extend(values)

    def _key(self, index: int) -> str:
        index = operator.index(index)
        if not -self._size <= index < self._size:
            raise IndexError(f"index {index} is out of range for {self._size} entries")
        return str(index % self._size)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(list(self)[index])
        return getattr(self, self._key(index))

    def __setitem__(self, index: int, value: Any) -> None:
        setattr(self, self._key(index), _as_parameter(value))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, str(i)) for i in range(self._size))

    def append(self, value: Any) -> Self:
        """Add an entry at the end."""
        setattr(self, str(self._size), _as_parameter(value))
        self._size += 1
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add entries at the end, in order."""
        if not isinstance(values, Iterable) or isinstance(values, Tensor):
            raise TypeError(f"ParameterList.extend should be called with an iterable, got {type(values).__name__}")
        for value in list(values):
            self.append(value)
        return self

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def extra_repr(self) -> str:
        return "\n".join(f"  ({i}): {_described(value)}" for i, value in enumerate(self))


class ParameterDict(Module):
    """Parameters by name, registered. Tensors become Parameters; other objects are kept as they are."""

    def __init__(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]] | None = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}  # the entries, in order
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:
        if key not in self._keys:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        if not isinstance(key, str):
            raise TypeError(f"a key of ParameterDict must be a string, got {type(key).__name__}")
        setattr(self, key, _as_parameter(value))
        self._keys[key] = None

    def __delitem__(self, key: str) -> None:
        del self._keys[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._keys.keys()

    def values(self) -> Iterator[Any]:
        """The entries."""
        return (self[key] for key in self._keys)

    def items(self) -> Iterator[tuple[str, Any]]:
        """The names with their entries."""
        return ((key, self[key]) for key in self._keys)

    def get(self, key: str, default: Any = None) -> Any:
        """The entry of this name, or the default."""
        return self[key] if key in self else default

    def update(self, parameters: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> None:
        """Add entries from a mapping or from pairs, replacing those of the same names."""
        for key, value in _pairs(self, parameters):
            self[key] = value

    def pop(self, key: str) -> Any:
        """Take out and return an entry."""
        value = self[key]
        del self[key]
        return value

    def clear(self) -> None:
        """Take out all entries."""
        for key in list(self._keys):
            del self[key]

    def extra_repr(self) -> str:
        return "\n".join(f"  ({key}): {_described(value)}" for key, value in self.items())


def _as_parameter(value: Any) -> Any:
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


def _described(value: Any) -> str:
    if not isinstance(value, Tensor):
        return f"Object of type: {type(value).__name__}"
    kind = "Parameter" if isinstance(value, Parameter) else "Tensor"
    return f"{kind} containing: [{value.dtype} of size {'x'.join(map(str, value.shape))}]"


def _pairs(container: Module, entries: Any) -> list[tuple[str, Any]]:
    """The entries of a mapping or an iterable of pairs, all checked before any is used."""
    name = type(container).__name__
    if isinstance(entries, (Mapping, ModuleDict, ParameterDict)):
        return list(entries.items())
    if not isinstance(entries, Iterable):
        raise TypeError(
            f"{name}.update should be called with an iterable of key/value pairs, got {type(entries).__name__}"
        )
    pairs = [tuple(entry) for entry in entries]
    for i, pair in enumerate(pairs):
        if len(pair) != 2:
            raise ValueError(f"{name} update sequence element #{i} has length {len(pair)}; 2 is required")
    return pairs
