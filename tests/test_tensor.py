"""The Tensor itself, beside PyTorch's: making it, looking at it, converting it, and meeting Python and NumPy."""

from __future__ import annotations

import copy
import math
import warnings

import numpy as np
import pytest
import torch

import tinygrad_edu as tg
from tinygrad_edu.testing import assert_close

A = np.arange(6, dtype=np.float32).reshape(2, 3) - 2.5


def plain(x, t):
    """A result as something that compares with ==: tensors as (dtype, shape, requires_grad, values)."""
    if isinstance(x, t.Tensor):
        dtype = str(x.dtype).rpartition(".")[2]
        return dtype, tuple(x.shape), x.requires_grad, repr(x.detach().tolist())
    if isinstance(x, t.Size):
        return "size", tuple(x), x.numel()
    if isinstance(x, t.dtype):
        return str(x).rpartition(".")[2]
    if isinstance(x, t.device):
        return str(x)
    if isinstance(x, (list, tuple)):
        return type(x), [plain(item, t) for item in x]
    if isinstance(x, np.ndarray):
        return x.dtype, x.shape, repr(x.tolist())
    return type(x), repr(x) if isinstance(x, float) else x


def run(expression, t):
    """The value of an expression, in which `t` is one of the two libraries; after statements, if there are any."""
    names = {"t": t, "np": np, "math": math, "A": A.copy(), "F": t.nn.functional}
    *statements, last = expression.split("; ")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        exec("\n".join(statements), names)
        return plain(eval(last, names), t)


