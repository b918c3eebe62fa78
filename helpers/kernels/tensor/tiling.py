"""Which tile a block makes on tensor cores: the card's table's, or of all that fit the one of the least estimated time.

The estimate counts, in cycles of a multiprocessor, what its blocks copy, multiply and store; it serves only to order
tiles. Must not learn how a tile is made.
"""

from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import log2, prod

from helpers.kernels.tensor.correlation import WARP, Staging, Tile
from helpers.kernels.tensor.layout import TILE
from helpers.kernels.tensor.tables import key_of, lookup, unfit
from helpers.kernels.tensor.weight_strips import WeightStrips, WeightTile

POWERS = (1, 2, 4, 8)
MOST_THREADS, MOST_REGISTERS = 512, 255


@dataclass(frozen=True)
class Costs:
    """Cycles of a multiprocessor, fitted to the times of 265 tiles on one card (H200, bf16): of a wave of blocks and a
    round; bytes a cycle that it copies and stores; of a scheduler for an mma and for a load of matrices; for each team
    or share; of a warp for a strip and for an mma in it, where there are too few warps to fill a scheduler.
    """

    start: float
    round: float
    copied: float
    stored: float
    multiply: float
    load: float
    team: float
    strip: float = 0.0
    latency: float = 0.0


CONVOLUTION = Costs(start=5400, round=580, copied=123, stored=17, multiply=5.3, load=5.2, team=440)
WEIGHTS = Costs(
    start=3500, round=310, copied=28, stored=16.5, multiply=6.2, load=0.9, team=91, strip=320, latency=3.7
)  # fmt: skip
RESERVED = 1024  # bytes of shared memory that each block has beside its own
FEW_WARPS = 0.32  # of a warp's time that a scheduler waits where it has only that one


