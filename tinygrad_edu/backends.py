"""The switches of PyTorch's libraries that programs set. They are remembered, and change nothing but for `allow_tf32`
of CUDA's products."""

from __future__ import annotations

from .backend import gpu


class Switches:
    """Settings of one library. AttributeError: an unknown one, with those that there are."""

    def __init__(self, available: bool = False, **defaults: object) -> None:
        self.__dict__.update(defaults, _available=available)

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(vars(type(self)).get(name), property):
            super().__setattr__(name, value)
            return
        if name not in self.__dict__:
            names = [*self.__dict__, *(n for n, x in vars(type(self)).items() if isinstance(x, property))]
            known = ", ".join(n for n in names if n[0] != "_") or "no settings"
            raise AttributeError(f"unknown setting {name!r}; there are: {known}")
        self.__dict__[name] = value

    def is_available(self) -> bool:
        """Whether PyTorch's library of this name is there: never, and nothing here needs it."""
        return self._available  # type: ignore[attr-defined]  # set through __dict__

    is_built = is_available


class _Cuda(Switches):
    def enable_flash_sdp(self, enabled: bool) -> None:
        """Nothing: attention is computed in one way."""

    enable_mem_efficient_sdp = enable_math_sdp = enable_flash_sdp


class _Matmul(Switches):
    @property
    def allow_tf32(self) -> bool:
        """Whether the GPU's products of float32 matrices may round their factors to TF32; see `gpu.allow_tf32`."""
        return gpu.tf32_allowed()

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        if not isinstance(allowed, bool):
            raise RuntimeError(f"allow_tf32 expects a bool, but got {type(allowed).__name__}; set it to True or False")
        gpu.allow_tf32(allowed)


cuda = _Cuda(matmul=_Matmul(allow_fp16_reduced_precision_reduction=True))
cudnn = Switches(enabled=True, benchmark=False, deterministic=False, allow_tf32=True)
mps = Switches()
mkldnn = Switches(enabled=True)
