"""A small tensor framework whose every gradient can be read.

The names are PyTorch's: `import tinygrad_edu as torch` runs programs that stay within what is offered here.
"""

from .autograd import Function as Function
from .autograd import enable_grad as enable_grad
from .autograd import inference_mode as inference_mode
from .autograd import is_grad_enabled as is_grad_enabled
from .autograd import no_grad as no_grad
from .autograd import set_grad_enabled as set_grad_enabled
from .backend.device import Device as device
from .backend.dtypes import bool_ as bool
from .backend.dtypes import dtype as dtype
from .backend.dtypes import finfo as finfo
from .backend.dtypes import float16 as float16
from .backend.dtypes import float32 as float32
from .backend.dtypes import float64 as float64
from .backend.dtypes import get_default_dtype as get_default_dtype
from .backend.dtypes import iinfo as iinfo
from .backend.dtypes import int8 as int8
from .backend.dtypes import int16 as int16
from .backend.dtypes import int32 as int32
from .backend.dtypes import int64 as int64
from .backend.dtypes import promote_types as promote_types
from .backend.dtypes import set_default_dtype as set_default_dtype
from .backend.dtypes import uint8 as uint8
from .creation import arange as arange
from .creation import as_tensor as as_tensor
from .creation import asarray as asarray
from .creation import empty as empty
from .creation import empty_like as empty_like
from .creation import eye as eye
from .creation import from_numpy as from_numpy
from .creation import full as full
from .creation import full_like as full_like
from .creation import is_tensor as is_tensor
from .creation import linspace as linspace
from .creation import logspace as logspace
from .creation import numel as numel
from .creation import ones as ones
from .creation import ones_like as ones_like
from .creation import tensor as tensor
from .creation import zeros as zeros
from .creation import zeros_like as zeros_like
from .dispatch import use_kernels as use_kernels

# functional/elementwise.py
from .functional.elementwise import add as add
from .functional.elementwise import div as div
from .functional.elementwise import exp as exp
from .functional.elementwise import mul as mul
from .functional.elementwise import sub as sub

# functional/activation.py
# functional/reduction.py
# functional/shape.py
from .functional.shape import broadcast_shapes as broadcast_shapes
from .functional.shape import broadcast_tensors as broadcast_tensors
from .functional.shape import broadcast_to as broadcast_to
from .functional.shape import cat as cat
from .functional.shape import chunk as chunk
from .functional.shape import concat as concat
from .functional.shape import concatenate as concatenate
from .functional.shape import diag as diag
from .functional.shape import diag_embed as diag_embed
from .functional.shape import diagonal as diagonal
from .functional.shape import flatten as flatten
from .functional.shape import flip as flip
from .functional.shape import hstack as hstack
from .functional.shape import meshgrid as meshgrid
from .functional.shape import moveaxis as moveaxis
from .functional.shape import movedim as movedim
from .functional.shape import narrow as narrow
from .functional.shape import permute as permute
from .functional.shape import ravel as ravel
from .functional.shape import repeat_interleave as repeat_interleave
from .functional.shape import reshape as reshape
from .functional.shape import roll as roll
from .functional.shape import rot90 as rot90
from .functional.shape import select as select
from .functional.shape import split as split
from .functional.shape import squeeze as squeeze
from .functional.shape import stack as stack
from .functional.shape import swapaxes as swapaxes
from .functional.shape import swapdims as swapdims
from .functional.shape import t as t
from .functional.shape import tensor_split as tensor_split
from .functional.shape import tile as tile
from .functional.shape import transpose as transpose
from .functional.shape import tril as tril
from .functional.shape import triu as triu
from .functional.shape import unbind as unbind
from .functional.shape import unflatten as unflatten
from .functional.shape import unsqueeze as unsqueeze
from .functional.shape import vstack as vstack

# functional/indexing.py
from .functional.indexing import argwhere as argwhere
from .functional.indexing import bincount as bincount
from .functional.indexing import gather as gather
from .functional.indexing import index_add as index_add
from .functional.indexing import index_copy as index_copy
from .functional.indexing import index_fill as index_fill
from .functional.indexing import index_put as index_put
from .functional.indexing import index_select as index_select
from .functional.indexing import masked_fill as masked_fill
from .functional.indexing import masked_select as masked_select
from .functional.indexing import nonzero as nonzero
from .functional.indexing import scatter as scatter
from .functional.indexing import scatter_add as scatter_add
from .functional.indexing import take as take
from .functional.indexing import take_along_dim as take_along_dim

# functional/sorting.py
from .functional.sorting import argsort as argsort
from .functional.sorting import isin as isin
from .functional.sorting import kthvalue as kthvalue
from .functional.sorting import msort as msort
from .functional.sorting import searchsorted as searchsorted
from .functional.sorting import sort as sort
from .functional.sorting import topk as topk
from .functional.sorting import unique as unique

# functional/linalg.py
from .functional.linalg import matmul as matmul

# functional/normalization.py
from .functional.normalization import log_softmax as log_softmax
from .functional.normalization import softmax as softmax

# functional/loss.py, functional/attention.py
from .random import Generator as Generator
from .random import bernoulli as bernoulli
from .random import default_generator as default_generator
from .random import get_rng_state as get_rng_state
from .random import initial_seed as initial_seed
from .random import manual_seed as manual_seed
from .random import multinomial as multinomial
from .random import normal as normal
from .random import rand as rand
from .random import rand_like as rand_like
from .random import randint as randint
from .random import randint_like as randint_like
from .random import randn as randn
from .random import randn_like as randn_like
from .random import randperm as randperm
from .random import seed as seed
from .random import set_rng_state as set_rng_state
from .tensor import Size as Size
from .tensor import Tensor as Tensor

half, float, double, short, int, long = float16, float32, float64, int16, int32, int64
