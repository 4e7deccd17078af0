"""The switches of PyTorch's libraries that programs set. Here they can be set, are remembered, and change nothing."""

from __future__ import annotations


class Switches:
    """Settings of one library. AttributeError: an unknown one, with those that there are."""

    def __init__(self, available: bool = False, **defaults: object) -> None:
        self.__dict__.update(defaults, _available=available)

    def __setattr__(self, name: str, value: object) -> None:
        if name not in self.__dict__:
            known = ", ".join(n for n in self.__dict__ if n[0] != "_") or "no settings"
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


cuda = _Cuda(matmul=Switches(allow_tf32=False, allow_fp16_reduced_precision_reduction=True))
cudnn = Switches(enabled=True, benchmark=False, deterministic=False, allow_tf32=True)
mps = Switches()
mkldnn = Switches(enabled=True)
