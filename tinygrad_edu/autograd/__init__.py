"""Automatic differentiation: the engine, the gradient modes, and operations of the reader's own."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from .. import absent as _absent
from .anomaly import detect_anomaly as detect_anomaly
from .anomaly import set_detect_anomaly as set_detect_anomaly
from .engine import Leaf as Leaf
from .engine import Node as Node
from .function import Function as Function
from .grad import backward as backward
from .grad import grad as grad
from .modes import enable_grad as enable_grad
from .modes import inference_mode as inference_mode
from .modes import is_grad_enabled as is_grad_enabled
from .modes import no_grad as no_grad
from .modes import observe as observe
from .modes import set_grad_enabled as set_grad_enabled

__all__ = list(_absent.public(globals()))

if not _TYPE_CHECKING:  # for type checkers an absent name stays an error
    __getattr__ = _absent.getter("autograd")
