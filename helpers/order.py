"""Sample order: a keyed permutation of the training samples, one index at a time, the same on every engine.

Knows integers only; must not learn about data sets or engines. `kernels/order.py` holds the scalar device twin.

Position p of an epoch reads sample pi(p). pi is a Feistel network over the smallest even number of bits that
covers the samples (at least 2), walked until the result is below the number of samples. Its six round keys are the
first six words of Philox4x32-10 with key (seed, ORDER) and counters (epoch, 0, 0, 0) and (epoch, 1, 0, 0).
"""

import numpy as np

# Second key word: one a purpose, so that no two streams of random numbers share a key.
ORDER = 0x6F726472

ROUNDS = 6

_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_KEY_STEPS = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_WORD, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


def philox(counter, key):
    """Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

    Parameters
    ----------
    counter : array_like, integers below 2**32, shape (4, ...)
    key : array_like, integers below 2**32, shape (2, ...)

    Returns
    -------
    ndarray, uint32, shape (4, ...)
    """
    c0, c1, c2, c3 = np.asarray(counter, np.uint64)
    k0, k1 = np.asarray(key, np.uint64)
    for _ in range(10):
        first, second = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (second >> _WORD) ^ c1 ^ k0, second & _LOW, (first >> _WORD) ^ c3 ^ k1, first & _LOW
        k0, k1 = (k0 + _KEY_STEPS[0]) & _LOW, (k1 + _KEY_STEPS[1]) & _LOW
    return np.stack([c0, c1, c2, c3]).astype(np.uint32)


def round_keys(seed, epoch):
    """The six Feistel round keys of an epoch, uint32; of `seed` and `epoch` the low 32 bits count."""
    counter = np.zeros((4, 2), np.uint64)
    counter[0], counter[1] = int(epoch) & 0xFFFFFFFF, (0, 1)
    words = philox(counter, [[int(seed) & 0xFFFFFFFF] * 2, [ORDER] * 2])
    return words.T.ravel()[:ROUNDS]


def half_bits(samples):
    """Bits of one Feistel half: half of the smallest even number of bits, at least 2, that counts `samples`."""
    return max((int(samples) - 1).bit_length() + 1, 2) // 2


def mix(half, key):
    """Round function: the 32-bit finaliser of MurmurHash3 (Appleby, public domain) of half ^ key; uint32 arrays."""
    h = half ^ key
    h = (h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    h = (h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def feistel(index, keys, bits):
    """Permutation of 0 .. 4**bits - 1 by `len(keys)` rounds on two halves of `bits` bits; uint32 arrays."""
    bits = np.uint32(bits)
    mask = (np.uint32(1) << bits) - np.uint32(1)
    left, right = index >> bits, index & mask
    for key in keys:
        left, right = right, left ^ (mix(right, key) & mask)
    return (left << bits) | right


def sample_order(samples, seed, epoch, positions):
    """Samples that the given positions of an epoch read.

    Parameters
    ----------
    samples : int
        Size of the training split, 1 to 2**32.
    seed, epoch : int
        Choose the permutation.
    positions : array_like of int
        0 to samples - 1; step s, lane j of batch size B is position s * B + j.

    Returns
    -------
    ndarray, int64, shape of `positions`
        Distinct positions read distinct samples.

    Raises
    ------
    ValueError
        If a position lies outside the epoch.
    """
    positions = np.asarray(positions, np.int64)
    if positions.size and not 0 <= positions.min() <= positions.max() < samples:
        raise ValueError(f"positions reach from {positions.min()} to {positions.max()}; expected 0 to {samples - 1}")
    keys, bits = round_keys(seed, epoch), half_bits(samples)
    index = feistel(np.atleast_1d(positions).astype(np.uint32), keys, bits)
    while (outside := index >= samples).any():
        index[outside] = feistel(index[outside], keys, bits)
    return index.astype(np.int64).reshape(positions.shape)
