"""The sample order: published vectors of Philox, and that every epoch is a permutation."""

import numpy as np
import pytest

from helpers.order import half_bits, philox, round_keys, sample_order

# kat_vectors of Random123 (Salmon et al. 2011): counter, key, result of philox4x32-10
PHILOX_VECTORS = [
    ([0x00000000] * 4, [0x00000000] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ),
]


@pytest.mark.parametrize("counter, key, expected", PHILOX_VECTORS)
def test_philox_published_vectors(counter, key, expected):
    assert philox(counter, key).tolist() == expected


def test_philox_of_arrays_equals_philox_of_scalars():
    counters = np.array([v[0] for v in PHILOX_VECTORS]).T
    keys = np.array([v[1] for v in PHILOX_VECTORS]).T
    assert philox(counters, keys).T.tolist() == [v[2] for v in PHILOX_VECTORS]


@pytest.mark.parametrize("samples, bits", [(1, 1), (2, 1), (4, 1), (5, 2), (16, 2), (17, 3), (60000, 8), (65537, 9)])
def test_half_bits(samples, bits):
    assert half_bits(samples) == bits
    assert 4**bits >= samples


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 17, 128, 257, 1000, 60000])
def test_every_epoch_is_a_permutation(samples):
    order = sample_order(samples, seed=3, epoch=7, positions=np.arange(samples))
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(samples))


def test_one_position_equals_the_whole_epoch():
    order = sample_order(1000, 5, 2, np.arange(1000))
    assert all(sample_order(1000, 5, 2, p) == order[p] for p in range(0, 1000, 37))


def test_seeds_and_epochs_give_different_orders():
    orders = {tuple(sample_order(60000, s, e, np.arange(64))) for s in range(8) for e in range(8)}
    assert len(orders) == 64


def test_order_looks_uniform():
    """Mean and spread of the first batch over many epochs, five standard errors wide."""
    draws = np.concatenate([sample_order(60000, 0, e, np.arange(128)) for e in range(200)]) / 60000
    assert abs(draws.mean() - 0.5) < 5 / np.sqrt(12 * draws.size)
    assert abs(draws.var() - 1 / 12) < 5 / np.sqrt(180 * draws.size)


# Pinned: a change breaks the agreement of engines and the resuming of checkpoints. Device twins test against them.
ORDER_VECTORS = [
    (60000, 0, 0, [40356, 40996, 48737, 48976, 32828, 15330, 42195, 10597]),
    (1000, 1, 3, [495, 570, 864, 340, 360, 486, 232, 934]),
    (5, 4294967295, 2, [1, 3, 2, 0, 4]),
]


@pytest.mark.parametrize("samples, seed, epoch, expected", ORDER_VECTORS)
def test_order_vectors(samples, seed, epoch, expected):
    assert sample_order(samples, seed, epoch, np.arange(len(expected))).tolist() == expected


def test_round_key_vector():
    assert round_keys(seed=1, epoch=3).tolist() == [
        1666037200,
        2343533371,
        917564866,
        1495417198,
        2814618889,
        2865434868,
    ]


def test_position_outside_the_epoch():
    with pytest.raises(ValueError, match="positions reach from 0 to 10; expected 0 to 9"):
        sample_order(10, 0, 0, np.arange(11))
