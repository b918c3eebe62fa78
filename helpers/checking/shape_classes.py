"""The shapes on which every kernel is checked: at, below and above its tile, several blocks, and the degenerate ones.

Must not learn what a kernel computes.
"""

from helpers.geometry import ConvGeometry, DenseGeometry, PointwiseGeometry, PoolGeometry, window_geometry
from helpers.layers import ELU, LeakyReLU, Sigmoid, Tanh
from helpers.lowering import Op


def shape_classes(kind, tile=8, mode="max"):
    """Operations of `kind` on shapes around `tile`, every second one with a fused ReLU or mask.

    Parameters
    ----------
    kind : str
        conv_..., pool_..., dense_... or activation_...: an operation with a geometry.
    tile : int
        Cells a block makes along each axis, at least 3.
    mode : {"max", "average"}
        Of pooling.

    Returns
    -------
    dict of str to (Op, batch)
    """
    if kind.startswith("activation"):
        return _activation_classes(kind, tile)
    t = tile
    sizes = {  # batch, image (D, H, W), input channels, output channels
        "one": (1, (1, 1, 1), 1, 1),
        "tile - 1": (2, (1, t - 1, t - 1), 3, t - 1),
        "tile": (2, (1, t, t), 4, t),
        "tile + 1": (2, (1, t + 1, t + 1), 5, t + 1),
        "three blocks": (3, (1, t, 2 * t + 3), 3, 2 * t + 1),
        "one channel": (2, (1, t, t + 2), 1, 2),
        "one image": (1, (1, t + 1, t), 3, 5),
        "odd": (3, (1, 7, 5), 3, 7),
        "volume": (2, (3, 4, 5), 2, 3),
    }
    return {
        name: (_op(kind, _geometry(kind, mode, name, *size[1:]), fused=number % 2 == 1), _batch(kind, name, *size))
        for number, (name, size) in enumerate(sizes.items())
    }


def sample_classes(kind, tile=8):
    """Operations without geometry on tensors around `tile`.

    Parameters
    ----------
    kind : str
        relu_... or softmax_cross_entropy.
    tile : int

    Returns
    -------
    dict of str to (Op, batch, shape)
        `shape` is that of one image.
    """
    sizes = {"one": (1, 2), "tile": (tile, 3), "tile + 1": (tile + 1, 10), "many": (2, 40)}
    return {name: (Op(kind, "layer", (), ()), batch, (size,)) for name, (batch, size) in sizes.items()}


def _activation_classes(kind, tile):
    """Every activation beside ReLU on tensors around `tile`, with constants other than the layers' own."""
    sizes = {"one": (1, (1,)), "tile": (tile, (2, 3)), "tile + 1": (tile + 1, (5,)), "odd": (3, (1, 7, 5, 3))}
    return {
        f"{type(function).__name__}, {name}": (Op(kind, "layer", (), (), PointwiseGeometry(function, shape)), batch)
        for function in (LeakyReLU(0.25), ELU(0.75), Sigmoid(), Tanh())
        for name, (batch, shape) in sizes.items()
    }


def _geometry(kind, mode, name, image, channels, filters):
    """Geometry of one class: a 3x3 window (pooling 2x2), strided, uneven and padded where the shape is odd."""
    if kind.startswith("dense"):
        return DenseGeometry(image[2] * channels, filters)
    conv = kind.startswith("conv")
    window, stride, padding = ((3, 3), (1, 1), ("same",) * 2) if conv else ((2, 2), (2, 2), ("valid",) * 2)
    if name == "one":
        window, stride = (1, 1), (1, 1)
    elif name == "tile" and conv:
        padding = ("valid",) * 2
    elif name == "odd":
        window, stride, padding = (3, 2), (2, 1), (1, "same")
    elif name == "volume":
        window, stride, padding = (2, 3, 2), (1, 2, 1), ("same", 1, "valid")
    outputs, window, stride, before = window_geometry((*image, channels), window, stride, padding)
    if conv:
        return ConvGeometry((*image, channels), (*outputs, filters), window, stride, before)
    return PoolGeometry(mode, (*image, channels), (*outputs, channels), window, stride, before)


def _batch(kind, name, batch, image, channels, filters):
    """Images of a class; a dense layer tiles the batch too."""
    return image[1] if kind.startswith("dense") and name != "one image" else batch


def _op(kind, geometry, fused):
    forward = kind in ("conv_forward", "conv_pool_forward", "dense_forward")
    pool = {"pool": _pool_of(geometry)} if kind == "conv_pool_forward" else {}
    return Op(
        *(kind, "layer", (), ()),
        geometry=geometry,
        activation="relu" if fused and forward else None,
        mask="layer" if fused and kind.endswith("_input_gradient") else None,
        **pool,
    )


def _pool_of(geometry):
    """Max-pooling 2x2 over the output of a convolution, 1 along an axis too short for it."""
    shape = geometry.out_shape
    window = (1, *(min(2, size) for size in shape[1:3]))
    outputs, window, stride, before = window_geometry(shape, window, window, ("valid",) * 3)
    return PoolGeometry("max", shape, (*outputs, shape[3]), window, stride, before)
