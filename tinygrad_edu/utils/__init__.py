"""The places where PyTorch programs look for some things: `utils.data` is `tinygrad_edu.data`; and checkpointing."""

from . import checkpoint as checkpoint
from . import data as data
