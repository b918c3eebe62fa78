"""What hand-written kernels of the notebooks share: sizes of a two-dimensional operation, and shapes to check them on.

Must not learn what a kernel computes.
"""

from dataclasses import replace

from helpers.checking.shape_classes import sample_classes, shape_classes


def image_plane(op):
    """Sizes of a two-dimensional convolution or pooling, for kernels that are written without depth.

    Returns
    -------
    tuple of 12 int
        H, W, C of the input, P, Q, K of the output (height, width, channels), R, S of the window, the stride down and
        right, the padding on top and on the left.

    Raises
    ------
    ValueError
        For an operation with depth.
    """
    g = op.geometry
    window = g.kernel if hasattr(g, "kernel") else g.window
    if g.in_shape[0] != 1 or window[0] != 1:
        raise ValueError(f"this kernel has no depth, but the input is {g.in_shape}; the production kernel takes it")
    return (*g.in_shape[1:], *g.out_shape[1:], *window[1:], *g.stride[1:], *g.padding[1:])


def divisor(number, limit):
    """The largest divisor of `number` that is at most `limit`."""
    return max(d for d in range(1, min(number, limit) + 1) if number % d == 0)


def plane_problems(kind, tile):
    """Two-dimensional shapes around `tile` on which a hand-written kernel is checked, nothing fused.

    Parameters
    ----------
    kind : str
        Operation.
    tile : int
        Cells along an axis, at least 3.

    Returns
    -------
    dict of str to (Op, batch, shape)
        `shape` is None where the operation has a geometry.
    """
    if kind == "softmax_cross_entropy":
        return sample_classes(kind, tile)
    return {
        name: (replace(op, activation=None, mask=None), batch, None)
        for name, (op, batch) in shape_classes(kind, tile).items()
        if kind.startswith(("dense", "activation")) or op.geometry.in_shape[0] == 1
    }
