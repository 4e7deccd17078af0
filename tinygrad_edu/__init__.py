"""A small tensor framework whose every gradient can be read.

The names are PyTorch's: `import tinygrad_edu as torch` runs programs that stay within what is offered here.
"""

import math as _math
from typing import TYPE_CHECKING as _TYPE_CHECKING

from . import absent as _absent
from . import amp as amp
from . import autograd as autograd
from . import backends as backends
from . import cuda as cuda
from . import data as data
from . import kernels as kernels
from . import linalg as linalg
from . import nn as nn
from . import optim as optim
from . import special as special
from . import utils as utils
from .amp import autocast as autocast
from .autograd import Function as Function
from .autograd import enable_grad as enable_grad
from .autograd import functional as _differentials  # noqa: F401  # so that tinygrad_edu.autograd.functional is there
from .autograd import inference_mode as inference_mode
from .autograd import is_grad_enabled as is_grad_enabled
from .autograd import no_grad as no_grad
from .autograd import set_grad_enabled as set_grad_enabled
from .autograd.exhausted import OutOfMemoryError as OutOfMemoryError
from .backend.device import Device as device
from .backend.dtypes import bfloat16 as bfloat16
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
from .creation import BoolTensor as BoolTensor
from .creation import ByteTensor as ByteTensor
from .creation import CharTensor as CharTensor
from .creation import DoubleTensor as DoubleTensor
from .creation import FloatTensor as FloatTensor
from .creation import HalfTensor as HalfTensor
from .creation import IntTensor as IntTensor
from .creation import LongTensor as LongTensor
from .creation import ShortTensor as ShortTensor
from .creation import arange as arange
from .creation import as_tensor as as_tensor
from .creation import asarray as asarray
from .creation import can_cast as can_cast
from .creation import empty as empty
from .creation import empty_like as empty_like
from .creation import eye as eye
from .creation import from_numpy as from_numpy
from .creation import frombuffer as frombuffer
from .creation import full as full
from .creation import full_like as full_like
from .creation import is_complex as is_complex
from .creation import is_floating_point as is_floating_point
from .creation import is_nonzero as is_nonzero
from .creation import is_tensor as is_tensor
from .creation import linspace as linspace
from .creation import logspace as logspace
from .creation import numel as numel
from .creation import ones as ones
from .creation import ones_like as ones_like
from .creation import result_type as result_type
from .creation import scalar_tensor as scalar_tensor
from .creation import tensor as tensor
from .creation import tril_indices as tril_indices
from .creation import triu_indices as triu_indices
from .creation import typename as typename
from .creation import zeros as zeros
from .creation import zeros_like as zeros_like
from .dispatch import use_kernels as use_kernels

# functional/activation.py
from .functional.activation import celu as celu
from .functional.activation import hardshrink as hardshrink
from .functional.activation import prelu as prelu
from .functional.activation import relu as relu
from .functional.activation import rrelu as rrelu
from .functional.activation import selu as selu
from .functional.activation import sigmoid as sigmoid
from .functional.activation import tanh as tanh
from .functional.activation import threshold as threshold

# functional/arrangement.py
from .functional.arrangement import adjoint as adjoint
from .functional.arrangement import atleast_1d as atleast_1d
from .functional.arrangement import atleast_2d as atleast_2d
from .functional.arrangement import atleast_3d as atleast_3d
from .functional.arrangement import block_diag as block_diag
from .functional.arrangement import cartesian_prod as cartesian_prod
from .functional.arrangement import column_stack as column_stack
from .functional.arrangement import combinations as combinations
from .functional.arrangement import diagflat as diagflat
from .functional.arrangement import dsplit as dsplit
from .functional.arrangement import dstack as dstack
from .functional.arrangement import fliplr as fliplr
from .functional.arrangement import flipud as flipud
from .functional.arrangement import hsplit as hsplit
from .functional.arrangement import row_stack as row_stack
from .functional.arrangement import split_with_sizes as split_with_sizes
from .functional.arrangement import vsplit as vsplit

