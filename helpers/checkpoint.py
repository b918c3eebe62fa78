"""Checkpoints: named arrays and the description of what they belong to, in one safetensors file.

Knows network and optimizer descriptions; must not learn about engines, devices or the training loop.
"""

import json
from dataclasses import asdict, fields
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from helpers.atomic import replacing
from helpers.layers import ACTIVATIONS, Conv, Dense, Flatten, Pool, ReLU
from helpers.network import Network
from helpers.optimizers import SGD, Adam

FORMAT = "cnn-from-scratch checkpoint 1"
LAYERS = {cls.__name__: cls for cls in (Conv, Pool, ReLU, *ACTIVATIONS, Flatten, Dense)}
OPTIMIZERS = {cls.__name__: cls for cls in (SGD, Adam)}


def describe_network(network):
    """`network` as a plain dict of JSON values."""
    layers = [{"layer": type(layer).__name__, **asdict(layer)} for layer in network.layers]
    return {"name": network.name, "input_shape": list(network.input_shape), "layers": layers}


def build_network(description):
    """The Network that `describe_network` described; ValueError for a layer or a setting that is not known."""
    layers = []
    for entry in description["layers"]:
        values = {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items() if key != "layer"}
        try:
            layers.append(LAYERS[entry["layer"]](**values))
        except (KeyError, TypeError):
            raise ValueError(
                f"the checkpoint has a layer {entry}, which is not known; expected {', '.join(LAYERS)} with the "
                "settings that helpers/layers.py names"
            ) from None
    return Network(tuple(description["input_shape"]), layers, description["name"])


def describe_optimizer(optimizer):
    """`optimizer` as a plain dict of JSON values; a schedule, which is a function, becomes None."""
    values = {field.name: (getattr(optimizer, field.name), type(field.default)) for field in fields(optimizer)}
    plain = {name: None if callable(value) else kind(value) for name, (value, kind) in values.items()}
    return {"optimizer": type(optimizer).__name__, **plain}


def build_optimizer(description):
    """The optimizer that `describe_optimizer` described; ValueError where it had a schedule.

    Files of old have no name, because there was SGD only, and lack settings that came later.
    """
    values = dict(description)
    name = values.pop("optimizer", "SGD")
    if name not in OPTIMIZERS:
        raise ValueError(f"the checkpoint's optimizer is {name!r}; expected {', '.join(map(repr, OPTIMIZERS))}")
    if values["learning_rate"] is None:
        raise ValueError(
            f"the checkpoint was trained with a learning-rate schedule; pass optimizer={name}(schedule, ...)"
        )
    return OPTIMIZERS[name](**values)


def save_checkpoint(path, state, description):
    """Write named arrays and a description; the file appears whole or not at all.

    Parameters
    ----------
    path : path-like
        Replaced if it exists.
    state : dict of str to ndarray
    description : dict
        JSON values.
    """
    with replacing(path) as partial:
        save_file(state, partial, metadata={"format": FORMAT, "description": json.dumps(description)})


def load_checkpoint(path):
    """Read what `save_checkpoint` wrote.

    Returns
    -------
    state : dict of str to ndarray
    description : dict

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such file, or it is no checkpoint of this project; one sentence.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no checkpoint {path}; Trainer.save(path) writes one")
    try:
        with safe_open(str(path), "numpy") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except SafetensorError as error:
        raise ValueError(f"{path} is no whole safetensors file ({error}); save the checkpoint again") from None
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} has format {metadata.get('format')!r}; expected {FORMAT!r}, as Trainer.save writes it"
        )
    return state, json.loads(metadata["description"])