SAME = """
t.tensor(1)
t.tensor(1.5)
t.tensor(True)
t.tensor([])
t.tensor([[], []])
t.tensor([1, 2, 3])
t.tensor([1, 2.5, True])
t.tensor([True, False])
t.tensor([True, 2])
t.tensor([[1, 2], [3, 4]], dtype=t.float64)
t.tensor(((1, 2), [3, 4]), dtype=t.int32)
t.tensor(range(4))
t.tensor([1.0, math.inf, math.nan])
t.tensor(2**40)
t.tensor([1.9, -1.9], dtype=t.int64)
t.tensor([0.0, 0.5, 2.0], dtype=t.bool)
t.tensor([1.0, 2.0], requires_grad=True)
t.tensor(A)
t.tensor(A.T)
t.tensor(A.astype(np.float64))
t.tensor(A.astype(np.int16))
t.tensor(A > 0)
t.tensor(np.float64(1.5))
t.tensor(np.float32(1.5))
t.tensor(np.int32(3))
t.tensor(np.bool_(True))
t.tensor([np.float64(1.5), np.float64(2)])
t.tensor([np.float32(1.5), 2])
t.tensor([np.int64(3)])
t.tensor([np.array([1.0, 2.0]), np.array([3.0, 4.0])])
t.tensor([t.tensor(1), t.tensor(2)])
t.tensor([t.tensor(1.5), 2])
t.tensor([[t.tensor(1.5)], [2]])
t.tensor([t.tensor(1), 2.5])
t.tensor(A, device='cpu')
t.tensor(t.ones(2, dtype=t.float64))
t.Tensor([1, 2])
t.Tensor([[1.5, 2.5]])
t.Tensor(2, 3).shape
t.Tensor(0).shape
t.Tensor().shape
t.Tensor([1.0, 2.0]).requires_grad_()
t.Tensor(A)
t.as_tensor([1, 2.5])
t.as_tensor(3)
t.as_tensor(A)
t.as_tensor(A, dtype=t.float64)
t.as_tensor(A.astype(np.float64))
a = A.copy(); x = t.as_tensor(a); a[0, 0] = 9; x
a = A.copy(); x = t.from_numpy(a); a[0, 0] = 9; x[1, 1] = 7; (x, a)
a = A.copy(); x = t.tensor(a); a[0, 0] = 9; x
x = t.ones(2); t.as_tensor(x) is x
x = t.ones(2); t.as_tensor(x, dtype=t.float32) is x
t.as_tensor(t.ones(2, requires_grad=True), dtype=t.float64)
t.from_numpy(A[:, ::2])
t.from_numpy(np.float64([1.0]))
t.zeros(2, 3)
t.zeros((2, 3))
t.zeros([2, 3])
t.zeros(t.Size([2, 3]))
t.zeros(())
t.zeros(0)
t.zeros(2, dtype=t.int64)
t.zeros(2, requires_grad=True)
t.ones(2, 1)
t.ones(2, dtype=t.bool)
t.full((2,), 3)
t.full((2,), 3.5)
t.full((2,), True)
t.full((), 2)
t.full((2,), 3, dtype=t.float64)
t.full([1, 2], t.tensor(2.5))
t.full((2,), 2.7, dtype=t.int32)
t.empty(2, 3).shape
t.empty(2, dtype=t.int16).dtype
t.zeros_like(t.tensor(A))
t.zeros_like(t.tensor([1, 2]))
t.ones_like(t.tensor([True]), dtype=t.float64)
t.full_like(t.tensor([1, 2]), 7)
t.full_like(t.tensor([1.0, 2.0]), 7)
t.full_like(t.tensor([1, 2]), 7.9)
t.empty_like(t.tensor(A)).shape
t.zeros_like(t.ones(2, requires_grad=True))
t.ones_like(t.ones(2), requires_grad=True)
t.arange(5)
t.arange(5.0)
t.arange(2, 8)
t.arange(2, 8, 3)
t.arange(0, 1, 0.25)
t.arange(5, 0, -2)
t.arange(0)
t.arange(3, 3)
t.arange(1, 2.5)
t.arange(0.1, 0.55, 0.15)
t.arange(0, 1, 0.1)
t.arange(3, dtype=t.float64)
t.arange(3, dtype=t.int16)
t.arange(2.5, dtype=t.int64)
t.arange(start=1, end=4)
t.arange(end=4)
t.arange(1, 10, step=4)
t.arange(t.tensor(3))
t.arange(3, requires_grad=False)
t.linspace(0, 1, 5)
t.linspace(1, -1, 3, dtype=t.float64)
t.linspace(2, 2, 1)
t.linspace(0, 1, 1)
t.linspace(0, 1, 0)
t.linspace(0, 10, steps=6)
t.linspace(-3, 10, 5, dtype=t.int64)
t.logspace(0, 2, 3)
t.logspace(0, 3, 4, base=2)
t.eye(3)
t.eye(2, 3)
t.eye(3, 2, dtype=t.int64)
t.eye(0)
t.is_tensor(t.ones(1))
t.is_tensor(A)
t.numel(t.ones(2, 3))
t.rand(2, 3).shape
t.rand(()).shape
t.randn(2, dtype=t.float64).dtype
t.randn((2, 3), requires_grad=True).requires_grad
t.randint(5, (2, 3)).dtype
t.randint(2, 5, (4,)).shape
t.randint(3, 4, (2,))
t.randint(1, (2,), dtype=t.int32)
t.randint(high=1, size=(2,))
t.randperm(5).sort()[0]
t.randperm(0)
t.randperm(4, dtype=t.int32).dtype
t.rand_like(t.ones(2, 3, dtype=t.float64)).dtype
t.randn_like(t.ones(2, 3)).shape
t.randint_like(t.ones(2, 3), 1)
t.randint_like(t.ones(2, dtype=t.int64), 4, 5)
t.normal(0.0, 1.0, (2, 3)).shape
t.normal(0.0, 1.0, size=(2,)).dtype
t.normal(t.ones(2, 3), t.ones(3)).shape
t.normal(t.ones(2), 0.0)
t.normal(1.0, t.zeros(3))
t.bernoulli(t.tensor([0.0, 1.0]))
t.multinomial(t.tensor([0.0, 3.0, 0.0]), 1)
t.multinomial(t.tensor([[0.0, 1.0], [1.0, 0.0]]), 2, replacement=True)
t.multinomial(t.tensor([1.0, 2.0, 3.0]), 3).sort()[0]
x = t.ones(2, 3, dtype=t.int32); x.new_tensor([1.5, 2])
x = t.ones(2, 3, dtype=t.float64); x.new_zeros(2, 2)
x = t.ones(2, 3, dtype=t.float64); x.new_ones((2,), dtype=t.int64)
x = t.ones(2, 3, dtype=t.float64); x.new_full((2,), 3)
x = t.ones(2, 3, dtype=t.float64); x.new_empty(2, 2).shape
x = t.ones(2, 3); x.new_zeros((2,), requires_grad=True)
t.tensor(A).shape
t.tensor(A).size()
t.tensor(A).size(0)
t.tensor(A).size(-1)
t.tensor(A).size(dim=1)
t.tensor(A).ndim
t.tensor(A).dim()
t.tensor(A).ndimension()
t.tensor(A).numel()
t.tensor(A).nelement()
t.tensor(A).itemsize
t.tensor(A).element_size()
t.tensor(A).nbytes
t.tensor(A).stride()
t.tensor(A).T.stride()
t.tensor(A).stride(0)
t.tensor(A).is_contiguous()
t.tensor(A).T.is_contiguous()
t.tensor(A).T.contiguous().is_contiguous()
t.tensor(A).is_floating_point()
t.tensor([1]).is_floating_point()
t.tensor(A).is_cuda
t.tensor(A).device
t.tensor(A).device.type
t.tensor(A).dtype
t.tensor(A).dtype.is_floating_point
t.tensor(A).dtype.itemsize
t.tensor(A).is_leaf
t.tensor(A).requires_grad
t.tensor(A).grad
t.tensor(A).grad_fn
t.tensor(A).T
t.tensor(A).mT
t.ones(2, 3, 4).mT.shape
t.tensor(A).H
t.ones(2, 3).shape[-1]
t.ones(2, 3).shape == (2, 3)
t.ones(2, 3).shape + (4,)
t.ones(2, 3, 4).shape[1:]
list(t.ones(2, 3).shape)
t.Size([2, 3]).numel()
t.tensor(2.5).item()
t.tensor([[3]]).item()
t.tensor(True).item()
t.tensor(A).tolist()
t.tensor(3).tolist()
t.tensor([]).tolist()
t.tensor(A).numpy()
t.tensor([1, 2]).numpy()
t.ones(2, requires_grad=True).detach().numpy()
t.ones(2, requires_grad=True).numpy(force=True)
x = t.ones(2); x.numpy()[0] = 5; x
x = t.ones(2); x.detach()[0] = 5; x
x = t.ones(2); x.clone()[0] = 5; x
x = t.ones(2); x.data[0] = 5; x
x = t.ones(2); x.data = t.zeros(3); x
x = t.ones(2, requires_grad=True); x.data = t.zeros(2); x
x = t.ones(2, requires_grad=True); x.clone().requires_grad
x = t.ones(2, requires_grad=True); x.detach().requires_grad
t.tensor(A).double()
t.tensor(A).float()
t.tensor(A).half()
t.tensor(A).long()
t.tensor(A).int()
t.tensor(A).short()
t.tensor([1.7, 300.2]).long().byte()
t.tensor(A).bool()
t.tensor([1.5, -1.5]).char() if hasattr(t.Tensor, 'char') else t.tensor([1, -1], dtype=t.int8)
t.tensor(A).to(t.float64)
t.tensor(A).to('cpu')
t.tensor(A).to('cpu', t.int64)
t.tensor(A).to(dtype=t.float16)
t.tensor(A).to(t.ones(1, dtype=t.float64))
t.tensor(A).to(device='cpu', dtype=t.float64)
t.tensor(A).to('cpu', non_blocking=True)
t.tensor(A).to(t.device('cpu'))
x = t.tensor(A); x.to(t.float32) is x
x = t.tensor(A); x.to('cpu') is x
x = t.tensor(A); x.to(t.float32, copy=True) is x
x = t.tensor(A); x.float() is x
x = t.tensor(A); x.contiguous() is x
t.ones(2, requires_grad=True).double()
t.ones(2, requires_grad=True).long()
t.tensor(A).type(t.float64)
t.tensor(A).type_as(t.ones(1, dtype=t.int32))
t.tensor(A).cpu()
float(t.tensor(2.5))
int(t.tensor(2.5))
int(t.tensor([7]))
bool(t.tensor(0.0))
bool(t.tensor([2]))
complex(t.tensor(2.5))
[10, 20, 30][t.tensor(1)]
list(range(10))[t.tensor(2):t.tensor(5)]
round(float(t.tensor(2.567)), 2)
len(t.ones(4, 2))
[x for x in t.tensor([1, 2])]
[x for x in t.tensor(A)]
list(reversed(t.tensor([1, 2, 3])))
1 in t.tensor([1, 2])
5 in t.tensor([1, 2])
t.tensor(2.0) in t.tensor([1.0, 2.0])
first, second = t.tensor([[1, 2], [3, 4]]); second
'%d %.2f' % (t.tensor(3), t.tensor(2.5))
f'{t.tensor(2.567):.2f}'
f'{t.tensor(7):5d}'
'{}'.format(t.tensor(3.5).item())
math.sqrt(t.tensor(4.0))
sum([t.tensor(1.0), t.tensor(2.0)])
max(t.tensor(1.0), t.tensor(2.0))
sorted([t.tensor(3), t.tensor(1)])
-t.tensor(A)
+t.tensor(A)
abs(t.tensor(A))
~t.tensor([True, False])
~t.tensor([1, 2])
t.tensor(A) + 1
1 + t.tensor(A)
t.tensor(A) - 1
1 - t.tensor(A)
2 * t.tensor(A)
2 / t.tensor(A)
t.tensor(A) / 2
t.tensor([1, 2]) / 2
7 // t.tensor([2, -2])
t.tensor([7, -7]) // 2
7 % t.tensor([3, -3])
t.tensor([7, -7]) % 3
2 ** t.tensor([1.0, 2.0])
2 ** t.tensor([1, 2])
t.tensor(A) ** 2
t.tensor([1, 2]) + 1.5
t.tensor([1, 2]) * True
t.tensor([True, False]) + 1
t.tensor([True, False]) * 1.5
t.tensor([1, 2], dtype=t.int8) + 100
t.tensor([1.0], dtype=t.float16) * 2.0
t.tensor([1, 2]) + t.tensor(1.5)
t.tensor([1.5]) + t.tensor(1.5, dtype=t.float64)
t.tensor(1.5) + t.tensor(1.5, dtype=t.float64)
t.tensor([1]) + t.tensor([1], dtype=t.int8)
t.tensor(A) < 0
0 < t.tensor(A)
t.tensor(A) >= t.tensor(A).T.T
t.tensor([1, 2]) == 1
t.tensor([1, 2]) != t.tensor([1, 3])
1 == t.tensor([1, 2])
t.tensor([1, 2]) == None
t.tensor([1, 2]) != 'a'
t.tensor([True, False]) & t.tensor([True, True])
t.tensor([6, 3]) | 1
t.tensor([6, 3]) ^ t.tensor([1, 2])
True & t.tensor([True, False])
1 | t.tensor([6, 4])
t.tensor(A) @ t.tensor(A).T
t.tensor(A).T @ t.tensor([1.0, 2.0])
t.tensor(A) * np.float32(2)
t.tensor(A) * np.float64(2)
t.tensor([1, 2]) * np.float64(2.5)
t.tensor([1, 2]) + np.int64(2)
t.tensor(A) + np.float64(0.1)
x = t.tensor([1, 2]); x += 1; x
x = t.tensor([1.0, 2.0]); x -= np.float64(0.5); x
x = t.tensor([1.0, 2.0]); x *= t.tensor([2, 3]); x
x = t.tensor([1.0, 2.0]); x /= 4; x
x = t.tensor([7, 8]); x //= 3; x
x = t.tensor([7, 8]); x %= 3; x
x = t.tensor([7.0, 8.0]); x **= 2; x
x = t.tensor([True, False]); x &= t.tensor([True, True]); x
x = t.tensor([6, 3]); x |= 1; x
x = t.tensor([6, 3]); x ^= 1; x
x = t.tensor([1.0, 2.0]); y = x; x += 1; y
x = t.zeros(2, 3); x.fill_(2)
x = t.zeros(2, 3); x.fill_(t.tensor(2.5))
x = t.zeros(2, dtype=t.int64); x.fill_(2.9)
x = t.ones(2, 3); x.zero_()
x = t.zeros(2, 3); x.copy_(t.tensor([1, 2, 3]))
x = t.zeros(2, dtype=t.int64); x.copy_(t.tensor([1.9, -1.9]))
x = t.zeros(2); x.copy_(t.tensor(3.0, dtype=t.float64))
t.tensor(A).to(t.float64, True)
t.tensor(A).to('cpu', t.float64, False, True)
x = t.tensor(A); x.to(t.float32, False, True) is x
x = t.tensor(A); x.where(x > 0, t.zeros(()))
x = t.tensor(A); x.where(x > 0, 5.0)
t.tensor(A, dtype=t.bool) if True else 0
t.tensor([2**31, -(2**31)])
t.randint(2**40, 2**40 + 1, (2,))
t.randint(0, 2**40, (1000,)).max() > 2**33
t.randint(-5, -4, (2,))
x = t.zeros(2, 3); x.normal_().shape
x = t.zeros(3); x.normal_(2.0, 0.0)
x = t.zeros(2, 3); (x.uniform_(2, 3) >= 2).all()
x = t.zeros(2, 3); x.bernoulli_(1.0)
x = t.zeros(2, dtype=t.int64); x.bernoulli_(1.0)
x = t.zeros(3); x.random_(1)
x = t.zeros(3, dtype=t.int64); x.random_(4, 5)
x = t.zeros(3); (x.exponential_() > 0).all()
x = t.ones(2, requires_grad=True); y = (x * 2).detach_(); (y, y.is_leaf)
x = t.ones(2); x.requires_grad_(); x.requires_grad
x = t.ones(2); x.requires_grad = True; x.requires_grad
x = t.ones(2, requires_grad=True); y = x * 2; (y.is_leaf, y.requires_grad, x.is_leaf)
x = t.ones(2, requires_grad=True); x.T.is_leaf
t.get_default_dtype()
t.promote_types(t.int64, t.float16)
t.promote_types(t.uint8, t.int8)
t.promote_types(t.bool, t.uint8)
t.finfo(t.float32).eps
t.finfo(t.float64).max
t.finfo(t.float16).tiny
t.finfo(t.float32).min
t.finfo(t.float32).bits
t.finfo().dtype
t.iinfo(t.int8).min
t.iinfo(t.int64).max
t.iinfo(t.int32).bits
t.device('cpu') == t.device('cpu')
t.device('cuda:1').index
t.device('cuda', 1).type
str(t.device('cuda:1'))
repr(t.device('cpu'))
repr(t.device('cuda', 0))
t.float32 == t.float
t.int64 is t.long
t.float64 is t.double
tuple(t.broadcast_shapes((2, 1), (3,)))
tuple(t.broadcast_shapes((0, 1), (1, 4), (4,)))
tuple(t.broadcast_shapes(2, (3, 1)))
x = t.tensor(A); y = t.tensor(A); x.equal(y) if hasattr(x, 'equal') else True
t.manual_seed(3); a = t.rand(4); t.manual_seed(3); (a == t.rand(4)).all()
g = t.Generator(); g.manual_seed(3); a = t.rand(4, generator=g); g.manual_seed(3); (a == t.rand(4, generator=g)).all()
t.manual_seed(5).initial_seed()
t.Generator().manual_seed(9).initial_seed()
t.manual_seed(1); s = t.get_rng_state(); a = t.randn(3); t.set_rng_state(s); (a == t.randn(3)).all()
t.initial_seed() == t.initial_seed()
"""