@dataclass(frozen=True)
class Card:
    """What tiles are chosen by: multiprocessors, what each of them has, and the name of a table of measured tiles."""

    multiprocessors: int = 132
    shared_bytes: int = 227 * 1024
    registers: int = 65536
    threads: int = 2048
    table: str | None = None

    def residents(self, threads, registers, shared_bytes):
        """Blocks of so many threads, registers a thread and bytes of shared memory that fit a multiprocessor."""
        registers = -(-registers // 8) * 8
        shared = (self.shared_bytes + RESERVED) // (shared_bytes + RESERVED)
        return min(self.registers // (registers * threads), self.threads // threads, shared)


def choose_tile(problem, form, card, window_rows=1):
    """Tile of a forward pass or an input gradient; `window_rows`: of a pooling behind it, which a warp has whole."""
    key = key_of(problem, form.name, window_rows)
    tile = lookup(card.table, key, Tile)
    if tile is None:
        return tile_candidates(problem, form.packed, card, window_rows)[0]
    if tile.rows % window_rows:
        raise unfit(card.table, key, f"a warp's {tile.rows} rows are no whole windows of {window_rows}")
    return _fitting(tile, Staging, tile.threads, key, problem, form, card)


@cache
def tile_candidates(problem, packed, card, window_rows=1):
    """Every tile that fits, the one of the least estimated time first."""
    found = []
    for tile in _tiles(problem, packed, window_rows):
        staging = Staging(problem, tile, packed)
        if tile.threads > MOST_THREADS or staging.shared_bytes > card.shared_bytes:
            continue
        registers, blocks = 16 * tile.rows + 8 * problem.kernel[1] + 40, prod(staging.grid)
        if registers > MOST_REGISTERS:
            continue
        residents = min(
            card.residents(tile.threads, registers, staging.shared_bytes), -(-blocks // card.multiprocessors)
        )
        if residents:
            cost = _cycles(staging, residents, -(-blocks // (residents * card.multiprocessors)))
            found.append((cost, replace(tile, residents=residents)))
    if not found:
        raise ValueError(f"no tile of {problem} fits {card}; choose smaller kernels or strides")
    return [tile for _, tile in sorted(found, key=lambda pair: pair[0])]


def _tiles(problem, packed, window_rows):
    """Every tile that covers no more than there is, or as little as one warp does."""
    p, one = problem, Staging(problem, Tile(), packed)
    _, height, width = p.out_shape

    def up_to(most, *first):
        return [n for n in POWERS if n <= most or n in first]

    for rows in up_to(height, window_rows):
        if rows % window_rows:
            continue
        warps = product(
            up_to(height // rows, 1),
            up_to(-(-width // one.line_columns), 1)[:2],
            up_to(-(-p.batch // one.line_images), 1)[:2],
            up_to(p.filters // TILE)[:3],
            up_to(one.chunks),
            sorted({1, p.kernel[2]}),
        )
        for *along, teams, columns in warps:
            for depth in up_to(one.chunks // teams)[:3]:
                yield Tile(rows, *along, teams, columns, depth)


def _cycles(staging, residents, waves):
    """Estimated cycles of a kernel."""
    p, tile, costs = staging.problem, staging.tile, CONVOLUTION
    lines = (tile.rows - 1) * p.stride[1] + p.kernel[1]
    steps = 2 * p.kernel[0] * p.kernel[2] * -(-staging.chunks // tile.teams)
    products, loads = 4 * tile.rows * p.kernel[1], 2 * p.kernel[1] + lines
    warps = residents * tile.threads / WARP / 4
    multiplied = steps * (costs.multiply * products + costs.load * loads) * (warps + FEW_WARPS)
    first = residents * 4 * staging.parts * (staging.patch_words + staging.weight_words)
    later = residents * 4 * staging.parts * (
        (staging.patches - 1) * staging.patch_words + (staging.rounds - 1) * staging.weight_words
    )  # fmt: skip
    stored = residents * 64 * staging.rows * staging.columns * staging.images * tile.filter_warps
    fixed = costs.start + costs.round * staging.rounds + costs.team * log2(tile.teams) * tile.rows
    return waves * (fixed + first / costs.copied + max(multiplied, later / costs.copied) + stored / costs.stored)


def choose_strips(problem, form, card):
    """Tile of a weight gradient."""
    key = key_of(problem, form.name)
    tile = lookup(card.table, key, WeightTile)
    if tile is None:
        return strip_candidates(problem, form.packed, card)[0]
    return _fitting(tile, WeightStrips, WARP * problem.kernel[2] * tile.shares, key, problem, form, card)


def _fitting(tile, sizes, threads, key, problem, form, card):
    """A table's tile, where as many of its blocks as it promises have room on a multiprocessor of `card`."""
    try:
        needed = tile.residents * sizes(problem, tile, form.packed).shared_bytes
    except ValueError as error:
        raise unfit(card.table, key, error) from None
    if needed > card.shared_bytes:
        what = f"its blocks need {needed:,} bytes of shared memory a multiprocessor; the card has {card.shared_bytes:,}"
        raise unfit(card.table, key, what)
    if threads > MOST_THREADS or tile.residents * threads > card.threads:
        most = f"expected at most {MOST_THREADS} of one and {card.threads} of all"
        raise unfit(card.table, key, f"it has {tile.residents} blocks of {threads} threads; {most}")
    return tile


@cache
def strip_candidates(problem, packed, card):
    """Every tile of a weight gradient that fits, the one of the least estimated time first."""
    found = []
    for sizes in product((1, 2, 4, 8), (1, 2, 4), (1, 2), POWERS, POWERS):
        tile = WeightTile(*sizes)
        strips = WeightStrips(problem, tile, packed)
        _, height, width = problem.out_shape
        covered = (strips.rows, height), (strips.columns, max(width, strips.line_columns))
        if any(size > there for size, there in covered) or strips.images > max(problem.batch, strips.line_images):
            continue
        if strips.strips % tile.shares or strips.threads > MOST_THREADS:
            continue
        registers = 32 * strips.kernel_rows + (60 if packed == 2 else 80)
        for several in (1, 2, 3):
            split = _split(strips, several * card.multiprocessors)
            blocks = split.splits * prod(strips.tiles)
            shared_bytes = WeightStrips(problem, split, packed).shared_bytes
            fitting = card.residents(strips.threads, registers, shared_bytes)
            residents = min(fitting, -(-blocks // card.multiprocessors))
            if residents:
                split = replace(split, residents=residents)
                waves = -(-blocks // (residents * card.multiprocessors))
                found.append((_strip_cycles(WeightStrips(problem, split, packed), residents, waves), split))
    if not found:
        raise ValueError(f"no tile of {problem} fits {card}; choose a smaller kernel or stride")
    return list(dict.fromkeys(tile for _, tile in sorted(found, key=lambda pair: pair[0])))


def _split(strips, blocks):
    """The tile with as many splits as make about so many blocks, none of them without a round."""
    units = prod(strips.unit_counts)
    splits = max(1, min(units, blocks // prod(strips.tiles)))
    return replace(strips.tile, splits=-(-units // -(-units // splits)))


def _strip_cycles(strips, residents, waves):
    """Estimated cycles of a weight gradient."""
    p, tile, costs = strips.problem, strips.tile, WEIGHTS
    turns = strips.rounds * strips.strips // tile.shares * (3 - strips.packed)
    products, lines = 8 * tile.rows * strips.kernel_rows, (tile.rows - 1) * p.stride[1] + strips.kernel_rows
    loads = 2 * (lines + tile.rows) * (1 if strips.packed == 2 else 4)
    warps = residents * strips.threads / WARP / 4
    busy = turns * (costs.multiply * products + costs.load * loads) * warps
    copied = residents * 4 * strips.rounds * strips.buffer_words
    stored = residents * 4 * strips.kernel_rows * p.kernel[2] * TILE * TILE * (1 + 0.3 * tile.shares)
    fixed = costs.start + costs.round * strips.rounds + costs.team * tile.shares
    alone = turns * (costs.strip + costs.latency * products)
    return waves * (fixed + copied / costs.copied + max(busy, alone) + stored / costs.stored)
