"""From one device to another."""

from __future__ import annotations

from ..autograd.higher import Mirror
from ..backend import transfers
from ..backend.device import of_array
from .op import Op


class ToDevice(Op):
    """y = x, in the memory of another device. The gradient goes back to the device of x."""

    name = "to_device"

    @staticmethod
    def forward(xp, x, *, device):
        return transfers.to_device(x, device), (of_array(x),)

    @staticmethod
    def backward(xp, saved, gy):
        (source,) = saved
        if isinstance(xp, Mirror):
            return xp.apply(ToDevice, gy, device=source)
        return transfers.to_device(gy, source)
