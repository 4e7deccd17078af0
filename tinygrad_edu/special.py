"""PyTorch's namespace of special functions. What is here is defined in `functional/`."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from . import absent as _absent
from .functional import activation as _activation
from .functional.elementwise import erf as erf
from .functional.elementwise import erfc as erfc
from .functional.elementwise import exp2 as exp2
from .functional.elementwise import expm1 as expm1
from .functional.elementwise import log1p as log1p
from .functional.elementwise import round as round
from .functional.normalization import log_softmax as log_softmax
from .functional.normalization import softmax as softmax
from .functional.reduction import logsumexp as logsumexp
from .functional.special import logit as logit
from .functional.special import sinc as sinc
from .functional.special import xlogy as xlogy

expit = _activation.sigmoid

__all__ = list(_absent.public(globals()))

if not _TYPE_CHECKING:  # for type checkers an absent name stays an error
    __getattr__ = _absent.getter("special")