# functional/convolution.py
from .functional.convolution import conv1d as conv1d
from .functional.convolution import conv2d as conv2d
from .functional.convolution import conv3d as conv3d
from .functional.convolution import conv_transpose1d as conv_transpose1d
from .functional.convolution import conv_transpose2d as conv_transpose2d
from .functional.convolution import conv_transpose3d as conv_transpose3d

# functional/distance.py
from .functional.distance import cdist as cdist
from .functional.distance import cosine_similarity as cosine_similarity
from .functional.distance import pairwise_distance as pairwise_distance
from .functional.distance import pdist as pdist

# functional/elementwise.py
from .functional.elementwise import abs as abs
from .functional.elementwise import absolute as absolute
from .functional.elementwise import acos as acos
from .functional.elementwise import add as add
from .functional.elementwise import addcdiv as addcdiv
from .functional.elementwise import addcmul as addcmul
from .functional.elementwise import allclose as allclose
from .functional.elementwise import arccos as arccos
from .functional.elementwise import arcsin as arcsin
from .functional.elementwise import arctan as arctan
from .functional.elementwise import arctan2 as arctan2
from .functional.elementwise import asin as asin
from .functional.elementwise import atan as atan
from .functional.elementwise import atan2 as atan2
from .functional.elementwise import bitwise_and as bitwise_and
from .functional.elementwise import bitwise_not as bitwise_not
from .functional.elementwise import bitwise_or as bitwise_or
from .functional.elementwise import bitwise_xor as bitwise_xor
from .functional.elementwise import ceil as ceil
from .functional.elementwise import clamp as clamp
from .functional.elementwise import clamp_max as clamp_max
from .functional.elementwise import clamp_min as clamp_min
from .functional.elementwise import clip as clip
from .functional.elementwise import clone as clone
from .functional.elementwise import cos as cos
from .functional.elementwise import cosh as cosh
from .functional.elementwise import div as div
from .functional.elementwise import divide as divide
from .functional.elementwise import eq as eq
from .functional.elementwise import equal as equal
from .functional.elementwise import erf as erf
from .functional.elementwise import erfc as erfc
from .functional.elementwise import exp as exp
from .functional.elementwise import exp2 as exp2
from .functional.elementwise import expm1 as expm1
from .functional.elementwise import fix as fix
from .functional.elementwise import floor as floor
from .functional.elementwise import floor_divide as floor_divide
from .functional.elementwise import fmod as fmod
from .functional.elementwise import ge as ge
from .functional.elementwise import greater as greater
from .functional.elementwise import greater_equal as greater_equal
from .functional.elementwise import gt as gt
from .functional.elementwise import isclose as isclose
from .functional.elementwise import isfinite as isfinite
from .functional.elementwise import isinf as isinf
from .functional.elementwise import isnan as isnan
from .functional.elementwise import le as le
from .functional.elementwise import lerp as lerp
from .functional.elementwise import less as less
from .functional.elementwise import less_equal as less_equal
from .functional.elementwise import log as log
from .functional.elementwise import log1p as log1p
from .functional.elementwise import log2 as log2
from .functional.elementwise import log10 as log10
from .functional.elementwise import logical_and as logical_and
from .functional.elementwise import logical_not as logical_not
from .functional.elementwise import logical_or as logical_or
from .functional.elementwise import logical_xor as logical_xor
from .functional.elementwise import lt as lt
from .functional.elementwise import maximum as maximum
from .functional.elementwise import minimum as minimum
from .functional.elementwise import mul as mul
from .functional.elementwise import multiply as multiply
from .functional.elementwise import nan_to_num as nan_to_num
from .functional.elementwise import ne as ne
from .functional.elementwise import neg as neg
from .functional.elementwise import negative as negative
from .functional.elementwise import not_equal as not_equal
from .functional.elementwise import positive as positive
from .functional.elementwise import pow as pow
from .functional.elementwise import reciprocal as reciprocal
from .functional.elementwise import remainder as remainder
from .functional.elementwise import round as round
from .functional.elementwise import rsqrt as rsqrt
from .functional.elementwise import sign as sign
from .functional.elementwise import sin as sin
from .functional.elementwise import sinh as sinh
from .functional.elementwise import sqrt as sqrt
from .functional.elementwise import square as square
from .functional.elementwise import sub as sub
from .functional.elementwise import subtract as subtract
from .functional.elementwise import tan as tan
from .functional.elementwise import true_divide as true_divide
from .functional.elementwise import trunc as trunc
from .functional.elementwise import where as where

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

