"""Engines by name. Each is imported only when it is made, so that none drags in what a reader lacks."""

from importlib import import_module

import numpy as np

from helpers.layers import ACTIVATIONS

# name: (module, class)
ENGINES = {
    "fused": ("helpers.engines.fused", "FusedEngine"),
    "layerwise": ("helpers.engines.layerwise", "LayerwiseEngine"),
    "tensor": ("helpers.engines.tensor", "TensorEngine"),
    "vectorized": ("helpers.engines.vectorized", "VectorizedEngine"),
    "loops": ("helpers.engines.loops", "LoopsEngine"),
    "vectorized_optimizers": ("helpers.engines.vectorized_optimizers", "VectorizedOptimizersEngine"),
    "pytorch": ("helpers.engines.pytorch", "PyTorchEngine"),
    "jax": ("helpers.engines.jax", "JaxEngine"),
    "keras": ("helpers.engines.keras", "KerasEngine"),
    "keras_compiled": ("helpers.engines.keras_compiled", "CompiledKerasEngine"),
    "tensorflow": ("helpers.engines.tensorflow", "TensorFlowEngine"),
    "fused_rung": ("helpers.engines.fused_rung", "FusedRungEngine"),
}

# multiplied on tensor cores, by the engine that keeps activations in their words
TENSOR_PRECISIONS = ("bf16", "fp16", "tf32", "3xtf32")

# layers that an engine does not know; the others know all
REFUSED_LAYERS = {"keras": ACTIVATIONS, "keras_compiled": ACTIVATIONS}

# those that train by every optimizer; the others by plain SGD
EVERY_OPTIMIZER = ("fused", "vectorized_optimizers")


def make_engine(name, network, optimizer, batch_size=128, precision="fp32", seed=0, **options):
    """Engine `name` for `network`; "auto" is the fastest one that can run it on this machine.

    That is `fused` for networks that fit a card's shared memory, `layerwise` for others and for `options` such as
    kernels of one's own, and one of NumPy's without a card. In a precision of tensor cores it is `tensor`, which also
    stands for `layerwise` there.

    Raises
    ------
    ValueError
        For an unknown name, an optimizer that the engine does not offer, or whatever else the engine refuses.
    """
    if name == "auto":
        name, options = _fastest(network, optimizer, batch_size, precision, options)
    if name == "layerwise" and precision in TENSOR_PRECISIONS:
        name = "tensor"
    if name not in ENGINES:
        raise ValueError(f"engine is {name!r}; expected 'auto', {', '.join(map(repr, ENGINES))}")
    if not optimizer.plain and name not in EVERY_OPTIMIZER:
        raise ValueError(
            f"engine {name!r} offers SGD without nesterov and weight decay only; for this {type(optimizer).__name__} "
            f"choose {' or '.join(map(repr, EVERY_OPTIMIZER))}"
        )
    if name in REFUSED_LAYERS:
        _refuse_layers(name, network)
    module, cls = ENGINES[name]
    return getattr(import_module(module), cls)(network, optimizer, batch_size, precision, seed, **options)


def _refuse_layers(name, network):
    """Refuse the first layer of `network` that engine `name` does not know."""
    for stage in network.stages:
        if isinstance(stage.layer, REFUSED_LAYERS[name]):
            raise ValueError(
                f"engine {name!r} cannot run {stage.name}: of activations this project gives it ReLU only, no "
                f"{type(stage.layer).__name__}; choose 'pytorch', 'jax' or 'tensorflow'"
            )


def _fastest(network, optimizer, batch_size, precision, options):
    """Name and options of the fastest engine here: by what was measured of their kinds, nothing is timed."""
    if precision in TENSOR_PRECISIONS:
        return "tensor", options
    plan = None if options else _fused_plan(network, batch_size, precision)
    if plan is None:
        return _fastest_other(optimizer), options
    return "fused", {"plan": plan}


def _fused_plan(network, batch_size, precision):
    """The plan by which `fused` trains on the card that is there; None without one whose shared memory holds it."""
    from helpers.device import capability, device_properties, gpu_available
    from helpers.kernels.fused.places import DoesNotFit
    from helpers.kernels.fused.plan import card_of, plan_epoch

    sound = isinstance(batch_size, (int, np.integer)) and batch_size > 0  # if not, the engine that is made says so
    if not sound or precision != "fp32" or not gpu_available():
        return None
    try:
        return plan_epoch(network, batch_size, card_of(device_properties(), capability()))
    except DoesNotFit:
        return None


def _fastest_other(optimizer):
    """Name of the fastest engine but `fused` here that offers the optimizer."""
    from helpers.device import gpu_available

    if optimizer.plain:
        return "layerwise" if gpu_available() else "vectorized"
    return "vectorized_optimizers"
