"""Network: layers with their inferred shapes and the layout of the parameter vector. Frozen; holds no values.

Knows the layers and their geometry; must not learn about engines, devices or training.
"""

from dataclasses import dataclass, field
from math import prod

import pandas as pd

from helpers.geometry import ConvGeometry, DenseGeometry, PointwiseGeometry, PoolGeometry, window_geometry
from helpers.layers import ACTIVATIONS, ELU, Conv, Dense, Flatten, LeakyReLU, Pool, ReLU, Sigmoid, Tanh

# what a stage of each layer type is called, before its number
NAMES = {
    Conv: "conv",
    Pool: "pool",
    ReLU: "relu",
    LeakyReLU: "leaky_relu",
    ELU: "elu",
    Sigmoid: "sigmoid",
    Tanh: "tanh",
    Flatten: "flatten",
    Dense: "dense",
}


@dataclass(frozen=True)
class Parameter:
    """One named slice of the parameter vector: `shape` at `offset`, C order; the fans are for initialisation."""

    name: str
    shape: tuple[int, ...]
    offset: int
    fan_in: int
    fan_out: int

    @property
    def size(self):
        return prod(self.shape)

    @property
    def slice(self):
        return slice(self.offset, self.offset + self.size)


@dataclass(frozen=True)
class Stage:
    """One layer in its place: name ("conv1"), shapes of one image without the batch, geometry, parameters."""

    name: str
    layer: object
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    geometry: object = None
    parameters: tuple[Parameter, ...] = ()

    @property
    def macs(self):
        """Multiply-adds of one image's forward pass."""
        return self.geometry.macs if self.geometry else 0


@dataclass(frozen=True)
class Network:
    """A feed-forward network of `layers` on images of `input_shape`, trained with softmax cross-entropy.

    Parameters
    ----------
    input_shape : tuple of int
        One image, channels last: (H, W, C), or (D, H, W, C).
    layers : sequence of layer descriptions
        The last one must be `Dense`: its units are the classes.
    name : str
        Used in tables and file names.

    Raises
    ------
    ValueError
        If a layer does not fit the shape that reaches it; the message names the layer and the shape.
    """

    input_shape: tuple[int, ...]
    layers: tuple[object, ...]
    name: str = "network"
    stages: tuple[Stage, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        shape = tuple(int(size) for size in self.input_shape)
        if len(shape) not in (3, 4) or min(shape) < 1:
            raise ValueError(f"input_shape is {self.input_shape}; expected (H, W, C) or (D, H, W, C), all at least 1")
        object.__setattr__(self, "input_shape", shape)
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers or not isinstance(self.layers[-1], Dense):
            raise ValueError("the last layer must be Dense: its units are the classes of softmax cross-entropy")
        object.__setattr__(self, "stages", _infer(shape, self.layers))

    @property
    def parameters(self):
        """Every `Parameter`, in the order of the parameter vector: per layer, weight then bias."""
        return tuple(p for stage in self.stages for p in stage.parameters)

    @property
    def parameter_count(self):
        return sum(p.size for p in self.parameters)

    @property
    def classes(self):
        return self.layers[-1].units

    @property
    def training_flops(self):
        """Floating-point operations of one image's training step: 2 a multiply-add, forward, both gradients.

        The first layer with parameters needs no input gradient.
        """
        macs = [stage.macs for stage in self.stages if stage.macs]
        return 2 * (3 * sum(macs) - macs[0])

    def summary(self):
        """Table of layers: output shape, parameters, MFLOP of one image's forward pass, bytes of its output.

        Returns
        -------
        pandas.DataFrame
            One row a layer and a last row of sums; float32 bytes.
        """
        rows = [
            {
                "layer": stage.name,
                "output shape": " x ".join(map(str, stage.output_shape)),
                "parameters": sum(p.size for p in stage.parameters),
                "forward MFLOP": 2 * stage.macs / 1e6,
                "output bytes": 0 if isinstance(stage.layer, Flatten) else 4 * prod(stage.output_shape),
            }
            for stage in self.stages
        ]
        table = pd.DataFrame(rows).set_index("layer")
        table.loc["total"] = ["", *table.iloc[:, 1:].sum()]
        return table.astype({"parameters": int, "output bytes": int}).round({"forward MFLOP": 4})


def _infer(shape, layers):
    """Stages of `layers` on images of `shape`: each shape, geometry and parameter offset."""
    stages, counts, offset = [], {}, 0
    for layer in layers:
        kind = NAMES.get(type(layer))
        if kind is None:
            raise ValueError(f"{layer!r} is no layer description; helpers/layers.py lists them")
        counts[kind] = counts.get(kind, 0) + 1
        name = f"{kind}{counts[kind]}"
        try:
            output, geometry = _place(layer, shape)
        except ValueError as error:
            raise ValueError(f"{name} does not fit its input of shape {shape}: {error}") from None
        parameters = _parameters(name, geometry, offset)
        offset += sum(p.size for p in parameters)
        stages.append(Stage(name, layer, shape, output, geometry, parameters))
        shape = output
    return tuple(stages)


def _place(layer, shape):
    """Output shape and geometry of `layer` on one image of `shape`."""
    if isinstance(layer, ReLU):
        return shape, None
    if isinstance(layer, ACTIVATIONS):
        return shape, PointwiseGeometry(layer, shape)
    if isinstance(layer, Flatten):
        return (prod(shape),), None
    if isinstance(layer, Dense):
        if len(shape) != 1:
            raise ValueError("Dense reads a vector; put Flatten() before it")
        return (layer.units,), DenseGeometry(shape[0], layer.units)
    window = layer.kernel if isinstance(layer, Conv) else layer.window
    if len(shape) != len(window) + 1:
        raise ValueError(f"a window of {len(window)} axes needs an image of {len(window)} spatial axes and channels")
    full = (1,) * (4 - len(shape)) + shape
    outputs, window, stride, padding = window_geometry(full, window, layer.stride, layer.padding)
    if isinstance(layer, Conv):
        geometry = ConvGeometry(full, (*outputs, layer.filters), window, stride, padding)
    else:
        geometry = PoolGeometry(layer.mode, full, (*outputs, full[3]), window, stride, padding)
    return geometry.out_shape[4 - len(shape) :], geometry


def _parameters(name, geometry, offset):
    """Weight and bias of a layer at `offset` of the parameter vector; none without weights."""
    if not hasattr(geometry, "weight_shape"):
        return ()
    shape = geometry.weight_shape
    taps = prod(shape[:-2])
    fan_in, fan_out = taps * shape[-2], taps * shape[-1]
    weight = Parameter(f"{name}.weight", shape, offset, fan_in, fan_out)
    return weight, Parameter(f"{name}.bias", shape[-1:], offset + weight.size, fan_in, fan_out)
