"""The lowered programs of the networks that are measured, each as a text: what lowering makes for the engines to run.

An epoch runs what is in such a program, nothing of the code that made it. Knows networks and programs; must not learn
about engines or measurement files.
"""

import functools
from dataclasses import MISSING, fields, is_dataclass

from helpers.architectures import lenet5, plain_blocks, small_cnn, small_plans, tiny, vgg_small
from helpers.lowering import fuse_activations, fuse_pool, fuse_relu, lower

# sizes of plain_blocks: what stays when another one grows, and what each grows to
PLAIN = {"size": 32, "channels": 32, "depth": 4}
GROWN = {"size": (8, 16, 48, 64), "channels": (8, 16, 64, 128), "depth": (1, 2, 8, 16)}
# what stands in a program's text beside its tensors: where the loss parts it counts too
PARTS = ("ops", "forward", "loss", "backward", "logits")


def measured_networks():
    """{name with the image's shape: Network} of all that suites measure."""
    made = [lenet5(), vgg_small(), small_cnn(), tiny(), *small_plans().values()]
    found = {f"{network.name} {_by(network.input_shape)}": network for network in made}
    for sizes in (PLAIN, *({**PLAIN, key: value} for key, values in GROWN.items() for value in values)):
        channels, depth, side = sizes["channels"], sizes["depth"], sizes["size"]
        network = plain_blocks((side, side, 3), channels=channels, depth=depth)
        found[f"{network.name} {_by(network.input_shape)}, {depth} times {channels} filters"] = network
    return found


def _by(shape):
    return "x".join(map(str, shape))


@functools.cache
def program_texts():
    """{name: canonical text} of each network's program, unfused and by each fusion that an engine asks for."""
    texts = {}
    for name, network in measured_networks().items():
        program = lower(network)
        apart = fuse_relu(program)
        texts[name] = program_text(program)
        texts[f"{name}, fused ReLU"] = program_text(apart)
        texts[f"{name}, fused"] = program_text(fuse_pool(apart))
        texts[f"{name}, every activation fused"] = program_text(fuse_pool(fuse_activations(program)))
    return texts


def program_text(program):
    """All operations and tensors of a Program as text; see `value_text`."""
    parts = {"tensors": program.tensors, **{part: getattr(program, part) for part in PARTS}}
    return value_text(parts)


def value_text(value):
    """A value as text, dataclasses by the names of their fields.

    A field is left out where it holds its default and that says nothing: None, False or an empty tuple. So a new
    field of which a program makes no use changes no text, while another default does.
    """
    if is_dataclass(value):
        said = {field.name: getattr(value, field.name) for field in fields(value)}
        silent = {field.name for field in fields(value) if _is_silent(field, said[field.name])}
        texts = (f"{name}={value_text(said[name])}" for name in sorted(said.keys() - silent))
        return f"{type(value).__name__}({', '.join(texts)})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {value_text(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(value_text, value))})"
    return repr(value)


def _is_silent(field, value):
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    return value == default and (value is None or value is False or value == ())
