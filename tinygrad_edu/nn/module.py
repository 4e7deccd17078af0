"""Module: the base class of layers and models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple, Self

from ..autograd.modes import no_grad, state
from ..backend import capture, dtypes
from ..backend.device import Device
from ..tensor import RemovableHandle, Tensor
from .hooks import Hook, call_with_hooks, register
from .parameter import Parameter

_REGISTRIES = ("_parameters", "_modules", "_buffers")


class IncompatibleKeys(NamedTuple):
    """What `load_state_dict` found missing and what it could not place."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not any(self):
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys}, unexpected_keys={self.unexpected_keys})"


def _forward_undefined(self: Module, *args: Any, **kwargs: Any) -> Any:
    raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" function')


class Module:
    """Base class of layers and models.

    A subclass calls `super().__init__()`, assigns its parameters and submodules as attributes, and defines
    `forward`. Assigning registers: a Parameter among the parameters, a Module among the modules. `register_buffer` adds
    a tensor that is part of the state but is not learned.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _modules: dict[str, Module | None]
    _buffers: dict[str, Tensor | None]
    _non_persistent: set[str]  # names of the buffers that state_dict leaves out
    _forward_pre_hooks: list[Hook]
    _forward_hooks: list[Hook]
    _backward_hooks: list[Hook]

    forward: Callable[..., Any] = _forward_undefined

    def __init__(self) -> None:
        self.__dict__.update(  # not by assignment: __setattr__ looks into these
            training=True, _parameters={}, _modules={}, _buffers={}, _non_persistent=set(),
            _forward_pre_hooks=[], _forward_hooks=[], _backward_hooks=[],
        )  # fmt: skip

    # ---- calling it ------------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward` and the hooks. Operations recorded meanwhile are marked as this module's."""
        if capture.under_way and (recorder := capture.recorder()) is not None:
            recorder.running(self)
        outside = state.scope
        state.scope = (outside, self)  # what `scope(self)` does, without the price of an object
        try:
            if self._forward_pre_hooks or self._forward_hooks or self._backward_hooks:
                return call_with_hooks(self, args, kwargs)
            return self.forward(*args, **kwargs)
        finally:
            state.scope = outside

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before every forward; what it returns, unless None, replaces the arguments.

        with_kwargs: call `hook(module, args, kwargs)`, which may return (args, kwargs). prepend: before earlier hooks.
        """
        return register(self._forward_pre_hooks, Hook(hook, with_kwargs), prepend)

    def register_forward_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after every forward; what it returns, unless None, replaces the output.

        with_kwargs: call `hook(module, args, kwargs, output)`. prepend: before earlier hooks.
        """
        return register(self._forward_hooks, Hook(hook, with_kwargs), prepend)

    def register_full_backward_hook(self, hook: Callable[..., Any], prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when backward has passed through the module.

        Both are tuples, one entry per positional argument and per output, None where there is no gradient. What the
        hook returns, unless None, replaces grad_input. prepend: before earlier hooks.
        """
        return register(self._backward_hooks, Hook(hook), prepend)

    # ---- registering -----------------------------------------------------------------------------------------------

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under this name; None reserves the name for a parameter that is absent."""
        self._check_name("parameter", "_parameters", name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type(param).__name__}' object to parameter '{name}' (nn.Parameter or None required)"
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that belongs to the module's state but is not learned.

        persistent=False leaves it out of `state_dict`. None reserves the name.
        """
        self._check_name("buffer", "_buffers", name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' (Tensor or None required)"
            )
        self._buffers[name] = tensor
        (self._non_persistent.discard if persistent else self._non_persistent.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a submodule under this name."""
        self._check_name("module", "_modules", name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"cannot assign '{type(module).__name__}' object as module '{name}': not a Module subclass")
        self._modules[name] = module

    register_module = add_module

    def _check_name(self, kind: str, registry: str, name: str) -> None:
        own = self.__dict__
        if registry not in own:
            raise AttributeError(
                f"cannot assign {kind} '{name}' before Module.__init__() call; begin {type(self).__name__}.__init__ "
                "with super().__init__()"
            )
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string, got {type(name).__name__}")
        if "." in name:
            raise KeyError(f'{kind} name can\'t contain ".", got {name!r}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if name not in own[registry] and (
            name in own or hasattr(type(self), name) or any(name in own[other] for other in _REGISTRIES)
        ):
            raise KeyError(
                f"attribute '{name}' already exists in {type(self).__name__}; use another name for the {kind}"
            )

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if isinstance(value, Parameter):
            self._forget(name, but="_parameters")
            self.register_parameter(name, value)
        elif name in own.get("_parameters", ()):
            self.register_parameter(name, value)
        elif isinstance(value, Module):
            self._forget(name, but="_modules")
            self.add_module(name, value)
        elif name in own.get("_modules", ()):
            self.add_module(name, value)
        elif name in own.get("_buffers", ()):
            self.register_buffer(name, value, persistent=name not in self._non_persistent)
        else:
            super().__setattr__(name, value)

    def _forget(self, name: str, but: str) -> None:
        """Remove what the name meant, except in one registry, where it keeps its place in the order."""
        own = self.__dict__
        own.pop(name, None)
        for registry in _REGISTRIES:
            if registry != but and registry in own:
                own[registry].pop(name, None)
        own.get("_non_persistent", set()).discard(name)

    def __getattr__(self, name: str) -> Any:
        own = self.__dict__
        for registry in _REGISTRIES:
            registered = own.get(registry)
            if registered and name in registered:
                return registered[name]
        if hasattr(type(self), name):  # a property whose own code raised AttributeError: let it say why
            return object.__getattribute__(self, name)
        message = f"'{type(self).__name__}' object has no attribute '{name}'"
        if "_parameters" not in own:
            message += f"; begin {type(self).__name__}.__init__ with super().__init__()"
        for registry in _REGISTRIES:
            if own.get(registry):
                message += f"; its {registry[1:]}: {', '.join(own[registry])}"
        raise AttributeError(message, name=name, obj=self)

    def __delattr__(self, name: str) -> None:
        for registry in _REGISTRIES:
            if name in self.__dict__.get(registry, ()):
                del self.__dict__[registry][name]
                self._non_persistent.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        registered = chain.from_iterable(self.__dict__.get(registry, ()) for registry in _REGISTRIES)
        return sorted(name for name in {*super().__dir__(), *registered} if not name[0].isdigit())

    # ---- walking through it ----------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The direct submodules with their names; one that has several names is listed once."""
        seen: set[Module] = set()
        for name, module in self._modules.items():
            if module is not None and module not in seen:
                seen.add(module)
                yield name, module

    def children(self) -> Iterator[Module]:
        """The direct submodules."""
        return (module for _, module in self.named_children())

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it, each with its path ("h.0.attn"); a module with several paths is listed once."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)
        yield prefix, self
        for name, module in self._modules.items():
            if module is not None:
                yield from module.named_modules(memo, f"{prefix}.{name}" if prefix else name, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This module and all below it."""
        return (module for _, module in self.named_modules(remove_duplicate=remove_duplicate))

    def _named_members(
        self, registry: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        modules = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate) if recurse else [(prefix, self)]
        for path, module in modules:
            for name, member in getattr(module, registry).items():
                if member is not None and id(member) not in seen:
                    if remove_duplicate:
                        seen.add(id(member))
                    yield f"{path}.{name}" if path else name, member

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """The parameters of this module and (recurse=True) of all below it, with their paths; a shared one once."""
        return self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """The parameters of this module and (recurse=True) of all below it; a shared one once."""
        return (param for _, param in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The buffers of this module and (recurse=True) of all below it, with their paths; a shared one once."""
        return self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """The buffers of this module and (recurse=True) of all below it; a shared one once."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    def get_submodule(self, target: str) -> Module:
        """The module at a path such as "h.0.attn"; "" is this module. AttributeError: there is none."""
        module = self
        for name in target.split(".") if target else ():
            found = getattr(module, name)
            if not isinstance(found, Module):
                raise AttributeError(f"`{name}` in '{target}' is not an nn.Module but {type(found).__name__}")
            module = found
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter at a path such as "h.0.attn.c_attn.weight". AttributeError: there is none."""
        path, _, name = target.rpartition(".")
        found = getattr(self.get_submodule(path), name)
        if not isinstance(found, Parameter):
            raise AttributeError(f"`{name}` in '{target}' is not an nn.Parameter but {type(found).__name__}")
        return found

    def get_buffer(self, target: str) -> Tensor:
        """The buffer at a path. AttributeError: there is none."""
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        found = getattr(module, name)
        if name not in module._buffers or found is None:
            raise AttributeError(f"`{name}` in '{target}' is not a buffer but {type(found).__name__}")
        return found

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every module below this one, children before parents, and last on this one."""
        for module in self.children():
            module.apply(fn)
        fn(self)
        return self

    # ---- its state -------------------------------------------------------------------------------------------------

    def _named_state(self) -> Iterator[tuple[str, Module, str, Tensor]]:
        """(key, module, name in that module, tensor) of all that a state dict holds. Shared ones under every key."""
        for path, module in self.named_modules(remove_duplicate=False):
            for name, tensor in chain(module._parameters.items(), module._buffers.items()):
                if tensor is not None and name not in module._non_persistent:
                    yield f"{path}.{name}" if path else name, module, name, tensor

    def state_dict(
        self, *, destination: dict[str, Tensor] | None = None, prefix: str = "", keep_vars: bool = False
    ) -> dict[str, Tensor]:
        """The parameters and persistent buffers by path. They share the module's memory: clone() them for a snapshot.

        destination: a dict to add to. prefix: put before every key. keep_vars: the Parameters themselves.
        """
        found = {} if destination is None else destination
        for key, _, _, tensor in self._named_state():
            found[prefix + key] = tensor if keep_vars else tensor.detach()
        return found

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> IncompatibleKeys:
        """Copy parameters and buffers from a dict of them by path; either all that fit or, on an error, none.

        strict: keys that are missing or unexpected are errors; otherwise they are returned.
        assign: take the given tensors themselves (with their dtype) in place of copying their numbers.
        RuntimeError: names every key that is missing, unexpected or of another shape.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        places = list(self._named_state())
        known = {key for key, *_ in places}
        missing = [key for key, *_ in places if key not in state_dict]
        unexpected = [key for key in state_dict if key not in known]
        places = [place for place in places if place[0] in state_dict]

        problems = [text for key, _, _, own in places if (text := _misfit(key, own, state_dict[key], assign))]
        if strict and unexpected:
            problems.insert(0, f"Unexpected key(s) in state_dict: {_quoted(unexpected)}. ")
        if strict and missing:
            problems.insert(0, f"Missing key(s) in state_dict: {_quoted(missing)}. ")
        if problems:
            listing = "\n\t".join(problems)
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t{listing}")

        taken: dict[tuple[int, int], Tensor] = {}  # so that a parameter tied under two keys stays tied
        with no_grad():
            for key, module, name, own in places:
                given = state_dict[key]
                if assign:
                    setattr(module, name, taken.setdefault((id(own), id(given)), _in_place_of(own, given)))
                else:
                    own.copy_(given)
        return IncompatibleKeys(missing, unexpected)

    # ---- changing all of it ----------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set training mode (mode=False: evaluation mode) here and in all modules below: dropout acts on it."""
        if not isinstance(mode, bool):
            raise ValueError(f"training mode is expected to be boolean, got {mode!r}")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self) -> Self:
        """Set evaluation mode here and in all modules below."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set requires_grad of every parameter: False freezes the module."""
        for param in self.parameters():
            param.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or set them to zero."""
        for param in self.parameters():
            if param.grad is not None:
                if set_to_none:
                    param.grad = None
                else:
                    param.grad = param.grad.detach().zero_()

    def to(self, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False) -> Self:
        """Convert parameters and buffers in place: `to(dtype)`, `to(device)`, `to(tensor)`, or both by name.

        Only floating tensors change dtype; all change device. Parameters stay the same objects.
        TypeError: the dtype is not a floating one.
        """
        for arg in args:
            if isinstance(arg, Tensor):
                dtype, device = arg.dtype, arg.device
            elif isinstance(arg, (str, Device)) or type(arg) is int:
                device = arg
            elif arg is not None and not isinstance(arg, bool):
                dtype = arg
        if dtype is not None and not dtypes.as_dtype(dtype).is_floating_point:
            raise TypeError(f"nn.Module.to only accepts floating point dtypes, but got desired dtype={dtype}")
        return self._convert(lambda t: t.to(dtype=dtype if t.is_floating_point() else None, device=device))

    def _convert(self, fn: Callable[[Tensor], Tensor]) -> Self:
        for param in self.parameters():
            grad, param.grad = param.grad, None
            param._set_data(fn(param.data))
            param.grad = None if grad is None else fn(grad)
        for module in self.modules():
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    module._buffers[name] = fn(buffer)
        return self

    def float(self) -> Self:
        """Convert floating parameters and buffers to float32."""
        return self.to(dtypes.float32)

    def double(self) -> Self:
        """Convert floating parameters and buffers to float64."""
        return self.to(dtypes.float64)

    def bfloat16(self) -> Self:
        """Convert floating parameters and buffers to bfloat16."""
        return self.to(dtypes.bfloat16)

    def half(self) -> Self:
        """Convert floating parameters and buffers to float16."""
        return self.to(dtypes.float16)

    def cpu(self) -> Self:
        """Move parameters and buffers to the CPU."""
        return self.to(device="cpu")

    def cuda(self, device: Any = None) -> Self:
        """Move parameters and buffers to the GPU. RuntimeError: there is none to use."""
        return self._convert(lambda t: t.cuda(device))

    def __copy__(self) -> Self:
        """A module with the same parameters, buffers and submodules, in which they can be replaced independently."""
        new = object.__new__(type(self))  # the registries are among its private dicts, lists and sets
        new.__dict__.update(
            (name, copy.copy(value) if isinstance(value, (dict, list, set)) and name[0] == "_" else value)
            for name, value in self.__dict__.items()
        )
        return new

    # ---- describing it ---------------------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What `repr` shows of this module's settings, for subclasses to define."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        settings = extra.split("\n") if extra else []
        children = [f"({name}): {indented(module)}" for name, module in self._modules.items()]
        if len(settings) <= 1 and not children:
            return f"{self._get_name()}({extra})"
        return "\n  ".join([f"{self._get_name()}(", *settings, *children]) + "\n)"


def indented(module: Module | None) -> str:
    """The repr of a submodule as it stands inside its parent's."""
    return repr(module).replace("\n", "\n  ")


def _quoted(keys: list[str]) -> str:
    return ", ".join(f'"{key}"' for key in keys)


def _misfit(key: str, own: Tensor, given: Any, assign: bool) -> str | None:
    """Why the given value cannot be loaded in the place of a module's own tensor, if it cannot."""
    if not isinstance(given, Tensor):
        return f"for {key}: expected a Tensor, got {type(given).__name__}; convert it with tinygrad_edu.as_tensor()."
    if given.shape != own.shape:
        return (
            f"size mismatch for {key}: copying a param with shape {given.shape} from checkpoint, "
            f"the shape in current model is {own.shape}."
        )
    if assign and own.requires_grad and not given.is_floating_point():
        return f"for {key}: a parameter that requires grad cannot be of {given.dtype}; load with assign=False."
    return None


def _in_place_of(own: Tensor, given: Tensor) -> Tensor:
    """The given tensor as what the module's own is: a Parameter with the same requires_grad, or a buffer."""
    if not isinstance(own, Parameter):
        return given
    return (given if isinstance(given, Parameter) else Parameter(given)).requires_grad_(own.requires_grad)