@pytest.mark.parametrize("expression", [line.strip() for line in SAME.strip().splitlines()])
def test_as_in_torch(expression):
    """Same value, dtype, shape and requires_grad in both libraries."""
    assert run(expression, tg) == run(expression, torch)


REFUSED = """
t.tensor([[1, 2], [3]])
t.tensor('abc')
t.tensor([1, 'a'])
t.tensor(None)
t.tensor([1, None])
t.tensor([1, 2], requires_grad=True)
t.tensor(2**70)
t.Tensor(1.5, 2.5)
t.from_numpy([1, 2])
t.from_numpy(A[::-1])
t.from_numpy(np.array(['a']))
t.zeros(-1)
t.zeros(2, -3)
t.zeros(2.5)
t.zeros('a')
t.ones(2, dtype=5)
t.arange(1, 5, -1)
t.arange(0, 3, 0)
t.arange(5, 1)
t.arange()
t.linspace(0, 1, -1)
t.linspace(0, 1)
t.eye(-1)
t.zeros(2, device='gpu')
t.device('tpu')
t.device('cuda:x')
t.device('cuda:1', 2)
t.rand(2, dtype=t.int64)
t.randn(2, dtype=t.int32)
t.randint(5, 5, (2,))
t.randint(0, (2,))
t.randint(5)
t.randperm(-1)
t.bernoulli(t.tensor([1.5]))
t.bernoulli(t.tensor([-0.5]))
t.multinomial(t.tensor([1.0, 2.0]), 3)
t.multinomial(t.tensor([-1.0, 2.0]), 1)
t.multinomial(t.tensor([0.0, 0.0]), 1)
t.multinomial(t.tensor([math.nan, 1.0]), 1)
t.multinomial(t.tensor([1.0]), 0)
t.multinomial(t.tensor([1, 2]), 1)
t.multinomial(t.ones(1, 2, 2), 1)
t.normal(0.0, 1.0)
t.set_rng_state(t.ones(3))
t.tensor(A).size(2)
t.tensor(A).size(-3)
t.tensor(A).stride(2)
t.tensor(A).item()
t.tensor([]).item()
t.ones(2, requires_grad=True).numpy()
float(t.ones(2))
int(t.ones(2))
bool(t.ones(2))
bool(t.tensor([]))
[1, 2][t.tensor(0.0)]
[1, 2][t.tensor([0, 1])]
len(t.tensor(1.0))
list(t.tensor(1.0))
f'{t.ones(2):.2f}'
t.ones(3).mT
t.tensor([1, 2]).requires_grad_()
t.ones(2).register_hook(print)
t.ones(2).retain_grad()
t.ones(2).backward()
x = t.ones(2, requires_grad=True); x.requires_grad = True; (x * 2).requires_grad_(False)
x = t.ones(2, requires_grad=True); (x * 2).backward()
x = t.ones(2, requires_grad=True); x.sum().backward(t.ones(3))
x = t.ones(2, requires_grad=True); (x * 2).backward(t.ones(2).numpy())
x = t.ones(2, requires_grad=True); t.autograd.grad(x * 2, x, t.ones(2).numpy())
t.empty(1 << 62)
t.ones(1 << 40, 1 << 40)
t.backends.cuda.matmul.allow_tf32 = 'yes'
t.backends.cuda.matmul.allow_tf32 = 1
x = t.ones(2); x.grad = t.ones(3)
x = t.ones(2); x.grad = t.ones(2, dtype=t.float64)
x = t.ones(2); x.grad = 'a'
x = t.ones(2); x.data = 'a'
t.seed(1)
t.tensor(A) + 'a'
'a' + t.tensor(A)
t.tensor(A) + None
t.tensor(A) * [1, 2]
[1, 2] - t.tensor(A)
t.tensor(A) < 'a'
t.tensor(A) < None
t.tensor(A) @ 2.0
t.tensor(A) + t.ones(4)
t.tensor(A) @ t.tensor(A)
t.tensor(A) & 1
~t.tensor(A)
t.tensor(A).copy_(t.ones(4))
t.tensor(A).copy_('a')
t.tensor(A).fill_('a')
t.tensor(A).fill_(t.ones(2))
t.tensor([1]).normal_()
t.tensor([1]).uniform_()
t.tensor(A).uniform_(2.0, 1.0)
t.tensor(A).normal_(0.0, -1.0)
t.tensor(A).bernoulli_(1.5)
t.tensor(A).exponential_(-1.0)
t.tensor(A).random_(5, 5)
t.tensor(A).to('gpu')
t.tensor(A).to(typ=t.float64)
t.set_default_dtype(t.int64)
t.finfo(t.int64)
t.iinfo(t.float32)
t.broadcast_shapes((2,), (3,))
"""


