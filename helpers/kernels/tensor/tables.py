"""Tables of measured tiles: for a kind of card, by problem, number format and pooling, the tile that was fastest there.

A table is a file data/tiles/<card>.json, which suite "tune" writes; what it lacks, or a card without one, has the rule
of tiling.py. Knows files and the text that stands for a problem; must not learn how a tile is chosen, timed or made.
"""

import json
from dataclasses import fields
from functools import cache
from pathlib import Path

from helpers.atomic import write_atomically
from helpers.startup import short_name

TILES = Path(__file__).resolve().parents[3] / "data" / "tiles"
ENTRY = ("tile", "microseconds", "rule_microseconds")
AGAIN = "run python -m helpers.benchmark tune again"


def table_name(card, capability, forced):
    """Name of a card's table: "h200", or "h200-75" where kernels are made for another capability, here 7.5.

    Parameters
    ----------
    card : str
        As the driver names it.
    capability, forced : (int, int)
        The card's own, and that which kernels are made for.
    """
    name = short_name(card)
    return name if capability == forced else f"{name}-{forced[0]}{forced[1]}"


def key_of(problem, form_name, window_rows=1):
    """Text that stands for a problem in one number format, with pooling windows of so many rows behind it.

    Parameters
    ----------
    problem : Correlation or WeightProblem
    form_name : str
        Of a `Format`.
    window_rows : int

    Returns
    -------
    str
        "bf16: Correlation batch 128, in_shape 1x32x32, ..., window_rows 2"
    """
    values = {field.name: getattr(problem, field.name) for field in fields(problem)} | {"window_rows": window_rows}
    words = (f"{name} {'x'.join(map(str, v)) if isinstance(v, tuple) else v}" for name, v in values.items())
    return f"{form_name}: {type(problem).__name__} {', '.join(words)}"


def table_of(name):
    """{key: fields of its tile} of the table of that name; {} where there is none."""
    return {key: entry["tile"] for key, entry in _read(TILES / f"{name}.json")["tiles"].items()}


def lookup(name, key, cls):
    """The tile that a table has for a key.

    Parameters
    ----------
    name : str or None
        Of the table; None has no entries.
    key : str
        As `key_of` gives it.
    cls : type
        Tile or WeightTile.

    Returns
    -------
    cls or None
        None where the table lacks the key.

    Raises
    ------
    ValueError
        For a file that is no table, or fields that are not those of `cls`, positive whole numbers.
    """
    values = table_of(name).get(key) if name else None
    if values is None:
        return None
    known = [field.name for field in fields(cls)]
    if set(values) != set(known):
        raise unfit(name, key, f"it has the fields {', '.join(values)}; a tile has {', '.join(known)}")
    for field, value in values.items():
        if type(value) is not int or value < 1:
            raise unfit(name, key, f"{field} is {value!r}; expected a positive whole number")
    return cls(**values)


def unfit(name, key, what):
    """ValueError of an entry: file, key, `what` is wrong with it, and what to do."""
    return ValueError(f"{TILES / f'{name}.json'}: the entry {key!r} is of no use: {what}; {AGAIN}")


def write_table(name, form_name, entries, environment, folder=None):
    """Write a format's tiles to a table, whole or not at all; those of other formats stay.

    Parameters
    ----------
    name : str
        Of the table.
    form_name : str
    entries : dict of str to dict
        By key, what ENTRY names: the fields of a tile, its microseconds and those of the rule's tile.
    environment : dict
        What they were measured in: card, date, versions.
    folder : path, optional
        data/tiles by default.

    Returns
    -------
    Path
    """
    path, own = Path(folder or TILES) / f"{name}.json", f"{form_name}: "
    if wrong := [key for key, entry in entries.items() if not key.startswith(own) or set(entry) != set(ENTRY)]:
        raise ValueError(f"{wrong[0]!r} is no entry of {form_name}; expected its key and {', '.join(ENTRY)}")
    before = _read(path)
    tiles = {key: entry for key, entry in before["tiles"].items() if not key.startswith(own)} | entries
    content = {
        "environments": dict(sorted({**before["environments"], form_name: environment}.items())),
        "tiles": dict(sorted(tiles.items())),
    }
    write_atomically(path, json.dumps(content, indent=1) + "\n")
    _read.cache_clear()
    return path


@cache
def _read(path):
    """Content of a table's file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(entry["tile"], dict) for entry in content["tiles"].values()) and content["environments"]:
            return content
        what = "its entries hold no tiles"
    except FileNotFoundError:
        return {"environments": {}, "tiles": {}}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = repr(error)
    raise ValueError(f"{path} is no table of tiles ({what}); delete it and {AGAIN}")
