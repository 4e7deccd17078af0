"""Optimizers and learning-rate schedules."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from .. import absent as _absent
from . import lr_scheduler as lr_scheduler
from .adam import Adam as Adam
from .adam import AdamW as AdamW
from .optimizer import Optimizer as Optimizer
from .rmsprop import RMSprop as RMSprop
from .sgd import SGD as SGD

if not _TYPE_CHECKING:  # for type checkers an absent name stays an error
    __getattr__ = _absent.getter("optim")