@pytest.mark.parametrize("expression", [line.strip() for line in REFUSED.strip().splitlines()])
def test_refused_as_in_torch(expression):
    """Both libraries raise, ours the same class of error or a subclass, with a message."""
    with pytest.raises(Exception) as theirs:  # noqa: B017, PT011
        run(expression, torch)
    with pytest.raises(Exception) as ours:  # noqa: B017, PT011
        run(expression, tg)
    assert issubclass(ours.type, theirs.type) and len(str(ours.value)) > 10, (ours.value, theirs.value)


# ---- what has no counterpart in PyTorch, or differs on purpose -------------------------------------------------------


def test_the_class_and_its_functions_are_one():
    """A method that is also a function is that function, so one record of the op table covers both."""
    differ = {
        name
        for name, function in vars(tg).items()
        if callable(function) and name[0] != "_" and name in vars(tg.Tensor) and vars(tg.Tensor)[name] is not function
    }
    # `where` has the condition first as a function, sampling stands above the class, in-place functions check that they
    # are given a tensor. The others are types there, or written in the class itself.
    questions = {"numel", "is_complex", "is_floating_point", "is_nonzero"}
    assert differ == {"where", "bernoulli", "multinomial", "detach", "dtype", "device", "clamp_", "relu_"} | questions
    assert tg.Tensor.softmax is tg.softmax and tg.Tensor.add is tg.add


