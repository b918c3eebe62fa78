"""Engine `keras_compiled`: Keras on PyTorch, whose training step torch.compile makes into kernels.

Knows Keras's switch for it and the settings of torch's compiler; all else is the engine `keras`.
"""

from importlib import import_module

from helpers.engines.keras import KerasEngine

LAYERS = 64  # of one kind, at most, that torch compiles


class CompiledKerasEngine(KerasEngine):
    """Trains with Keras on its backend "torch", compiled: the best form there, for it refuses several steps at once.

    Parameters
    ----------
    network, optimizer, batch_size, precision, seed
        As in `Engine`.
    form : {"fit"}, optional

    Raises
    ------
    ValueError
        Where this process has imported Keras with another backend, or for a layer that Keras lacks.
    """

    name = "keras_compiled"
    forms = ("fit",)

    def __init__(self, network, optimizer, batch_size=128, precision="fp32", seed=0, form=None):
        super().__init__(network, optimizer, batch_size, precision, seed, form, "torch")
        keep_sizes_constant()

    def _load_split(self, images, labels):
        super()._load_split(images, labels)
        self._model.jit_compile = True  # read when fit makes the function of a step


def keep_sizes_constant():
    """Let torch.compile make code for the sizes of a model alone.

    Layers of one kind share their code. By default torch takes what differs between them for variable, which is slower
    and fails for some networks, and leaves what it has compiled eight times uncompiled.
    """
    import_module("torch").compiler.reset()  # what a model of other sizes left in this process
    config = import_module("torch._dynamo.config")
    config.automatic_dynamic_shapes, config.recompile_limit = False, LAYERS