# functional/linalg.py
from .functional.linalg import addmm as addmm
from .functional.linalg import addmv as addmv
from .functional.linalg import baddbmm as baddbmm
from .functional.linalg import bmm as bmm
from .functional.linalg import chain_matmul as chain_matmul
from .functional.linalg import dot as dot
from .functional.linalg import einsum as einsum
from .functional.linalg import inner as inner
from .functional.linalg import kron as kron
from .functional.linalg import matmul as matmul
from .functional.linalg import mm as mm
from .functional.linalg import mv as mv
from .functional.linalg import outer as outer
from .functional.linalg import tensordot as tensordot
from .functional.linalg import trace as trace
from .functional.linalg import vdot as vdot

# functional/matrices.py
from .functional.matrices import addbmm as addbmm
from .functional.matrices import addr as addr
from .functional.matrices import cross as cross
from .functional.matrices import ger as ger
from .functional.matrices import matrix_power as matrix_power

# functional/normalization.py, functional/pooling.py, functional/vision.py
from .functional.normalization import group_norm as group_norm
from .functional.normalization import layer_norm as layer_norm
from .functional.normalization import log_softmax as log_softmax
from .functional.normalization import softmax as softmax
from .functional.pooling import adaptive_avg_pool1d as adaptive_avg_pool1d
from .functional.pooling import avg_pool1d as avg_pool1d
from .functional.pooling import max_pool1d as max_pool1d
from .functional.pooling import max_pool2d as max_pool2d
from .functional.pooling import max_pool3d as max_pool3d

# functional/recurrent.py
from .functional.recurrent import gru_cell as gru_cell
from .functional.recurrent import lstm_cell as lstm_cell
from .functional.recurrent import rnn_relu_cell as rnn_relu_cell
from .functional.recurrent import rnn_tanh_cell as rnn_tanh_cell

# functional/reduction.py
from .functional.reduction import all as all
from .functional.reduction import amax as amax
from .functional.reduction import amin as amin
from .functional.reduction import aminmax as aminmax
from .functional.reduction import any as any
from .functional.reduction import argmax as argmax
from .functional.reduction import argmin as argmin
from .functional.reduction import count_nonzero as count_nonzero
from .functional.reduction import cumprod as cumprod
from .functional.reduction import cumsum as cumsum
from .functional.reduction import logsumexp as logsumexp
from .functional.reduction import max as max
from .functional.reduction import mean as mean
from .functional.reduction import median as median
from .functional.reduction import min as min
from .functional.reduction import nansum as nansum
from .functional.reduction import norm as norm
from .functional.reduction import prod as prod
from .functional.reduction import std as std
from .functional.reduction import std_mean as std_mean
from .functional.reduction import sum as sum
from .functional.reduction import var as var
from .functional.reduction import var_mean as var_mean

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

# functional/sorting.py
from .functional.sorting import argsort as argsort
from .functional.sorting import isin as isin
from .functional.sorting import kthvalue as kthvalue
from .functional.sorting import msort as msort
from .functional.sorting import searchsorted as searchsorted
from .functional.sorting import sort as sort
from .functional.sorting import topk as topk
from .functional.sorting import unique as unique

