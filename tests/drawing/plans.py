"""Plans that tests of tables and pictures share: several networks, on a large, a middling and a small card."""

import functools

from helpers.architectures import lenet5, plain_blocks, small_cnn, tiny
from helpers.kernels.fused.places import Card
from helpers.kernels.fused.plan import plan_epoch
from helpers.layers import Dense, Flatten, ReLU
from helpers.network import Network

LARGE, MIDDLING, SMALL = Card(132, 232_448, (9, 0)), Card(46, 101_376, (8, 6)), Card(40, 65_536, (7, 5))
FEW = Card(3, 65_536, (7, 5))


@functools.cache
def lenet_on(card, batch=128):
    return plan_epoch(lenet5(), batch, card)


@functools.cache
def many_plans():
    """With and without streaming, poolings apart, none; few blocks; dense layers only; a layer that groups share."""
    plans = [lenet_on(card) for card in (LARGE, MIDDLING, SMALL)]
    dense = Network((8, 8, 1), [Flatten(), Dense(30), ReLU(), Dense(10)], name="two_layers")
    plans += [plan_epoch(dense, 64, MIDDLING), plan_epoch(tiny(), 8, FEW, threads=64)]
    plans += [plan_epoch(lenet5((32, 32, 3)), 128, LARGE), plan_epoch(plain_blocks(channels=8), 100, LARGE)]
    return [*plans, plan_epoch(small_cnn(), 128, LARGE)]
