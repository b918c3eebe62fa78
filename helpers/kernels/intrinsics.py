"""Instructions that Numba has no name for, each with a Python twin (`.py_func`) for the simulator and the tracer.

Addresses: `load4` and `store4` move 128 bits and need an index that is a multiple of 4 into a 16-byte aligned array.
Pointers (`shared_floats`) are indexed like arrays but without Numba's test for negative indices.
"""

import numpy as np
from numba import float32, int32

from helpers.device import SIMULATOR, cuda, device_function


def _load4(array, index):
    """Four neighbouring float32 of `array` from `index` on, as a tuple; one 128-bit load."""
    return array[index], array[index + 1], array[index + 2], array[index + 3]


def _store4(array, index, a, b, c, d):
    """Write four neighbouring float32 of `array` from `index` on; one 128-bit store."""
    array[index], array[index + 1], array[index + 2], array[index + 3] = a, b, c, d


def _pointer(array, offset):
    """Pointer to element `offset` of a flat float32 `array`."""
    return array[offset:]


if SIMULATOR:
    load4, store4, pointer = (device_function(f) for f in (_load4, _store4, _pointer))
else:
    from llvmlite import ir

    try:
        from numba.cuda import cgutils, types
        from numba.cuda.extending import intrinsic
    except ImportError:  # older numba-cuda shares numba's own
        from numba.core import cgutils, types
        from numba.extending import intrinsic

    def _address(context, builder, array_type, array, index, index_type):
        """LLVM pointer to element `index` of an array or pointer."""
        index = context.cast(builder, index, index_type, types.intp)
        if isinstance(array_type, types.Array):
            array = context.make_array(array_type)(context, builder, array).data
        return builder.gep(array, [index])

    def _vector(builder, address):
        return builder.bitcast(address, ir.VectorType(ir.FloatType(), 4).as_pointer())

    @intrinsic
    def load4(typingctx, array, index):
        signature = types.UniTuple(types.float32, 4)(array, index)

        def codegen(context, builder, sig, args):
            address = _address(context, builder, sig.args[0], args[0], args[1], sig.args[1])
            vector = builder.load(_vector(builder, address), align=16)
            values = [builder.extract_element(vector, ir.Constant(ir.IntType(32), i)) for i in range(4)]
            return cgutils.pack_array(builder, values)

        return signature, codegen

    @intrinsic
    def store4(typingctx, array, index, a, b, c, d):
        signature = types.void(array, index, *(types.float32,) * 4)

        def codegen(context, builder, sig, args):
            address = _address(context, builder, sig.args[0], args[0], args[1], sig.args[1])
            vector = ir.Constant(ir.VectorType(ir.FloatType(), 4), ir.Undefined)
            for i, value in enumerate(args[2:]):
                vector = builder.insert_element(vector, value, ir.Constant(ir.IntType(32), i))
            builder.store(vector, _vector(builder, address), align=16)
            return context.get_dummy_value()

        return signature, codegen

    @intrinsic
    def pointer(typingctx, array, offset):
        signature = types.CPointer(array.dtype)(array, offset)

        def codegen(context, builder, sig, args):
            return _address(context, builder, sig.args[0], args[0], args[1], sig.args[1])

        return signature, codegen

    load4.py_func, store4.py_func, pointer.py_func = _load4, _store4, _pointer


@device_function
def shared_floats(offset):
    """Pointer to float32 number `offset` of the block's dynamic shared memory."""
    return pointer(cuda.shared.array(0, float32), offset)


@device_function
def shared_ints(offset):
    """Pointer to 32-bit cell `offset` of the block's dynamic shared memory, read as int32."""
    return pointer(cuda.shared.array(0, int32), offset)


@device_function
def quotient(i, n):
    """i // n of non-negative integers below 2**32, by a 32-bit division."""
    return np.int64(np.uint32(i) // np.uint32(n))


@device_function
def remainder(i, n):
    """i % n of non-negative integers below 2**32, by a 32-bit division."""
    return np.int64(np.uint32(i) % np.uint32(n))


@device_function
def narrow(i):
    """A non-negative index below 2**32: what it is computed from then needs 32-bit arithmetic only."""
    return np.int64(np.uint32(i))
