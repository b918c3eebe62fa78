"""Plans that tests of tables and pictures share: three networks, on a large, a middling and a small card."""

import functools

from helpers.architectures import lenet5, plain_blocks, tiny
from helpers.kernels.fused.places import Card
from helpers.kernels.fused.plan import plan_epoch

LARGE, MIDDLING, SMALL = Card(132, 232_448, (9, 0)), Card(46, 101_376, (8, 6)), Card(40, 65_536, (7, 5))


@functools.cache
def lenet_on(card, batch=128):
    return plan_epoch(lenet5(), batch, card)


@functools.cache
def many_plans():
    """Plans with and without streaming, with poolings apart, with convolutions that are not pooled."""
    plans = [lenet_on(card) for card in (LARGE, MIDDLING, SMALL)]
    plans += [plan_epoch(tiny(), 8, SMALL, threads=64), plan_epoch(lenet5((32, 32, 3)), 128, LARGE)]
    return [*plans, plan_epoch(plain_blocks(channels=8), 100, LARGE)]
