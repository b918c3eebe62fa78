"""Engines by name. Each is imported only when it is made, so that none drags in what a reader lacks."""

from importlib import import_module

# name: (module, class)
ENGINES = {
    "layerwise": ("helpers.engines.layerwise", "LayerwiseEngine"),
    "vectorized": ("helpers.engines.vectorized", "VectorizedEngine"),
    "loops": ("helpers.engines.loops", "LoopsEngine"),
    "pytorch": ("helpers.engines.pytorch", "PyTorchEngine"),
    "jax": ("helpers.engines.jax", "JaxEngine"),
    "keras": ("helpers.engines.keras", "KerasEngine"),
    "keras_compiled": ("helpers.engines.keras_compiled", "CompiledKerasEngine"),
    "tensorflow": ("helpers.engines.tensorflow", "TensorFlowEngine"),
}


def make_engine(name, network, optimizer, batch_size=128, precision="fp32", seed=0, **options):
    """Engine `name` for `network`; "auto" is the fastest one that can run it on this machine.

    Raises
    ------
    ValueError
        For an unknown name, or whatever the engine refuses.
    """
    if name == "auto":
        from helpers.device import gpu_available

        name = "layerwise" if gpu_available() else "vectorized"
    if name not in ENGINES:
        raise ValueError(f"engine is {name!r}; expected 'auto', {', '.join(map(repr, ENGINES))}")
    module, cls = ENGINES[name]
    return getattr(import_module(module), cls)(network, optimizer, batch_size, precision, seed, **options)
