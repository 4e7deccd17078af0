"""The places where PyTorch programs look for some things: `utils.data` is `tinygrad_edu.data`."""

from . import data as data
