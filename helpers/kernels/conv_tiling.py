"""Which tile a convolution gets: one rule from its sizes and the card's multiprocessors, and the tiles worth timing.

Must not learn what networks there are.
"""

from dataclasses import replace
from math import prod

from helpers.kernels.conv_tile import SHARED_LIMIT, Layout, Tile

PIXEL_GROUPS = 32  # a warp of pixel groups ...
TEAM = 128  # ... times four filter groups: 4 warps share a patch
RESIDENT = 512  # threads that a multiprocessor's registers hold with 64 sums each
STRAIGHT = 640  # products of one channel that are written out: more would leave the instruction cache
MOST_TEAMS = 4  # adding up more teams costs what they save


def choose_tile(sums, multiprocessors=132, window=(1, 1)):
    """Tile for `sums` (a Correlation) whose outputs are pooled by `window` (rows, columns).

    A thread makes 2 x 4 pixels x 8 filters (4 where there are few filters or windows ask otherwise). A team is about
    32 pixel groups x 4 filter groups; images join while blocks remain for every multiprocessor, and teams join while
    a multiprocessor has fewer threads than its registers hold.

    Returns
    -------
    Tile
    """
    _, height, width, filters = sums.out_shape
    rows = window[0] * max(1, min(2, height) // window[0])
    columns = window[1] * max(1, 4 // window[1])
    own_filters = 8 if filters >= 32 else 4
    column_groups = _share(width, columns, 8)
    row_groups = _share(height, rows, max(1, PIXEL_GROUPS // column_groups))
    pixel_groups = column_groups * row_groups
    filter_groups = min(-(-filters // own_filters), max(1, TEAM // min(pixel_groups, PIXEL_GROUPS)))
    filter_groups = min(filter_groups, 32 // own_filters) if own_filters == 8 else filter_groups
    tile = Tile(1, row_groups, column_groups, filter_groups, rows, columns, own_filters, min(sums.in_shape[3], 8))
    tile = replace(tile, images=_images(sums, tile, multiprocessors))
    tile = _shrink(sums, tile)
    tile = replace(tile, teams=_teams(sums, tile, multiprocessors))
    straight = sums.kernel[1] * sums.kernel[2] * tile.accumulators <= STRAIGHT
    return replace(_shrink(sums, tile), blocks=max(1, RESIDENT // tile.threads), straight=straight)


def _share(size, step, most):
    """Groups of `step` cells a block takes of an axis, at most `most`, in blocks of equal size."""
    groups = -(-size // step)
    return -(-groups // -(-groups // most))


def _images(sums, tile, multiprocessors):
    """Images a block joins, so that a warp is full and every multiprocessor has a block."""
    images = min(PIXEL_GROUPS // tile.pixel_groups, sums.batch) or 1
    while images > 1 and _blocks(sums, replace(tile, images=images)) < multiprocessors * 3 // 4:
        images //= 2
    return images


def _blocks(sums, tile):
    return prod(Layout(sums, tile).grid)


def _shrink(sums, tile):
    """The tile with 4 channels a round, or fewer rows and images, where 8 do not fit shared memory."""
    if fits(sums, tile):
        return tile
    if tile.channels > max(4, tile.teams):
        return _shrink(sums, replace(tile, channels=4))
    if tile.images > 1:
        return _shrink(sums, replace(tile, images=tile.images // 2))
    if tile.filter_groups > 1:
        return _shrink(sums, replace(tile, filter_groups=tile.filter_groups // 2))
    if tile.row_groups > 1:
        return _shrink(sums, replace(tile, row_groups=tile.row_groups // 2))
    raise ValueError(
        f"a kernel of {sums.kernel} with stride {sums.stride} does not fit the {SHARED_LIMIT} bytes of shared memory "
        "that a block may use; choose a smaller window"
    )


def _teams(sums, tile, multiprocessors):
    """Teams that fill the multiprocessors' registers: a divisor of the channels of a round."""
    resident = -(-_blocks(sums, tile) // multiprocessors) * tile.team
    most = min(MOST_TEAMS, RESIDENT // max(resident, 1), tile.channels)
    return max(teams for teams in range(1, max(most, 1) + 1) if tile.channels % teams == 0)


def fits(sums, tile, limit=SHARED_LIMIT):
    """Whether the tile's shared memory stays within `limit` bytes."""
    return 4 * Layout(sums, tile).shared_floats <= limit


def neighbours(sums, tile):
    """Tiles around `tile` that are worth timing, `tile` first; each differs in one thing and fits 64 KB."""
    changes = [
        {},
        {"straight": not tile.straight},
        *({"teams": n} for n in (1, 2, 4, 8)),
        *({"channels": n} for n in (4, 8, 16)),
    ]
    changes += [{"filter_groups": n} for n in (tile.filter_groups // 2, tile.filter_groups * 2)]
    changes += [{"images": n} for n in (tile.images // 2, tile.images * 2)]
    changes += [{"row_groups": n} for n in (tile.row_groups // 2, tile.row_groups * 2)]
    changes += [{"filters": 12 - tile.filters, "filter_groups": tile.block_filters // (12 - tile.filters)}]
    found = []
    for change in changes:
        try:
            candidate = replace(tile, **change)
            candidate = replace(candidate, blocks=max(1, RESIDENT // max(candidate.threads, 1)))
            most = max(sums.in_shape[3], tile.channels)
            sensible = candidate == tile or 32 <= candidate.threads <= 1024 and candidate.channels <= most
            if sensible and candidate not in found and fits(sums, candidate, 64 * 1024):
                found.append(candidate)
        except ValueError:  # the channels do not divide
            continue
    return found
