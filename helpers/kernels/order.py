"""Sample order on the card: the scalar device twin of helpers/order.py, one index at a time.

Knows integers only; must not learn about batches or data sets. Words are uint64 below 2**32, so that a product of
two fits, nothing overflows and the interpreted twin needs no special case.
"""

import numpy as np

from helpers.device import device_function
from helpers.order import ORDER

WORD, LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
ZERO, ONE, TWO, STREAM = np.uint64(0), np.uint64(1), np.uint64(2), np.uint64(ORDER)
MULTIPLIER_0, MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
KEY_STEP_0, KEY_STEP_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
SHIFT_13, SHIFT_16 = np.uint64(13), np.uint64(16)
MIX_0, MIX_1 = np.uint64(0x85EBCA6B), np.uint64(0xC2B2AE35)


@device_function
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10 (Salmon et al. 2011) of counter c and key k: four uint64 words below 2**32."""
    for _ in range(10):
        first, second = MULTIPLIER_0 * c0, MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (second >> WORD) ^ c1 ^ k0, second & LOW, (first >> WORD) ^ c3 ^ k1, first & LOW
        k0, k1 = (k0 + KEY_STEP_0) & LOW, (k1 + KEY_STEP_1) & LOW
    return c0, c1, c2, c3


@device_function
def round_keys(seed, epoch):
    """The six Feistel round keys of an epoch; `seed` and `epoch` are uint64 words below 2**32."""
    a, b, c, d = philox(epoch, ZERO, ZERO, ZERO, seed, STREAM)
    e, f, _, _ = philox(epoch, ONE, ZERO, ZERO, seed, STREAM)
    return a, b, c, d, e, f


@device_function
def mix(half, key):
    """Round function: the 32-bit finaliser of MurmurHash3 of half ^ key."""
    h = half ^ key
    h = ((h ^ (h >> SHIFT_16)) * MIX_0) & LOW
    h = ((h ^ (h >> SHIFT_13)) * MIX_1) & LOW
    return h ^ (h >> SHIFT_16)


@device_function
def feistel(index, keys, bits):
    """Permutation of 0 .. 4**bits - 1 by the rounds of `keys` on two halves of `bits` bits."""
    mask = (ONE << bits) - ONE
    left, right = index >> bits, index & mask
    for key in keys:
        left, right = right, left ^ (mix(right, key) & mask)
    return (left << bits) | right


@device_function
def half_bits(samples):
    """Bits of one Feistel half: the fewest whose fourth power of 2, 4**bits, covers `samples`."""
    bits = ONE
    while (ONE << (TWO * bits)) < samples:
        bits += ONE
    return bits


@device_function
def sample_index(position, samples, seed, epoch):
    """Sample that `position` of an epoch reads, int64; the arguments are integers, below `samples` the position."""
    count = np.uint64(samples)
    keys = round_keys(np.uint64(np.uint32(seed)), np.uint64(np.uint32(epoch)))
    bits = half_bits(count)
    index = feistel(np.uint64(position), keys, bits)
    while index >= count:
        index = feistel(index, keys, bits)
    return np.int64(index)
