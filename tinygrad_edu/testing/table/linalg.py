"""Records of the products of matrices and of sums of products."""

from __future__ import annotations

import numpy as np

from ..records import ErrorSample, OpRecord, Sample


def normal(rng):
    """A function that makes a normal array of a shape."""
    return lambda shape: np.asarray(rng.standard_normal(shape))


def _shapes(*shapes_of_each):
    """A sample of normal arrays for each tuple of shapes."""
    return lambda rng: [Sample(*map(normal(rng), shapes)) for shapes in shapes_of_each]


def _matmul(rng):
    n = normal(rng)
    samples = _shapes(
        ((3, 4), (4, 5)),
        ((4,), (4,)),  # vectors
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((4,), (2, 4, 5)),
        ((2, 3, 4), (4,)),
        ((6, 2, 3, 4), (4,)),
        ((4,), (6, 2, 4, 5)),
        ((2, 3, 4), (4, 5)),  # one matrix for the whole batch
        ((3, 4), (2, 4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((6, 2, 3, 4), (2, 4, 5)),  # batch axes that broadcast
        ((1, 3, 4), (5, 4, 2)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((1, 1), (1, 1)),
        ((2, 0, 4), (4, 3)),  # empty
        ((3, 0), (0, 4)),
        ((2, 3, 0), (0, 4)),
        ((0,), (0,)),
        ((0, 3, 4), (0, 4, 2)),
    )(rng)
    x = n((4, 4))
    return [
        *samples,
        Sample(n((4, 3)).T, n((5, 4)).T),
        Sample(n((6, 4))[::2], n((4, 10))[:, ::2]),
        Sample(n((2, 4, 3)).swapaxes(1, 2), n((2, 5, 4)).swapaxes(1, 2)),
        Sample(x, x),  # one tensor used twice
        Sample(rng.integers(-5, 5, (3, 4)), rng.integers(-5, 5, (4, 2))),
        Sample(np.array([[np.inf, 1.0]]), np.array([[1.0], [np.nan]])),
    ]


def _matmul_errors(rng):
    n = normal(rng)
    return [
        ErrorSample(n((2, 3)), n((4, 5)), error=RuntimeError, match=r"shapes \(2, 3\) and \(4, 5\).* 3, .* 4;"),
        ErrorSample(n(3), n(4), error=RuntimeError, match="only size of the second is 4"),
        ErrorSample(n((2, 3, 4)), n((3, 4, 5)), error=RuntimeError, match=r"batch axes \(2,\) and \(3,\)"),
        ErrorSample(n(()), n((3, 4)), error=RuntimeError, match="at least 1D, but they are 0D and 2D"),
        ErrorSample(
            n((2, 3)).astype(np.float32), n((3, 4)), error=RuntimeError, match="float32 != float64; convert one"
        ),
        ErrorSample(np.ones((2, 2), bool), np.ones((2, 2), bool), error=NotImplementedError, match="bool"),
        ErrorSample(n((2, 3)), 2.0, error=TypeError, match="'other' must be Tensor, not float"),
    ]


def _pair_errors(*cases):
    def errors(rng):
        wrong = [
            ErrorSample(*(rng.standard_normal(s) for s in shapes), error=RuntimeError, match=match)
            for shapes, match in cases
        ]
        a, b = (rng.standard_normal(s) for s in cases[0][0])
        return [*wrong, ErrorSample(a.astype(np.float32), b, error=RuntimeError, match="dtype|must be|cannot")]

    return errors


def _added(shape, *factors):
    """Samples of beta * input + alpha * product."""

    def samples(rng):
        n = normal(rng)
        return [
            Sample(n(shape), *(n(f) for f in factors)),
            Sample(n(shape[-1:]), *(n(f) for f in factors), beta=0.5, alpha=2.0),
            Sample(n(()), *(n(f) for f in factors), beta=2, alpha=0),
            Sample(np.ones(shape, int), *(rng.integers(-3, 3, f) for f in factors), beta=2, alpha=3),
            Sample(np.full(shape, 7), *(rng.integers(-3, 3, f) for f in factors), beta=0),
        ]

    return samples


def _added_errors(rng):
    n = normal(rng)
    return [
        ErrorSample(n(3), n((2, 3)), n((3, 4)), error=RuntimeError, match="expanded size"),
        ErrorSample(n((5, 2, 4)), n((2, 3)), n((3, 4)), error=RuntimeError, match="number of"),
        ErrorSample(n(4), n(3), n((3, 4)), error=RuntimeError, match="mat1 must be a matrix"),
        ErrorSample(n(4), n((2, 3)), n((2, 4)), error=RuntimeError, match="cannot be multiplied"),
        ErrorSample(n(4).astype(np.float32), n((2, 3)), n((3, 4)), error=RuntimeError, match="same dtype"),
    ]


def _linear(rng):
    n = normal(rng)
    return [
        Sample(n((3, 4)), n((5, 4)), n(5)),
        Sample(n((3, 4)), n((5, 4))),
        Sample(n(4), n((5, 4)), n(5)),
        Sample(n((2, 3, 4)), n((5, 4)), n(5)),
        Sample(n((2, 2, 3, 4)), n((1, 4)), n(1)),
        Sample(n((3, 4)), n(4)),
        Sample(n((0, 4)), n((5, 4)), n(5)),
        Sample(n((2, 0)), n((5, 0)), n(5)),
        Sample(n((4, 3, 2)).T, n((4, 5)).T, n(10)[::2]),
        Sample(n((3, 2, 4)).swapaxes(0, 1), n((5, 4)), n(5)),
    ]


def _linear_errors(rng):
    n = normal(rng)
    return [
        ErrorSample(n((2, 3)), n((4, 5)), error=RuntimeError, match=r"\(2, 3\) and weight of shape \(4, 5\)"),
        ErrorSample(n((2, 3)), n((4, 3)), n(5), error=RuntimeError, match=r"bias of shape \(4,\).*got \(5,\)"),
        ErrorSample(n((2, 3)), n((2, 4, 3)), error=RuntimeError, match=r"\(O, I\)"),
        ErrorSample(n(()), n((2, 3)), error=RuntimeError, match="input of shape"),
        ErrorSample(n((2, 3)), n((4, 3)).astype(np.float32), error=RuntimeError, match="float64 != float32"),
        ErrorSample(
            n((2, 3)), n((4, 3)), n(4).astype(np.float32), error=RuntimeError, match="input and bias .*same dtype"
        ),
        ErrorSample([1.0], n((2, 3)), error=TypeError, match="'input' must be Tensor, not list"),
    ]


def _einsum(rng):
    n = normal(rng)
    cases = [
        ("ij,jk->ik", (3, 4), (4, 5)),
        ("ij,jk", (3, 4), (4, 5)),  # implicit output
        ("bA,ca", (2, 3), (4, 5)),  # ... in the order of the letters, capitals first
        ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
        ("bhid,bhjd->bhij", (2, 2, 3, 4), (2, 2, 5, 4)),
        ("ij->ji", (3, 4)),  # one operand
        ("ij->", (3, 4)),
        ("ij->j", (3, 4)),
        ("ii->i", (3, 3)),  # diagonals
        ("ii", (3, 3)),
        ("iij,jk->ik", (3, 3, 4), (4, 2)),
        ("iii->i", (3, 3, 3)),
        ("ijij->ji", (2, 3, 2, 3)),
        ("ij,ik->i", (3, 4), (3, 5)),  # indices that one operand alone has
        ("ij,kl->", (3, 4), (2, 5)),
        ("i,i->i", (4,), (4,)),
        ("i,j->ij", (4,), (3,)),
        ("i,ij,j->", (4,), (4, 3), (3,)),  # more than two operands
        ("ab,bc,cd,de->ae", (2, 3), (3, 4), (4, 2), (2, 3)),
        (",ij->ij", (), (3, 4)),  # no index at all
        ("", ()),
        ("...ij,...jk->...ik", (2, 3, 4), (2, 4, 5)),  # ellipsis
        ("...ij,...jk->...ik", (5, 1, 3, 4), (2, 4, 2)),
        ("...j,jk", (2, 3, 4), (4, 5)),
        ("i...->...", (3, 4, 2)),
        ("...,...->...", (2, 1, 3), (4, 1)),
        ("...i,i->i", (2, 4), (4,)),
        ("ij,jk->ik", (3, 1), (4, 5)),  # size 1 broadcasts
        ("ij,ij->ij", (3, 1), (1, 4)),
        ("ij,jk->ik", (3, 0), (0, 4)),  # empty
        ("ij,jk->ik", (0, 3), (3, 4)),
        (" i j , j k -> k i", (3, 4), (4, 5)),
    ]
    x, y = n((3, 4)), n((4, 5))
    return [
        *(Sample(equation, *(n(s) for s in shapes)) for equation, *shapes in cases),
        Sample("ij,jk->ik", [x, y]),
        Sample("ij,ij->i", x, x),
        Sample(x, [0, 1], y, [1, 2], [0, 2]),
        Sample(n((2, 3, 4)), [..., 30], y, [30, 1]),
        Sample("ij,kj->ik", n((4, 3)).T, n((10, 4))[::2]),
        Sample("ij,jk", rng.integers(-5, 5, (3, 4)), rng.integers(-5, 5, (4, 2))),
    ]


def _einsum_errors(rng):
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
    return [
        ErrorSample("ij,jk->ik", a, a, error=RuntimeError, match=r"j has size 2 for operand 1 .* size 3"),
        ErrorSample("ijk->i", a, error=RuntimeError, match="'ijk' has 3 subscripts, but operand 0 has 2 dimensions"),
        ErrorSample("...ijk->i", a, error=RuntimeError, match="3 subscripts"),
        ErrorSample("ij,jk->ik", a, error=RuntimeError, match="for 2 operands, but 1 were"),
        ErrorSample("ij->ik", a, error=RuntimeError, match="k appears in no input"),
        ErrorSample("ij->ii", a, error=RuntimeError, match="i appears more than once"),
        ErrorSample("i1->i", a, error=RuntimeError, match="invalid subscript '1'"),
        ErrorSample("......->", a, error=RuntimeError, match="invalid subscript '.'"),
        ErrorSample("ij->i->j", a, error=RuntimeError, match="invalid subscript"),
        ErrorSample("ii->i", a, error=RuntimeError, match="i is repeated for operand 0 .* 2 != 3"),
        ErrorSample("ij", error=ValueError, match="at least one operand"),
        ErrorSample(a, [0, 52], error=ValueError, match=r"52 .*\[0, 52\)"),
        ErrorSample("ij,jk", a, b.astype(np.float32), error=RuntimeError, match="same dtype"),
        ErrorSample("ij", [[1.0]], error=TypeError, match="must be Tensor, not list"),
    ]


def _tensordot(rng):
    n = normal(rng)
    return [
        Sample(n((5, 2, 3)), n((2, 3, 7))),
        Sample(n((2, 3)), n((3, 4)), dims=1),
        Sample(n((2, 3)), n((4,)), dims=0),
        Sample(n((5, 2, 3)), n((3, 2)), dims=([2, 1], [0, 1])),
        Sample(n((5, 2, 3)), n((2, 5)), dims=([-2, 0], [0, 1])),
        Sample(n((2, 3)), n((2, 3)), dims=([], [])),
        Sample(n((0, 3)), n((3, 4)), dims=1),
        Sample(n((3, 2)).T, n((4, 3)).T, dims=1),
    ]


def _tensordot_errors(rng):
    a, b = rng.standard_normal((2, 3)), rng.standard_normal((3, 4))
    return [
        ErrorSample(a, a, dims=1, error=RuntimeError, match="a has size 3 in dim 1 and b has size 2 in dim 0"),
        ErrorSample(a, b, dims=-1, error=RuntimeError, match="dims=-1"),
        ErrorSample(a, b, dims=3, error=RuntimeError, match="from 0 to 2"),
        ErrorSample(a, b, dims=([0, 1], [0]), error=RuntimeError, match="same length"),
        ErrorSample(a, a, dims=([1, 1], [1, 1]), error=RuntimeError, match="multiple times"),
        ErrorSample(a, b.astype(np.float32), dims=1, error=RuntimeError, match="dtype"),
    ]


def _bilinear(rng):
    n = normal(rng)
    return [
        Sample(n((5, 2)), n((5, 3)), n((4, 2, 3)), n(4)),
        Sample(n((5, 2)), n((5, 3)), n((4, 2, 3))),
        Sample(n(2), n(3), n((4, 2, 3)), n(4)),
        Sample(n((2, 5, 2)), n((2, 5, 3)), n((1, 2, 3)), n(1)),
    ]


def _bilinear_errors(rng):
    n = normal(rng)
    return [
        ErrorSample(n((5, 2)), n((6, 3)), n((4, 2, 3)), error=RuntimeError, match=r"got \(5, 2\), \(6, 3\)"),
        ErrorSample(n((5, 2)), n((5, 4)), n((4, 2, 3)), error=RuntimeError, match=r"\(O, I, J\)"),
        ErrorSample(n((5, 2)), n((5, 3)), n((4, 2, 3)), n(3), error=RuntimeError, match=r"bias of shape \(4,\)"),
    ]


def _kron(rng):
    n = normal(rng)
    return [
        *_shapes(((2, 3), (4, 5)), ((2,), (3,)), ((2, 3), (5, 2, 3)), ((), (2, 3)), ((2, 0), (3, 1)))(rng),
        Sample(n((2, 3)).T, n((6, 2))[::2]),
        Sample(n((2, 3)).astype(np.float32), n((2, 2))),
        Sample(rng.integers(-5, 5, (2, 3)), n(2)),
    ]


def _vectors(rng):
    return [
        *_shapes(((4,), (4,)), ((1,), (1,)), ((0,), (0,)))(rng),
        Sample(rng.standard_normal(8)[::2], rng.standard_normal(4)[::-1].copy()),
        Sample(rng.integers(-5, 5, 4), rng.integers(-5, 5, 4)),
    ]


_vector_errors = _pair_errors(
    (((3,), (4,)), "last size of the first is 3"),
    (((2, 3), (3,)), r"must be a vector \(1-D\), but got 2-D of shape \(2, 3\)"),
)


def _chain(rng):
    n = normal(rng)
    return [
        Sample(n((2, 3)), n((3, 4))),
        Sample(n((5, 2)), n((2, 7)), n((7, 3)), n((3, 1))),
        Sample(n((2, 8)), n((8, 3)), n((3, 6))),
        Sample(n((1, 9)), n((9, 1)), n((1, 9)), n((9, 1)), n((1, 4))),
    ]


RECORDS = [
    OpRecord("matmul", _matmul, _matmul_errors, kind="reduction"),
    OpRecord("Tensor.__matmul__", lambda rng: _matmul(rng)[:4], kind="reduction"),
    OpRecord(
        "mm",
        lambda rng: [
            *_shapes(((3, 4), (4, 5)), ((1, 1), (1, 1)), ((0, 3), (3, 2)), ((3, 0), (0, 2)))(rng),
            Sample(rng.standard_normal((4, 3)).T, rng.standard_normal((8, 5))[::2]),
        ],
        _pair_errors(
            (((2, 3), (4, 5)), "cannot be multiplied"),
            (((2, 3, 4), (4, 5)), r"input must be a matrix \(2-D\), but got 3-D"),
            (((2, 3), (3,)), "mat2 must be a matrix"),
        ),
        kind="reduction",
    ),
    OpRecord(
        "bmm",
        _shapes(((2, 3, 4), (2, 4, 5)), ((1, 3, 4), (1, 4, 1)), ((0, 3, 4), (0, 4, 2)), ((2, 3, 0), (2, 0, 4))),
        _pair_errors(
            (((2, 3, 4), (3, 4, 5)), "got 2 and 3"),
            (((2, 3, 4), (2, 5, 5)), "last size of the first is 4"),
            (((3, 4), (2, 4, 5)), "input must be a batch of matrices"),
        ),
        kind="reduction",
    ),
    OpRecord(
        "mv",
        _shapes(((3, 4), (4,)), ((1, 1), (1,)), ((0, 4), (4,)), ((3, 0), (0,))),
        _pair_errors((((2, 3), (4,)), "only size of the second is 4"), (((2, 3, 4), (4,)), "input must be a matrix")),
        kind="reduction",
    ),
    OpRecord("dot", _vectors, _vector_errors, kind="reduction"),
    OpRecord("vdot", _vectors, _vector_errors, kind="reduction"),
    OpRecord(
        "outer",
        lambda rng: [
            *_shapes(((3,), (4,)), ((1,), (4,)), ((0,), (4,)))(rng),
            Sample(rng.standard_normal(6)[::2], rng.standard_normal(3).astype(np.float32)),
            Sample(rng.integers(-5, 5, 3), rng.standard_normal(2)),
        ],
        lambda rng: [
            ErrorSample(
                rng.standard_normal((2, 3)),
                rng.standard_normal(3),
                error=RuntimeError,
                match=r"vector .*shape \(2, 3\)",
            ),
            ErrorSample(rng.standard_normal(3), 2.0, error=TypeError, match="'vec2' must be Tensor"),
        ],
    ),
    OpRecord(
        "inner",
        _shapes(((4,), (4,)), ((3, 4), (4,)), ((5, 2, 3), (2, 3)), ((), (2, 3)), ((2, 3), ()), ((2, 0), (3, 0))),
        _pair_errors(
            (((2, 3), (4, 5)), r"\[2, 3\] and \[4, 5\]"),
        ),
        kind="reduction",
    ),
    OpRecord("addmm", _added((2, 4), (2, 3), (3, 4)), _added_errors, kind="reduction"),
    OpRecord("addmv", _added((2,), (2, 3), (3,)), kind="reduction"),
    OpRecord("baddbmm", _added((5, 2, 4), (5, 2, 3), (5, 3, 4)), kind="reduction"),
    OpRecord("nn.functional.linear", _linear, _linear_errors, kind="reduction"),
    OpRecord("nn.functional.bilinear", _bilinear, _bilinear_errors, kind="reduction"),
    OpRecord(
        "trace",
        lambda rng: [
            *_shapes(((3, 3),), ((3, 5),), ((1, 1),), ((0, 3),))(rng),
            Sample(rng.standard_normal((5, 3)).T),
            Sample(rng.integers(-5, 5, (3, 3)).astype(np.int32)),
        ],
        lambda rng: [ErrorSample(rng.standard_normal(3), error=RuntimeError, match="expected a matrix, .*dim 1")],
        kind="reduction",
    ),
    OpRecord(
        "kron",
        _kron,
        torch=lambda torch, a, b: torch.kron(a.contiguous(), b.contiguous()),
        note="PyTorch 2.13 fails for two transposed inputs",
    ),
    OpRecord(
        "chain_matmul",
        _chain,
        lambda rng: [
            ErrorSample(
                rng.standard_normal((2, 3)),
                rng.standard_normal((2, 3)),
                error=RuntimeError,
                match="cannot be multiplied",
            ),
            ErrorSample(error=RuntimeError, match="one or more matrices"),
        ],
        kind="reduction",
        torch=lambda torch, *m: torch.linalg.multi_dot(m) if m else torch.chain_matmul(),
    ),
    OpRecord("einsum", _einsum, _einsum_errors, kind="reduction"),
    OpRecord("tensordot", _tensordot, _tensordot_errors, kind="reduction"),
]
