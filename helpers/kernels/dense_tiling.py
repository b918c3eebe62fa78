"""How a dense layer's products are cut into threads and blocks: a rule over their sizes.

Knows sizes only; must not learn about arrays, the card in use or networks.
"""

from functools import cache
from itertools import product

from helpers.kernels.matrix_product import Factor, Product

THREADS = 256  # a block at most
LATENCY = 700  # cycles of a load that misses the first cache, many in flight
SUM = 30  # cycles of one dependent read and addition in shared memory
SHARED = 48 * 1024


def _lines(factor, groups, count, slices, terms):
    """128-byte lines that one load of a warp touches: `groups` x `slices` threads, each `count` outputs, `terms`."""
    across = min(groups, -(-groups * count * factor.stride * 4 // 128))
    along = min(slices, -(-slices * terms * factor.along * 4 // 128))
    return across * along


def _loads(count, limit, terms, factor):
    """Loads of one step of a thread."""
    if factor.along == 1 and terms == 4:
        return count
    return terms * (
        count // 4 if factor.stride == 1 and not any(n % 4 for n in (count, limit, factor.along)) else count
    )


def _cycles(p, a, b, multiprocessors):
    """Estimated cycles: loads by lines and latency, multiply-adds by issue, additions of slices by latency."""
    terms = 4 if p.length % 4 == 0 else 1
    steps = -(-p.length // (terms * p.slices))
    if a.along == 1 and b.along == 1:
        slices = min(32, p.slices)
        columns = min(32 // slices, p.column_groups)
        rows = min(32 // (slices * columns), p.row_groups)
    else:
        columns = min(32, p.column_groups)
        rows = min(32 // columns, p.row_groups)
        slices = 32 // (columns * rows)
    a_loads, b_loads = _loads(p.rows, p.m - p.ones, terms, a), _loads(p.columns, p.n, terms, b)
    lines = a_loads * _lines(a, rows, p.rows, slices, terms) + b_loads * _lines(b, columns, p.columns, slices, terms)
    issue = terms * p.rows * p.columns + 4 * (a_loads + b_loads)
    warps = -(-p.blocks // multiprocessors) * -(-p.threads // 32)
    additions = -(-p.slices // p.parts) + (p.parts if p.parts > 1 else 0)
    waits = -(-steps * (a_loads + b_loads) // 24)  # loads that registers can hold in flight
    return warps * steps * max(lines, issue / 4) + waits * LATENCY + additions * SUM + p.outputs / p.threads * SUM


@cache
def choose(m, n, length, a, b, ones=0, multiprocessors=132):
    """The `Product` of least estimated cycles within 256 threads, 48 KB of shared memory and 64 registers of panels.

    Parameters
    ----------
    m, n, length : int
        Outputs, and terms of each.
    a, b : Factor
    ones, multiprocessors : int
    """
    best, terms = None, 4 if length % 4 == 0 else 1
    powers = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    tiles = [(r, c) for r in (1, 2, 4, 8) for c in (1, 2, 4, 5, 8, 10) if r * c <= 32 and terms * (r + c) <= 48]
    for (rows, columns), row_groups, column_groups in product(tiles, powers, powers):
        if n % columns and n > columns or row_groups * column_groups > THREADS:
            continue
        for slices in powers:
            p = Product(m, n, length, rows, columns, row_groups, column_groups, slices, ones)
            if not 64 <= p.threads <= THREADS or slices * terms >= 2 * length or p.shared_bytes > SHARED:
                continue
            key = _cycles(p, a, b, multiprocessors), p.blocks * p.threads
            if best is None or key < best[0]:
                best = key, p
    return best[1] if best else Product(m, n, length, ones=ones, row_groups=64)


def forward(geometry, batch, multiprocessors=132):
    """(Product, Factor, Factor) of y = x w: sums over the inputs."""
    a, b = Factor(geometry.inputs, 1), Factor(1, geometry.outputs)
    return choose(batch, geometry.outputs, geometry.inputs, a, b, 0, multiprocessors), a, b


def input_gradient(geometry, batch, multiprocessors=132):
    """(Product, Factor, Factor) of dx = dy w^T: sums over the outputs."""
    a, b = Factor(geometry.outputs, 1), Factor(geometry.outputs, 1)
    return choose(batch, geometry.inputs, geometry.outputs, a, b, 0, multiprocessors), a, b


def weight_gradient(geometry, batch, multiprocessors=132):
    """(Product, Factor, Factor) of dw = x^T dy, and below it the bias as a row of ones times dy: over the images."""
    a, b = Factor(1, geometry.inputs), Factor(1, geometry.outputs)
    return choose(geometry.inputs + 1, geometry.outputs, batch, a, b, 1, multiprocessors), a, b
