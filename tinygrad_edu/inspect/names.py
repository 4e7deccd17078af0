"""What nodes and tensors are called in words: module path, source line, parameter name."""

from __future__ import annotations

import os
from collections.abc import Iterable
from types import CodeType, FrameType
from typing import Any

from ..autograd.engine import Node
from ..nn.module import Module
from ..tensor import Tensor
from .recorder import _paths, _source_line, _variables


class Names:
    """Names for the nodes of a graph and the tensors in it: as the modules that ran know them, or else variables."""

    def __init__(self, nodes: Iterable[Any], frame: FrameType | None = None, model: Module | None = None):
        scopes: dict[int, Any] = {}
        for node in nodes:
            self._add(scopes, getattr(node, "scope", None))
        held = {} if frame is None else _modules(frame)
        self._paths = _paths(list(scopes.values()))
        for scope in scopes.values():  # a layer that was called by itself is better known by its variable
            if scope[0] is None and id(scope[1]) in held and next(scope[1].children(), None) is None:
                self._paths[id(scope)] = held[id(scope[1])][0]
        ran = [(self._paths[id(scope)], scope[1]) for scope in scopes.values() if scope[0] is None]
        self._tensors = _parameters(held.values())
        self._tensors |= _parameters([*ran, *([("", model)] if model else [])])
        self._variables: dict[Any, str] = {} if frame is None else _variables(frame)

    def _add(self, scopes: dict[int, Any], scope: Any) -> None:
        """Callers first, as `_paths` wants them."""
        if scope is not None and id(scope) not in scopes:
            self._add(scopes, scope[0])
            scopes[id(scope)] = scope

    def path(self, node: Any) -> str:
        """The module that a node, or another thing with a `scope`, ran in: "h.3.attn", or the class of a model."""
        if node.scope is None:
            return ""
        return self._paths.get(id(node.scope)) or type(node.scope[1]).__name__

    def place(self, node: Node) -> str:
        """Operation, module and line: "linear in h.3.attn.c_attn (model.py:59)"."""
        path = self.path(node)
        return f"{node.op.name}{' in ' + path if path else ''} ({line(node)})"

    def of(self, tensor: Tensor) -> list[str]:
        """All names of a tensor; a shared parameter has several, one that nobody knows has none."""
        variable = self._variables.get(id(tensor._array))
        return self._tensors.get(id(tensor)) or ([variable] if variable else [])

    def tensor(self, tensor: Tensor) -> str:
        """A tensor's name, or what it looks like."""
        names = self.of(tensor)
        return names[0] if names else f"a tensor of shape {tuple(tensor.shape)}"


def _parameters(modules: Iterable[tuple[str, Module]]) -> dict[int, list[str]]:
    """The names of all parameters of modules with these paths, by the identity of the tensors."""
    found: dict[int, list[str]] = {}
    for path, module in modules:
        for name, p in module.named_parameters(path, remove_duplicate=False):
            names = found.setdefault(id(p), [])
            names += [] if name in names else [name]
    return found


def _modules(frame: FrameType) -> dict[int, tuple[str, Module]]:
    """The modules in a frame's variables, by identity, with their names."""
    held = {**frame.f_globals, **frame.f_locals}
    return {id(value): (name, value) for name, value in held.items() if isinstance(value, Module)}


def line(node: Node) -> str:
    """`file:line` of the user's code, as short as it is clear."""
    return code_line(*node.where)


def code_line(code: CodeType, instruction: int) -> str:
    """`file:line` of an instruction; the file from the folder that the program runs in, or its last two parts."""
    found = _source_line(code, instruction)
    file = found.file if not os.path.isabs(found.file) else os.sep.join(found.file.split(os.sep)[-2:])
    return f"{file}:{found.line}"