def test_names_that_pytorch_has_too():
    """Nothing public is called otherwise than in PyTorch."""
    of_our_own = {"H"} | {n for n in dir(tg.Tensor) if n.startswith("_")}
    assert [n for n in dir(tg.Tensor) if n not in of_our_own and not hasattr(torch.Tensor, n)] == []
    ours = {
        "Device",
        "data",
        "dispatch",
        "functional",
        "ops",
        "backend",
        "creation",
        "kernels",
        "absent",
        "mirror",
        "settings",
        "torch_names",
        "tensor",
        "recompute",
        "use_kernels",
    }
    modules = {"serialization", "testing", "inspect", "doctor", "Function"}  # PyTorch has Function in autograd alone
    public = [n for n in vars(tg) if not n.startswith("_") and n not in ours | modules]
    assert [n for n in public if not hasattr(torch, n)] == []


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: tg.tensor([1.0, 2.5]), "tensor([1. , 2.5])"),
        (lambda: tg.tensor(3), "tensor(3)"),
        (lambda: tg.tensor([True, False]), "tensor([ True, False])"),
        (lambda: tg.tensor([1.0], dtype=tg.float64), "tensor([1.], dtype=tinygrad_edu.float64)"),
        (lambda: tg.tensor([1.0], requires_grad=True), "tensor([1.], requires_grad=True)"),
        (lambda: tg.tensor([1.0], requires_grad=True) * 2, "tensor([2.], grad_fn=<MulBackward0>)"),
        (lambda: tg.tensor([1], dtype=tg.int8), "tensor([1], dtype=tinygrad_edu.int8)"),
        (lambda: tg.zeros(0, 3), "tensor([], shape=(0, 3))"),
        (lambda: tg.tensor([[1, 2], [3, 4]]), "tensor([[1, 2],\n        [3, 4]])"),
    ],
)
def test_repr(make, text):
    assert repr(make()) == str(make()) == f"{make()}" == text


