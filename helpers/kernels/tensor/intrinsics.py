"""Instructions of tensor cores, and the conversions to their formats, with Python twins (`.py_func`) of what is scalar.

A warp calls `mma_*` and `load_matrices` together, all 32 lanes; the interpreter lets the lanes exchange their words
(tracing/warp_matrices.py). A word is a float32 whose bits are the value or the two values, so that words move like
floats; nobody calculates with it.

`mma_*(a, left, right, sums)` adds the product of a line: 16 rows by four times eight columns, over eight words of each.
`a` are four words of A as `load_matrices` gives them, `left` and `right` four of B for sixteen columns each, `sums`
four for each eight columns. Tuples keep Numba's part of the compilation short: a line is one call. Must not learn what
is multiplied.
"""

import numpy as np

from helpers.device import SIMULATOR, device_function
from helpers.kernels.tensor.fragments import SHAPES
from helpers.rounding import round_to


def _round_tf32(value):
    """Word of a float32 as the nearest tf32, 10 bits of mantissa; ties away from zero (sm_80 and up)."""
    value = np.float32(value)
    rounded = ((value.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return np.where(np.isnan(value), value, rounded)[()]  # of some NaN the sum would be a number


def _pack_bf16(low, high):
    """Two float32 rounded to bf16, ties to even, in one word (sm_80 and up)."""
    values = np.array([low, high], np.float32)
    bits = np.where(np.isnan(values), np.float32(np.nan), round_to(values, "bf16")).view(np.uint32)
    return (bits[0] >> np.uint32(16) | bits[1]).view(np.float32)


def _pack_fp16(low, high):
    """Two float32 rounded to float16, ties to even, in one word."""
    return np.array([low, high], np.float32).astype(np.float16).view(np.float32)[0]


def _load_matrices(words, index):
    """Four words: of each of four 8 x 8 matrices of 16-bit values (8 x 4 of 32 bits) those of this lane.

    `words` is a pointer into shared memory. Lane l names the place of row l % 8 of matrix l // 8 there, four words from
    a multiple of 4 on; it gets word l % 4 of row l // 4 of every matrix.
    """
    raise NotImplementedError("the lanes of a warp exchange rows: the interpreter's stand-in does")


def _load_transposed(words, index):
    """As `load_matrices` for 16-bit values, each 8 x 8 matrix transposed: its columns are handed out as rows."""
    raise NotImplementedError("the lanes of a warp exchange rows: the interpreter's stand-in does")


def _copy_words(target, index, source, begin, inside):
    """Start to copy four words, 16-byte aligned, from global to shared memory; zeros if not `inside` (sm_80 and up)."""
    for i in range(4):
        target[index + i] = source[begin + i] if inside else np.float32(0.0)


def _low_bf16(word):
    """First of the two bf16 values of a word, as float32."""
    return (np.float32(word).view(np.uint32) << np.uint32(16)).view(np.float32)


def _high_bf16(word):
    """Second of the two bf16 values of a word, as float32."""
    return (np.float32(word).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def _low_fp16(word):
    """First of the two float16 values of a word, as float32."""
    return np.float32(np.array([word], np.float32).view(np.float16)[0])


def _high_fp16(word):
    """Second of the two float16 values of a word, as float32."""
    return np.float32(np.array([word], np.float32).view(np.float16)[1])


def _follow():
    """Wait until the kernel before this one in its stream is done, then let the next one start (sm_90 and up)."""


def _put_half(array, index, word):
    """Write the first 16-bit value of `word` to a uint16 array."""
    array[index] = np.float32(word).view(np.uint32) & np.uint32(0xFFFF)


def _mma(name):
    def multiply(a, left, right, sums):
        raise NotImplementedError("the lanes of a warp multiply together: the interpreter's stand-in does")

    multiply.__name__ = name
    return multiply


if SIMULATOR:
    round_tf32, pack_bf16, pack_fp16 = (device_function(f) for f in (_round_tf32, _pack_bf16, _pack_fp16))
    low_bf16, high_bf16, low_fp16, high_fp16, put_half, copy_words, follow = (
        device_function(f) for f in (_low_bf16, _high_bf16, _low_fp16, _high_fp16, _put_half, _copy_words, _follow)
    )
    load_matrices, load_transposed = _load_matrices, _load_transposed
    mma_tf32, mma_bf16, mma_fp16, mma_fp16_short = map(_mma, SHAPES)
else:
    from llvmlite import ir

    from helpers.kernels.intrinsics import (  # of numba-cuda, or of an older one's numba
        _address,
        cgutils,
        intrinsic,
        types,
    )

    INT, LONG, FLOAT = ir.IntType(32), ir.IntType(64), ir.FloatType()

    def _assembly(builder, result, operands, text, constraints, volatile=False):
        """One instruction, executed by all lanes of a warp at once."""
        kinds = ir.FunctionType(result, [operand.type for operand in operands])
        code = ir.InlineAsm(kinds, text, constraints, side_effect=volatile)
        return builder.call(code, operands, attrs=("convergent",))

    def _conversion(operands, text):
        """Intrinsic of some float32 that gives a word."""

        def typed(typingctx, *values):
            def codegen(context, builder, sig, args):
                floats = [context.cast(builder, v, t, types.float32) for v, t in zip(args, sig.args)]
                word = _assembly(builder, INT, floats, text, ",".join(["=r", *["f"] * operands]))
                return builder.bitcast(word, FLOAT)

            return types.float32(*values), codegen

        return typed

    @intrinsic
    def round_tf32(typingctx, value):
        return _conversion(1, "cvt.rna.tf32.f32 $0, $1;")(typingctx, value)

    @intrinsic
    def pack_bf16(typingctx, low, high):
        return _conversion(2, "cvt.rn.bf16x2.f32 $0, $2, $1;")(typingctx, low, high)

    @intrinsic
    def pack_fp16(typingctx, low, high):
        text = "{ .reg .b16 l, h; cvt.rn.f16.f32 l, $1; cvt.rn.f16.f32 h, $2; mov.b32 $0, {l, h}; }"
        return _conversion(2, text)(typingctx, low, high)

    def _value(typingctx, text):
        """Intrinsic of a word that gives a float32."""

        def typed(word):
            def codegen(context, builder, sig, args):
                bits = builder.bitcast(context.cast(builder, args[0], sig.args[0], types.float32), INT)
                return _assembly(builder, FLOAT, [bits], text, "=f,r")

            return types.float32(word), codegen

        return typed

    @intrinsic
    def low_bf16(typingctx, word):
        return _value(typingctx, "{ .reg .b32 b; shl.b32 b, $1, 16; mov.b32 $0, b; }")(word)

    @intrinsic
    def high_bf16(typingctx, word):
        return _value(typingctx, "{ .reg .b32 b; and.b32 b, $1, 0xFFFF0000; mov.b32 $0, b; }")(word)

    @intrinsic
    def low_fp16(typingctx, word):
        return _value(typingctx, "{ .reg .b16 l, h; mov.b32 {l, h}, $1; cvt.f32.f16 $0, l; }")(word)

    @intrinsic
    def high_fp16(typingctx, word):
        return _value(typingctx, "{ .reg .b16 l, h; mov.b32 {l, h}, $1; cvt.f32.f16 $0, h; }")(word)

    def _shared_address(builder, pointer):
        """32-bit address, in shared memory, of a pointer: arithmetic on it then needs 32 bits only."""
        return builder.ptrtoint(builder.addrspacecast(pointer, ir.PointerType(ir.FloatType(), 3)), INT)

    @intrinsic
    def put_half(typingctx, array, index, word):
        def codegen(context, builder, sig, args):
            place = _address(context, builder, sig.args[0], args[0], args[1], sig.args[1])
            bits = builder.bitcast(context.cast(builder, args[2], sig.args[2], types.float32), INT)
            builder.store(builder.trunc(bits, ir.IntType(16)), place)
            return context.get_dummy_value()

        return types.void(array, index, word), codegen

    @intrinsic
    def copy_words(typingctx, target, index, source, begin, inside):
        def codegen(context, builder, sig, args):
            into = _shared_address(builder, _address(context, builder, sig.args[0], args[0], args[1], sig.args[1]))
            out = _address(context, builder, sig.args[2], args[2], args[3], sig.args[3])
            taken = context.cast(builder, args[4], sig.args[4], types.boolean)
            size = builder.select(taken, ir.Constant(INT, 16), ir.Constant(INT, 0))
            text = "cp.async.cg.shared.global [$0], [$1], 16, $2;"
            operands = [into, builder.ptrtoint(out, LONG), size]
            _assembly(builder, ir.VoidType(), operands, text, "r,l,r,~{memory}", volatile=True)
            return context.get_dummy_value()

        return types.void(target, index, source, begin, inside), codegen

    @intrinsic
    def follow(typingctx):
        def codegen(context, builder, sig, args):
            text = "griddepcontrol.wait; griddepcontrol.launch_dependents;"
            _assembly(builder, ir.VoidType(), [], text, "~{memory}", volatile=True)
            return context.get_dummy_value()

        return types.void(), codegen

    def _loading(words, index, instruction):
        """Intrinsic of a pointer into shared memory that gives four words."""
        signature = types.UniTuple(types.float32, 4)(words, index)

        def codegen(context, builder, sig, args):
            address = _shared_address(builder, _address(context, builder, sig.args[0], args[0], args[1], sig.args[1]))
            text = f"ldmatrix.sync.aligned.m8n8.x4{instruction}.shared.b16 {{$0, $1, $2, $3}}, [$4];"
            result = ir.LiteralStructType([INT] * 4)
            loaded = _assembly(builder, result, [address], text, "=r,=r,=r,=r,r,~{memory}", volatile=True)
            return cgutils.pack_array(
                builder, [builder.bitcast(builder.extract_value(loaded, i), FLOAT) for i in range(4)]
            )

        return signature, codegen

    @intrinsic
    def load_matrices(typingctx, words, index):
        return _loading(words, index, "")

    @intrinsic
    def load_transposed(typingctx, words, index):
        return _loading(words, index, ".trans")

    def _multiplication(name, instruction):
        """Intrinsic of a warp's product of a line; see the first lines of this module."""
        shape = SHAPES[name]
        a, b = shape.a_words, shape.b_words
        braces = [", ".join(f"${i}" for i in range(first, last)) for first, last in
                  ((0, 4), (4, 4 + a), (4 + a, 4 + a + b), (4 + a + b, 8 + a + b))]  # fmt: skip
        text = f"mma.sync.aligned.{instruction} " + ", ".join(f"{{{part}}}" for part in braces) + ";"
        constraints = ",".join(["=f"] * 4 + ["r"] * (a + b) + ["f"] * 4)
        halves = 4 // a  # an instruction that takes half of the words is given twice

        def codegen(context, builder, sig, args):
            def words(value, count, kind):
                parts = [builder.extract_value(value, i) for i in range(count)]
                return [builder.bitcast(part, INT) for part in parts] if kind is INT else parts

            rows, sums = words(args[0], 4, INT), words(args[3], 16, FLOAT)
            columns = words(args[1], 4, INT) + words(args[2], 4, INT)
            for j in range(4):
                tile = sums[4 * j : 4 * j + 4]
                for half in range(halves):
                    own = rows[a * half : a * half + a] + columns[2 * j + b * half : 2 * j + b * half + b]
                    result = _assembly(builder, ir.LiteralStructType([FLOAT] * 4), own + tile, text, constraints)
                    tile = [builder.extract_value(result, i) for i in range(4)]
                sums[4 * j : 4 * j + 4] = tile
            return cgutils.pack_array(builder, sums)

        def typed(a, left, right, sums):
            four, sixteen = types.UniTuple(types.float32, 4), types.UniTuple(types.float32, 16)
            return sixteen(four, four, four, sixteen), codegen

        return typed

    @intrinsic
    def mma_tf32(typingctx, a, left, right, sums):
        return _multiplication("mma_tf32", "m16n8k8.row.col.f32.tf32.tf32.f32")(a, left, right, sums)

    @intrinsic
    def mma_bf16(typingctx, a, left, right, sums):
        return _multiplication("mma_bf16", "m16n8k16.row.col.f32.bf16.bf16.f32")(a, left, right, sums)

    @intrinsic
    def mma_fp16(typingctx, a, left, right, sums):
        return _multiplication("mma_fp16", "m16n8k16.row.col.f32.f16.f16.f32")(a, left, right, sums)

    @intrinsic
    def mma_fp16_short(typingctx, a, left, right, sums):
        return _multiplication("mma_fp16_short", "m16n8k8.row.col.f32.f16.f16.f32")(a, left, right, sums)

    round_tf32.py_func, pack_bf16.py_func, pack_fp16.py_func = _round_tf32, _pack_bf16, _pack_fp16
    low_bf16.py_func, high_bf16.py_func, low_fp16.py_func, high_fp16.py_func = (
        _low_bf16,
        _high_bf16,
        _low_fp16,
        _high_fp16,
    )
    put_half.py_func, copy_words.py_func, follow.py_func = _put_half, _copy_words, _follow
    load_matrices.py_func, load_transposed.py_func = _load_matrices, _load_transposed
    for _intrinsic in (mma_tf32, mma_bf16, mma_fp16, mma_fp16_short):
        _intrinsic.py_func = _mma(_intrinsic.__name__)
