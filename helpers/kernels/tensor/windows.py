"""Eight neighbouring filters of one output in a lane, and the largest of a window: within a lane and between lanes.

Masks have a bit for each of the eight. Must not learn what becomes of a winner.
"""

import numpy as np

from helpers.device import cuda, device_function
from helpers.kernels.tensor.layout import LANE_CHANNELS
from helpers.unroll import registers, unroll, unrolled

EVERY_LANE = 0xFFFFFFFF


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
def larger(values, others):
    """The larger of each two."""
    best = registers(LANE_CHANNELS)
    for c in unroll(LANE_CHANNELS):
        best[c] = others[c] if others[c] > values[c] else values[c]
    return best


@device_function
@unrolled
def of_other_lane(values, lanes):
    """The values of the lane whose number differs from this one's by the bits `lanes`."""
    others = registers(LANE_CHANNELS)
    for c in unroll(LANE_CHANNELS):
        others[c] = cuda.shfl_xor_sync(EVERY_LANE, values[c], lanes)
    return others


@device_function
@unrolled
def equal_mask(values, others):
    """Mask of the values that are equal to the others."""
    mask = np.int32(0)
    for c in unroll(LANE_CHANNELS):
        mask |= np.int32(1 << c) if values[c] == others[c] else np.int32(0)
    return mask


@device_function
@unrolled
def positive_mask(values):
    """Mask of the values above 0."""
    mask = np.int32(0)
    for c in unroll(LANE_CHANNELS):
        mask |= np.int32(1 << c) if values[c] > np.float32(0.0) else np.int32(0)
    return mask


@device_function
@unrolled
def masked(values, mask):
    """The values whose bit in the mask is set, 0 for the others."""
    result = registers(LANE_CHANNELS)
    for c in unroll(LANE_CHANNELS):
        result[c] = values[c] if mask & np.int32(1 << c) else np.float32(0.0)
    return result