def test_repr_of_a_large_tensor_is_short():
    text = repr(tg.zeros(100, 100))
    assert len(text) < 600 and "..." in text and "shape=(100, 100)" in text


def test_repr_of_other_things():
    assert repr(tg.ones(2, 3).shape) == "tinygrad_edu.Size([2, 3])"
    assert (repr(tg.float32), str(tg.bool)) == ("tinygrad_edu.float32", "tinygrad_edu.bool")
    assert tg.tensor([1.5]).type() == "tinygrad_edu.float32"


# ---- dtypes ----------------------------------------------------------------------------------------------------------


DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


@pytest.mark.parametrize("a", DTYPES)
def test_promotion_as_in_torch(a):
    """Between tensors with axes, tensors without, and Python numbers: all of them."""
    for b in DTYPES:
        assert run(f"t.promote_types(t.{a}, t.{b})", tg) == run(f"t.promote_types(t.{a}, t.{b})", torch)
        for x in (f"t.ones(2, dtype=t.{a})", f"t.ones((), dtype=t.{a})"):
            for y in (f"t.ones(2, dtype=t.{b})", f"t.ones((), dtype=t.{b})", "True", "2", "2.5"):
                for expression in (f"{x} * {y}", f"{y} * {x}"):
                    assert run(expression, tg) == run(expression, torch), expression


def test_dtypes_meet_numpy():
    assert np.zeros(2, tg.float16).dtype == np.float16
    assert tg.float32 == np.float32 == tg.float32 and tg.float32 == np.dtype("float32")
    assert tg.float32 != np.float64 and tg.float32 != "float32"
    assert {tg.float32: 1}[tg.float32] == 1
    assert copy.deepcopy(tg.float32) == tg.float32
    assert tg.zeros(2, dtype=np.float64).dtype is tg.float64
    assert tg.zeros(2, dtype=float).dtype is tg.float32 and tg.zeros(2, dtype=int).dtype is tg.int64
    assert (tg.uint8.is_signed, tg.int8.is_signed, tg.float16.is_complex) == (False, True, False)


@pytest.mark.parametrize("array", [np.ones(2, np.complex64), np.ones(2, np.uint16), np.array(["a"]), np.array([None])])
def test_arrays_of_other_types_are_refused(array):
    for make in (tg.tensor, tg.as_tensor, tg.from_numpy):
        with pytest.raises(TypeError, match="unsupported dtype|could not infer"):
            make(array)


def test_the_default_dtype():
    assert tg.get_default_dtype() is tg.float32
    try:
        tg.set_default_dtype(tg.float64)
        assert tg.tensor([1.5]).dtype is tg.float64 and tg.zeros(1).dtype is tg.float64
        assert (tg.tensor([1, 2]) / 2).dtype is tg.float64 and (tg.tensor([1]) * 1.5).dtype is tg.float64
        assert tg.rand(1).dtype is tg.float64 and repr(tg.tensor([1.5])) == "tensor([1.5])"
    finally:
        tg.set_default_dtype(tg.float32)
    with pytest.raises(TypeError, match="expected a floating dtype such as float32, got tinygrad_edu.int64"):
        tg.set_default_dtype(tg.int64)


def test_complex_numbers_are_refused():
    with pytest.raises(TypeError, match="could not infer the dtype of complex"):
        tg.tensor([1j])


def test_other_devices_are_refused():
    for make in (lambda: tg.zeros(2, device="cuda"), lambda: tg.ones(2).to("cuda:1"), lambda: tg.ones(2).cuda()):
        with pytest.raises(RuntimeError, match="device .cuda.* needs "):
            make()


def test_copying_a_tensor_with_tensor_is_advised_against():
    with pytest.warns(UserWarning, match=r"clone\(\)"):
        tg.tensor(tg.ones(2))


# ---- NumPy -----------------------------------------------------------------------------------------------------------


