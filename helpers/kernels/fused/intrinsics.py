"""Instructions of the fused kernel that Numba has no name for, each with a Python twin (`.py_func`).

Pairs of floats, copies that run on while the thread computes, words that other blocks wait for, the clock. Must not
learn what the words mean.
"""

import numpy as np

from helpers.device import SIMULATOR, cuda, device_function


def _load2(array, index):
    """Two neighbouring float32 of `array` from the even `index` on; one 64-bit load."""
    return array[index], array[index + 1]


def _store2(array, index, a, b):
    """Write two neighbouring float32 of `array` from the even `index` on; one 64-bit store."""
    array[index], array[index + 1] = a, b


def _copy4(target, index, source, begin):
    """Start to copy four neighbouring float32, both 16-byte aligned, from global to shared memory (sm_80 and up)."""
    for i in range(4):
        target[index + i] = source[begin + i]


def _wait_for_copies():
    """Wait until every copy that this thread started has arrived."""


def _prepare_arrival(words, index):
    """Make two int32 of shared memory, 8-byte aligned, ready to count the bytes that arrive (sm_90 and up)."""
    words[index], words[index + 1] = 0, 0


def _start_bulk_copy(target, index, source, begin, count, words, arrival):
    """Start one transfer of `count` float32, a multiple of 4, from global to shared memory; one thread calls."""
    for i in range(count):
        target[index + i] = source[begin + i]


def _has_arrived(words, arrival, parity):
    """1 when the bulk copy of this turn is complete; turns alternate in `parity`."""
    return 1


def _count_up(words, index, value):
    """Add to an int32, in one access, after everything that this thread has seen written: who observes it sees that."""
    words[index] += value


def _observe(words, index):
    """Read an int32 to which other blocks add; what they wrote before is then visible."""
    return words[index]


def _this_thread():
    """Number of this thread in its block, read anew: what is computed from it is not kept through a whole step."""
    return np.int64(cuda.threadIdx.x)


def _clock():
    """Cycles of this multiprocessor's clock, the low 32 bits as int32."""
    return 0


if SIMULATOR:
    load2, store2, copy4, wait_for_copies = (device_function(f) for f in (_load2, _store2, _copy4, _wait_for_copies))
    prepare_arrival, start_bulk_copy = device_function(_prepare_arrival), device_function(_start_bulk_copy)
    has_arrived, count_up, observe = (
        device_function(_has_arrived),
        device_function(_count_up),
        device_function(_observe),
    )
    this_thread, clock = device_function(_this_thread), device_function(_clock)
