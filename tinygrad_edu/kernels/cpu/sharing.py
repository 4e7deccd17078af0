"""How a kernel's work is shared out among the threads of Numba's pool.

Numba does it by itself for loops over `prange`, but takes four times as long to compile a function that has one. So the
one in `compiling.share_out` serves all kernels: it calls them by address.
"""

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_LONG, _POINTER = ir.IntType(64), ir.IntType(8).as_pointer()
_TASK = ir.FunctionType(ir.VoidType(), [_LONG, _LONG, _POINTER])  # first, last, record
_SHARE_OUT = ir.FunctionType(ir.VoidType(), [_LONG] * 4)
# Its address is given to all kernels: the address of the machine code of `share_out`, and the number of threads.
POOL = np.array([0, numba.config.NUMBA_NUM_THREADS])


@intrinsic
def call(typing_context, task, first, last, record):
    """task(first, last, record), where task and record are addresses."""

    def generate(context, builder, signature, values):
        task, first, last, record = values
        task, record = builder.inttoptr(task, _TASK.as_pointer()), builder.inttoptr(record, _POINTER)
        builder.call(task, [first, last, record])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), generate


@intrinsic
def launch(typing_context, pool, n, arguments):
    """Let `share_out` call the function in which this stands, with (first, last, 0, *arguments)."""

    def generate(context, builder, signature, values):
        pool, n, packed = values
        unpacked = cgutils.unpack_tuple(builder, packed, len(arguments))
        borrowed = [_borrowed(context, builder, kind, value) for kind, value in zip(arguments, unpacked, strict=True)]
        record = cgutils.alloca_once_value(builder, cgutils.pack_struct(builder, [*borrowed, cgutils.false_bit]))

        task = ir.Function(builder.module, _TASK, f"{builder.function.name}.task")
        task.linkage = "internal"
        inside = ir.IRBuilder(task.append_basic_block())
        first, last, address = task.args
        address = inside.bitcast(address, record.type)
        *given, _ = cgutils.unpack_tuple(inside, inside.load(address))
        kinds = [types.int64, types.int64, types.int64, *arguments]
        status, _ = context.call_conv.call_function(
            inside, builder.function, types.none, kinds, [first, last, _LONG(0), *given]
        )
        with cgutils.if_unlikely(inside, status.is_error):
            inside.store(cgutils.true_bit, cgutils.gep_inbounds(inside, address, 0, len(arguments)))
        inside.ret_void()

        pool = builder.inttoptr(pool, _LONG.as_pointer())
        share_out = builder.inttoptr(builder.load(pool), _SHARE_OUT.as_pointer())
        threads = builder.load(builder.gep(pool, [_LONG(1)]))
        parts = builder.select(builder.icmp_signed("<", n, threads), n, threads)
        builder.call(share_out, [builder.ptrtoint(task, _LONG), n, parts, builder.ptrtoint(record, _LONG)])
        failed = builder.load(cgutils.gep_inbounds(builder, record, 0, len(arguments)))
        with cgutils.if_unlikely(builder, failed):  # of what a kernel asks for only memory can be missing
            context.call_conv.return_user_exc(builder, MemoryError, ("no memory for what a kernel keeps meanwhile",))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, arguments), generate


def _borrowed(context, builder, kind, value):
    """An array without its owner: threads that count the same references one after the other wait for each other."""
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value=value)
    array.meminfo = cgutils.get_null_value(array.meminfo.type)
    array.parent = cgutils.get_null_value(array.parent.type)
    return array._getvalue()
