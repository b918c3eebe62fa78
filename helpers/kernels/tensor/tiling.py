"""Which tile a block makes on tensor cores: by a rule, from the problem and the card.

Must not learn how a tile is made.
"""

from dataclasses import dataclass, replace

from helpers.kernels.tensor.correlation import Staging, Tile
from helpers.kernels.tensor.weight_strips import WeightStrips, WeightTile


@dataclass(frozen=True)
class Card:
    """What tiles are chosen by: multiprocessors, and bytes of shared memory a block may have."""

    multiprocessors: int = 132
    shared_bytes: int = 227 * 1024


def choose_tile(problem, form, card, window_rows=1):
    """Tile of a forward pass or an input gradient; `window_rows`: of a pooling behind it, which a warp has whole."""
    _, height, width = problem.out_shape
    rows = min(4, max(1, height))
    rows = max(window_rows, rows - rows % window_rows)
    tile = Tile(rows=rows)
    sizes = Staging(problem, tile, form.packed)

    def grow(tile, name, most):
        larger = replace(tile, **{name: 2 * getattr(tile, name)})
        fits = larger.team_warps <= 8 and getattr(larger, name) <= max(1, most)
        enough = Staging(problem, larger, form.packed).shared_bytes <= card.shared_bytes // 2
        return larger if fits and enough else tile

    if problem.kernel == (1, 1, 1) and (height, width) == (1, 1):
        return _rows_tile(problem, form, card, tile)
    for name, most in (
        ("filter_warps", problem.filters // 32),
        ("column_warps", -(-width // sizes.line_columns)),
        ("row_warps", -(-height // rows)),
    ):
        larger = grow(tile, name, most)
        while larger is not tile and _blocks(problem, larger, form) >= card.multiprocessors:
            tile, larger = larger, grow(larger, name, most)
    return tile


def _blocks(problem, tile, form):
    count = 1
    for size in Staging(problem, tile, form.packed).grid:
        count *= size
    return count


def _rows_tile(problem, form, card, tile):
    """Of a dense layer: warps share the channels while there are too few tiles of outputs."""
    tile = replace(tile, rows=1)
    chunks = Staging(problem, tile, form.packed).chunks
    while 2 * tile.teams <= min(8, chunks):
        larger = replace(tile, teams=2 * tile.teams)
        if Staging(problem, larger, form.packed).shared_bytes > card.shared_bytes:
            break
        tile = larger
    while tile.teams * tile.depth < chunks:
        larger = replace(tile, depth=2 * tile.depth)
        if Staging(problem, larger, form.packed).shared_bytes > card.shared_bytes // 2:
            break
        tile = larger
    return tile


def choose_strips(problem, form, card):
    """Tile of a weight gradient: about a block a multiprocessor, strips staged as shared memory allows."""
    _, height, width = problem.out_shape
    tile = WeightTile(rows=min(4, height), shares=max(1, min(4, 8 // problem.kernel[2])))
    while tile.shares & (tile.shares - 1):
        tile = replace(tile, shares=tile.shares - 1)

    def grow(tile, name, most):
        larger = replace(tile, **{name: 2 * getattr(tile, name)})
        sizes = WeightStrips(problem, larger, form.packed)
        fits = 8 * sizes.buffer_words <= card.shared_bytes and sizes.strips <= 2 * tile.shares
        return larger if fits and getattr(larger, name) <= most else tile

    line_columns = WeightStrips(problem, tile, form.packed).line_columns
    line_images = 16 // line_columns
    for name, most in (
        ("column_lines", -(-width // line_columns)),
        ("row_strips", -(-height // tile.rows)),
        ("image_lines", -(-problem.batch // line_images)),
    ):
        larger = grow(tile, name, most)
        while larger is not tile:
            tile, larger = larger, grow(larger, name, most)
    sizes = WeightStrips(problem, tile, form.packed)
    blocks, rounds = 1, 1
    for count in sizes.tiles:
        blocks *= count
    for count in sizes.unit_counts:
        rounds *= count
    splits = max(1, min(rounds, card.multiprocessors // blocks))
    each = -(-rounds // splits)
    return replace(tile, splits=-(-rounds // each))