# functional/special.py
from .functional.special import acosh as acosh
from .functional.special import arccosh as arccosh
from .functional.special import arcsinh as arcsinh
from .functional.special import arctanh as arctanh
from .functional.special import asinh as asinh
from .functional.special import atanh as atanh
from .functional.special import bitwise_left_shift as bitwise_left_shift
from .functional.special import bitwise_right_shift as bitwise_right_shift
from .functional.special import conj as conj
from .functional.special import copysign as copysign
from .functional.special import deg2rad as deg2rad
from .functional.special import detach as detach
from .functional.special import float_power as float_power
from .functional.special import fmax as fmax
from .functional.special import fmin as fmin
from .functional.special import frac as frac
from .functional.special import gcd as gcd
from .functional.special import heaviside as heaviside
from .functional.special import hypot as hypot
from .functional.special import isneginf as isneginf
from .functional.special import isposinf as isposinf
from .functional.special import isreal as isreal
from .functional.special import lcm as lcm
from .functional.special import ldexp as ldexp
from .functional.special import logaddexp as logaddexp
from .functional.special import logaddexp2 as logaddexp2
from .functional.special import logit as logit
from .functional.special import nextafter as nextafter
from .functional.special import rad2deg as rad2deg
from .functional.special import rsub as rsub
from .functional.special import sgn as sgn
from .functional.special import signbit as signbit
from .functional.special import sinc as sinc
from .functional.special import xlogy as xlogy

# functional/statistics.py
from .functional.statistics import bucketize as bucketize
from .functional.statistics import corrcoef as corrcoef
from .functional.statistics import cov as cov
from .functional.statistics import cummax as cummax
from .functional.statistics import cummin as cummin
from .functional.statistics import cumulative_trapezoid as cumulative_trapezoid
from .functional.statistics import diff as diff
from .functional.statistics import dist as dist
from .functional.statistics import histc as histc
from .functional.statistics import logcumsumexp as logcumsumexp
from .functional.statistics import nanmean as nanmean
from .functional.statistics import nanmedian as nanmedian
from .functional.statistics import nanquantile as nanquantile
from .functional.statistics import quantile as quantile
from .functional.statistics import trapezoid as trapezoid
from .functional.statistics import trapz as trapz

# functional/toplevel.py
from .functional.toplevel import clamp_ as clamp_
from .functional.toplevel import dropout as dropout
from .functional.toplevel import embedding as embedding
from .functional.toplevel import relu_ as relu_

# functional/vision.py
from .functional.vision import pixel_shuffle as pixel_shuffle
from .functional.vision import pixel_unshuffle as pixel_unshuffle

# random.py, serialization.py, settings.py, tensor.py, utils/checkpoint.py
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
from .serialization import load as load
from .serialization import save as save
from .settings import are_deterministic_algorithms_enabled as are_deterministic_algorithms_enabled
from .settings import compile as compile
from .settings import get_default_device as get_default_device
from .settings import get_float32_matmul_precision as get_float32_matmul_precision
from .settings import get_num_threads as get_num_threads
from .settings import set_default_device as set_default_device
from .settings import set_float32_matmul_precision as set_float32_matmul_precision
from .settings import set_num_threads as set_num_threads
from .settings import set_printoptions as set_printoptions
from .settings import use_deterministic_algorithms as use_deterministic_algorithms
from .tensor import Size as Size
from .tensor import Tensor as Tensor
from .utils.checkpoint import recompute as recompute

__version__ = "0.1.0"
half, float, double, short, int, long = float16, float32, float64, int16, int32, int64
pi, e, inf, nan, newaxis = _math.pi, _math.e, _math.inf, _math.nan, None

__all__ = list(_absent.public(globals()))

if _TYPE_CHECKING:  # for type checkers an absent name stays an error
    from . import testing as testing  # imported when it is asked for
else:
    __getattr__ = _absent.getter("")