def test_arrays_and_tensors_compute_together():
    a, x = A.copy(), tg.tensor(A, requires_grad=True)
    for y in (a + x, x + a, a * x, x * a, a - x, x - a, x / (a * 4 + 1), a.T @ x, np.float32(2) * x, x / np.float64(2)):
        assert isinstance(y, tg.Tensor) and y.requires_grad and y.dtype is tg.float32
    assert_close((a - x).detach(), a - a)
    assert_close((a.T @ x).detach(), a.T @ a)
    for y in (a < x, a == x, x != a):
        assert isinstance(y, tg.Tensor) and y.dtype is tg.bool
    x = tg.tensor(A)
    x += a
    assert_close(x, 2 * a)


def test_numpy_functions_take_tensors():
    x = tg.tensor(A)
    assert np.asarray(x) is x.numpy() or np.shares_memory(np.asarray(x), x.numpy())
    assert not np.shares_memory(np.array(x), x.numpy())
    assert np.asarray(x, dtype=np.float64).dtype == np.float64
    assert np.sum(x.numpy()) == np.sum(np.asarray(x))
    np.testing.assert_array_equal(np.concatenate([x, x]), np.concatenate([A, A]))
    with pytest.raises(RuntimeError, match="requires grad"):
        np.asarray(tg.ones(2, requires_grad=True))


def test_dlpack_in_both_directions():
    x = tg.tensor(A)
    array = np.from_dlpack(x)
    theirs = torch.from_dlpack(x)
    array[0, 0] = 5
    assert x[0, 0].item() == theirs[0, 0].item() == 5.0


def test_iterables_that_numpy_reads():
    import array

    assert tg.tensor(array.array("d", [1.5, 2.5])).tolist() == [1.5, 2.5]
    assert tg.tensor(memoryview(b"abc")).tolist() == [97, 98, 99]


# ---- copies ----------------------------------------------------------------------------------------------------------


def test_deepcopy_of_a_leaf_is_a_leaf_of_its_own():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    loss = (x * x).sum()
    loss.backward(retain_graph=True)
    y, shared = copy.deepcopy([x, x])
    assert y is shared and y.requires_grad and not np.shares_memory(y._array, x._array)
    assert y.grad.tolist() == x.grad.tolist() and y.grad is not x.grad
    (y * 10.0).sum().backward()
    assert (y.grad.tolist(), x.grad.tolist()) == ([12.0, 14.0], [2.0, 4.0])
    y.detach().fill_(0.0)
    assert x.tolist() == [1.0, 2.0]


def test_deepcopy_of_a_result_is_refused_as_in_torch():
    for t in (tg, torch):
        with pytest.raises(RuntimeError, match="leaf|leaves|created explicitly"):
            copy.deepcopy(t.ones(2, requires_grad=True) * 2)


def test_copy_shares_memory():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    y = copy.copy(x)
    assert y is not x and y.requires_grad and np.shares_memory(y._array, x._array)


def test_pickle_is_refused():
    import pickle

    with pytest.raises(TypeError, match="save"):
        pickle.dumps(tg.ones(2))


def test_tensors_are_hashed_by_identity():
    x, y = tg.ones(2), tg.ones(2)
    assert {x: 1, y: 2}[x] == 1 and len({x, y, x}) == 2


# ---- random numbers --------------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_numbers_everywhere_and_always():
    """Runs are repeated from their seed years later, so these numbers may never change."""
    tg.manual_seed(0)
    assert tg.rand(2, dtype=tg.float64).tolist() == [0.011546754286331562, 0.24154919656271812]
    assert tg.rand(3).tolist() == [0.5321277976036072, 0.5023795962333679, 0.906371533870697]
    assert tg.randn(3).tolist() == pytest.approx(
        [-0.18233217298984528, -0.7431952357292175, 0.4471154808998108], rel=1e-6
    )
    assert tg.randint(0, 1000, (3,)).tolist() == [572, 255, 865]
    assert tg.randperm(6).tolist() == [5, 4, 1, 0, 3, 2]
    bits = np.random.Philox(key=0).random_raw(2)
    tg.manual_seed(0)
    assert tg.rand(2, dtype=tg.float64).tolist() == [(int(b) >> 11) / 2**53 for b in bits]


def test_a_generator_is_a_stream_of_its_own():
    tg.manual_seed(7)
    expected = [tg.rand(3).tolist(), tg.randn(5).tolist(), tg.randint(9, (2,)).tolist(), tg.randperm(4).tolist()]
    g = tg.Generator().manual_seed(7)
    got = [
        tg.rand(3, generator=g).tolist(),
        tg.randn(5, generator=g).tolist(),
        tg.randint(9, (2,), generator=g).tolist(),
        tg.randperm(4, generator=g).tolist(),
    ]
    assert got == expected
    assert tg.zeros(3).uniform_(generator=tg.Generator().manual_seed(7)).tolist() == expected[0]
    assert g.seed() != tg.Generator().seed() and repr(tg.Generator().manual_seed(7)) == "Generator(seed=7)"


def test_a_state_that_is_none_is_refused():
    with pytest.raises(TypeError, match="the uint8 tensor that get_state gives"):
        tg.set_rng_state(tg.ones(48))
    with pytest.raises(ValueError, match="has 48 bytes, .* this tensor has 3"):
        tg.Generator().set_state(tg.zeros(3, dtype=tg.uint8))
    with pytest.raises(TypeError, match="expected an int, got float"):
        tg.manual_seed(1.5)


