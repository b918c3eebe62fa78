"""Eight neighbouring filters of one output in a lane, and the largest of a window: within a lane and between lanes.

A code has GATE_BITS for each of the eight: the number, in its window, of the cell that the value is of. Must not learn
what becomes of a winner.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.tensor.layout import GATE_BITS, LANE_CHANNELS
from helpers.unroll import registers, unroll, unrolled

EVERY_LANE = 0xFFFFFFFF
LARGEST_WINDOW = 7  # cells whose number, and one more, fit the bits of a code without its sign


@device_function
@unrolled
def half_of(sums, half):
    """Of a line's sixteen sums the eight of the lane's first output (half 0), or of its second, eight further (1).

    A lane has two filters of each tile of eight columns.
    """
    value = registers(LANE_CHANNELS)
    for c in unroll(LANE_CHANNELS):
        value[c] = sums[c // 2 * 4 + c % 2] if half == 0 else sums[c // 2 * 4 + c % 2 + 2]
    return value


@device_function
@unrolled
def larger(values, code, others, other_code):
    """(values, code) of the larger each; of equal ones that of the smaller number."""
    best = registers(LANE_CHANNELS)
    chosen = np.int64(0)
    for c in unroll(LANE_CHANNELS):
        mine, its = (code >> (GATE_BITS * c)) & 15, (other_code >> (GATE_BITS * c)) & 15
        taken = others[c] > values[c] or (others[c] == values[c] and its < mine)
        best[c] = others[c] if taken else values[c]
        chosen |= (its if taken else mine) << (GATE_BITS * c)
    return best, chosen


@device_function
@unrolled
def of_other_lane(values, code, lanes):
    """`larger` of this lane's and those of the lane whose number differs by the bits `lanes`."""
    others = registers(LANE_CHANNELS)
    for c in unroll(LANE_CHANNELS):
        others[c] = cuda.shfl_xor_sync(EVERY_LANE, values[c], lanes)
    return larger(values, code, others, np.int64(cuda.shfl_xor_sync(EVERY_LANE, np.int32(code), lanes)))