else:
    from llvmlite import ir

    try:
        from numba.cuda import cgutils, types
        from numba.cuda.extending import intrinsic
    except ImportError:  # older numba-cuda shares numba's own
        from numba.core import cgutils, types
        from numba.extending import intrinsic

    INT, LONG = ir.IntType(32), ir.IntType(64)

    def _address(context, builder, array_type, array, index, index_type):
        """LLVM pointer to element `index` of an array or pointer."""
        index = context.cast(builder, index, index_type, types.intp)
        if isinstance(array_type, types.Array):
            array = context.make_array(array_type)(context, builder, array).data
        return builder.gep(array, [index])

    def _assembly(builder, result, operands, text, constraints):
        """A volatile instruction that no memory access may be moved across."""
        kinds = ir.FunctionType(result, [operand.type for operand in operands])
        return builder.call(ir.InlineAsm(kinds, text, constraints, side_effect=True), operands)

    @intrinsic
    def load2(typingctx, array, index):
        signature = types.UniTuple(types.float32, 2)(array, index)

        def codegen(context, builder, sig, args):
            address = _address(context, builder, sig.args[0], args[0], args[1], sig.args[1])
            pair = builder.bitcast(address, ir.VectorType(ir.FloatType(), 2).as_pointer())
            vector = builder.load(pair, align=8)
            return cgutils.pack_array(builder, [builder.extract_element(vector, ir.Constant(INT, i)) for i in (0, 1)])

        return signature, codegen

    @intrinsic
    def store2(typingctx, array, index, a, b):
        signature = types.void(array, index, types.float32, types.float32)

        def codegen(context, builder, sig, args):
            address = _address(context, builder, sig.args[0], args[0], args[1], sig.args[1])
            vector = ir.Constant(ir.VectorType(ir.FloatType(), 2), ir.Undefined)
            for i, value in enumerate(args[2:]):
                vector = builder.insert_element(vector, value, ir.Constant(INT, i))
            builder.store(vector, builder.bitcast(address, vector.type.as_pointer()), align=8)
            return context.get_dummy_value()

        return signature, codegen

    @intrinsic
    def copy4(typingctx, target, index, source, begin):
        signature = types.void(target, index, source, begin)

        def codegen(context, builder, sig, args):
            into = _address(context, builder, sig.args[0], args[0], args[1], sig.args[1])
            out = _address(context, builder, sig.args[2], args[2], args[3], sig.args[3])
            text = (
                "{ .reg .u64 a; .reg .u32 s; cvta.to.shared.u64 a, $0; cvt.u32.u64 s, a; "
                "cp.async.cg.shared.global [s], [$1], 16; }"
            )
            operands = [builder.ptrtoint(into, LONG), builder.ptrtoint(out, LONG)]
            _assembly(builder, ir.VoidType(), operands, text, "l,l,~{memory}")
            return context.get_dummy_value()

        return signature, codegen

    @intrinsic
    def wait_for_copies(typingctx):
        def codegen(context, builder, sig, args):
            _assembly(builder, ir.VoidType(), [], "cp.async.wait_all;", "~{memory}")
            return context.get_dummy_value()

        return types.void(), codegen

    SHARED = ".reg .u64 a; .reg .u32 s; cvta.to.shared.u64 a, $0; cvt.u32.u64 s, a;"

    @intrinsic
    def prepare_arrival(typingctx, words, index):
        signature = types.void(words, index)

        def codegen(context, builder, sig, args):
            address = _address(context, builder, sig.args[0], args[0], args[1], sig.args[1])
            text = f"{{ {SHARED} mbarrier.init.shared.b64 [s], 1; fence.proxy.async; }}"
            _assembly(builder, ir.VoidType(), [builder.ptrtoint(address, LONG)], text, "l,~{memory}")
            return context.get_dummy_value()

        return signature, codegen

    @intrinsic
    def start_bulk_copy(typingctx, target, index, source, begin, count, words, arrival):
        signature = types.void(target, index, source, begin, count, words, arrival)

        def codegen(context, builder, sig, args):
            into = _address(context, builder, sig.args[0], args[0], args[1], sig.args[1])
            out = _address(context, builder, sig.args[2], args[2], args[3], sig.args[3])
            size = builder.shl(context.cast(builder, args[4], sig.args[4], types.int32), ir.Constant(INT, 2))
            word = _address(context, builder, sig.args[5], args[5], args[6], sig.args[6])
            # what other threads did with this memory, by ordinary loads and stores, comes before the transfer
            text = (
                f"{{ {SHARED} .reg .u64 b; .reg .u32 m; cvta.to.shared.u64 b, $3; cvt.u32.u64 m, b; "
                "fence.proxy.async; mbarrier.arrive.expect_tx.shared.b64 _, [m], $2; "
                "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [$1], $2, [m]; }"
            )
            operands = [builder.ptrtoint(into, LONG), builder.ptrtoint(out, LONG), size, builder.ptrtoint(word, LONG)]
            _assembly(builder, ir.VoidType(), operands, text, "l,l,r,l,~{memory}")
            return context.get_dummy_value()

        return signature, codegen

    @intrinsic
    def has_arrived(typingctx, words, arrival, parity):
        signature = types.int32(words, arrival, parity)

        def codegen(context, builder, sig, args):
            word = _address(context, builder, sig.args[0], args[0], args[1], sig.args[1])
            parity = context.cast(builder, args[2], sig.args[2], types.int32)
            text = (
                "{ .reg .u64 a; .reg .u32 s; .reg .pred p; cvta.to.shared.u64 a, $1; cvt.u32.u64 s, a; "
                "mbarrier.try_wait.parity.shared::cta.b64 p, [s], $2; selp.u32 $0, 1, 0, p; }"
            )
            return _assembly(builder, INT, [builder.ptrtoint(word, LONG), parity], text, "=r,l,r,~{memory}")

        return signature, codegen

    @intrinsic
    def count_up(typingctx, words, index, value):
        signature = types.void(words, index, value)

        def codegen(context, builder, sig, args):
            address = _address(context, builder, sig.args[0], args[0], args[1], sig.args[1])
            value = context.cast(builder, args[2], sig.args[2], types.int32)
            operands = [builder.ptrtoint(address, LONG), value]
            _assembly(builder, ir.VoidType(), operands, "red.release.gpu.global.add.u32 [$0], $1;", "l,r,~{memory}")
            return context.get_dummy_value()

        return signature, codegen

    @intrinsic
    def observe(typingctx, words, index):
        signature = types.int32(words, index)

        def codegen(context, builder, sig, args):
            address = _address(context, builder, sig.args[0], args[0], args[1], sig.args[1])
            operands = [builder.ptrtoint(address, LONG)]
            return _assembly(builder, INT, operands, "ld.acquire.gpu.global.u32 $0, [$1];", "=r,l,~{memory}")

        return signature, codegen

    @intrinsic
    def this_thread(typingctx):
        def codegen(context, builder, sig, args):
            number = _assembly(builder, INT, [], "mov.u32 $0, %tid.x;", "=r")
            return builder.zext(number, LONG)

        return types.int64(), codegen

    @intrinsic
    def clock(typingctx):
        def codegen(context, builder, sig, args):
            return _assembly(builder, INT, [], "mov.u32 $0, %clock;", "=r,~{memory}")

        return types.int32(), codegen

    for _function, _twin in (
        (load2, _load2), (store2, _store2), (copy4, _copy4), (wait_for_copies, _wait_for_copies),
        (prepare_arrival, _prepare_arrival), (start_bulk_copy, _start_bulk_copy), (has_arrived, _has_arrived),
        (count_up, _count_up), (observe, _observe), (this_thread, _this_thread), (clock, _clock),
    ):  # fmt: skip
        _function.py_func = _twin