def test_random_distributions():
    tg.manual_seed(1)
    n = 200_000
    u, z = tg.rand(n, dtype=tg.float64).numpy(), tg.randn(n, dtype=tg.float64).numpy()
    e = tg.zeros(n).exponential_(2.0).numpy()
    k = tg.randint(3, 8, (n,)).numpy()
    assert 0 <= u.min() and u.max() < 1
    for sample, mean, deviation in ((u, 0.5, 1 / math.sqrt(12)), (z, 0.0, 1.0), (e, 0.5, 0.5), (k, 5.0, math.sqrt(2))):
        assert abs(sample.mean() - mean) < 5 * deviation / math.sqrt(n)
        assert abs(sample.std() - deviation) < 5 * deviation / math.sqrt(n) * 2
    assert sorted(set(k.tolist())) == [3, 4, 5, 6, 7]
    b = tg.bernoulli(tg.full((n,), 0.25)).numpy()
    assert abs(b.mean() - 0.25) < 0.01
    w = tg.multinomial(tg.tensor([1.0, 0.0, 3.0]), n, replacement=True).numpy()
    assert abs((w == 2).mean() - 0.75) < 0.01 and not (w == 1).any()
    first = np.array([tg.multinomial(tg.tensor([1.0, 3.0]), 2)[0].item() for _ in range(2000)])
    assert abs((first == 1).mean() - 0.75) < 0.06
    assert sorted(tg.randperm(1000).tolist()) == list(range(1000))


def test_float32_uniforms_never_round_up_to_one():
    u = tg.rand(1 << 20, dtype=tg.float32).numpy()
    h = tg.rand(1 << 16, dtype=tg.float16).numpy()
    assert u.max() < 1 and h.max() < 1


# ---- assert_close ----------------------------------------------------------------------------------------------------


CLOSE = [
    (1.0, 1.0 + 1e-8),
    ([1.0, 2.0], [1.0, 2.0]),
    (np.float32([1, 2]), np.float32([1, 2 + 1e-6])),
    (np.float64([1, 2]), np.float64([1, 2 + 1e-6])),
    (np.float64([1e-8]), np.float64([0.0])),
    (np.array([1, 2]), np.array([1, 2])),
    (np.array([1, 2]), np.array([1, 3])),
    (np.array([True]), np.array([False])),
    (np.ones((2, 3)), np.ones((3, 2))),
    (np.ones(2, np.float32), np.ones(2, np.float64)),
    (np.array([np.inf, -np.inf]), np.array([np.inf, -np.inf])),
    (np.array([np.inf]), np.array([-np.inf])),
    (np.array([np.nan]), np.array([np.nan])),
    (np.array([1.0]), np.array([np.inf])),
    (np.ones((0, 3)), np.ones((0, 3))),
    ({"a": np.ones(2)}, {"a": np.ones(2)}),
    ({"a": np.ones(2)}, {"b": np.ones(2)}),
    ([np.ones(2), np.zeros(2)], [np.ones(2), np.ones(2)]),
    ((np.ones(2),), (np.ones(2), np.ones(2))),
]


@pytest.mark.parametrize("options", [{}, {"rtol": 1e-3, "atol": 1e-3}, {"equal_nan": True}, {"check_dtype": False}])
@pytest.mark.parametrize("actual, expected", CLOSE)
def test_assert_close_as_in_torch(actual, expected, options):
    def convert(x, to):
        if isinstance(x, dict):
            return {k: convert(v, to) for k, v in x.items()}
        if isinstance(x, (list, tuple)):
            return type(x)(convert(v, to) for v in x)
        return to(x) if isinstance(x, np.ndarray) else x

    def passes(check, to):
        try:
            check(convert(actual, to), convert(expected, to), **options)
        except AssertionError:
            return False
        return True

    assert passes(assert_close, tg.from_numpy) == passes(torch.testing.assert_close, torch.from_numpy)


def test_assert_close_says_where_and_by_how_much():
    with pytest.raises(
        AssertionError, match=r"2 of 4 elements differ; worst at \(1, 0\): .*5.0.*, expected .*3.0.* 2,"
    ):
        assert_close(np.array([[1.0, 2.1], [5.0, 4.0]]), np.array([[1.0, 2.0], [3.0, 4.0]]))
    with pytest.raises(AssertionError, match=r"at \[1\]: at \['k'\]: shape \(2,\), expected \(3,\)"):
        assert_close([1.0, {"k": np.ones(2)}], [1.0, {"k": np.ones(3)}])
    with pytest.raises(AssertionError, match="expected a mapping with keys .*'a'.*, got a float"):
        assert_close(1.0, {"a": 1.0})
    with pytest.raises(AssertionError, match="^mine$"):
        assert_close(1.0, 2.0, msg="mine")
    with pytest.raises(ValueError, match="both rtol and atol"):
        assert_close(1.0, 1.0, rtol=1e-3)
    assert_close(tg.ones(2, requires_grad=True), torch.ones(2))


def test_seeding_from_the_operating_system():
    first, second = tg.seed(), tg.seed()
    assert first != second == tg.initial_seed()
    tg.manual_seed(second)
    expected = tg.rand(3).tolist()
    tg.manual_seed(0)
    tg.manual_seed(second)
    assert tg.rand(3).tolist() == expected
