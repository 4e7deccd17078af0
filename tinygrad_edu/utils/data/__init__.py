"""`tinygrad_edu.data` under PyTorch's name, so that `from torch.utils.data import DataLoader` works after the swap."""

from ...data import *  # noqa: F403
