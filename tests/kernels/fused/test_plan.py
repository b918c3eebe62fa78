"""Plans of the fused kernel: what fits which card, who works on what, and what is refused in one sentence."""

from itertools import combinations
from types import SimpleNamespace

import pytest
from fused_cases import CONSUMER, H100, NETWORKS, POOLED, T4, networks
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.architectures import lenet5, vgg_small
from helpers.kernels.fused.places import Card, DoesNotFit
from helpers.kernels.fused.plan import card_of, plan_epoch
from helpers.kernels.fused.stages import ConvPlan, PoolPlan
from helpers.layers import Conv, Conv2D, Dense, Flatten, MaxPool2D, Pool, ReLU
from helpers.network import Network

WIDER = Network(
    (28, 28, 1),
    [
        *(Conv2D(16, 3, padding="same"), ReLU(), MaxPool2D(2)),
        *(Conv2D(32, 3, padding="same"), ReLU(), MaxPool2D(2)),
        *(Flatten(), Dense(128), ReLU(), Dense(10)),
    ],
    name="wider",
)
CARDS = st.builds(Card, st.integers(3, 40), st.just(65536), st.sampled_from([(7, 5), (8, 6), (9, 0)]))
THREADS = st.sampled_from([32, 64, 96, 256])


@pytest.mark.parametrize(
    "card, streamed, images",
    [(H100, [], (128, 1)), (CONSUMER, ["dense1"], (43, 3)), (T4, ["dense1", "dense2"], (32, 4))],
    ids=["H100", "consumer", "T4"],
)
def test_lenet5_has_a_plan_for_every_card(card, streamed, images):
    plan = plan_epoch(lenet5(), 128, card)
    assert plan.shared_bytes <= card.shared_bytes and plan.blocks == card.multiprocessors
    assert [layer.name for layer in plan.dense if not layer.resident] == streamed
    assert (plan.image_blocks, plan.rounds) == images
    assert rectangles(plan) <= plan.blocks


def test_groups_of_blocks_share_the_wider_networks_first_dense_layer():
    plan = plan_epoch(WIDER, 128, H100)
    assert [layer.name for layer in plan.dense if layer.shard] == ["dense1"] and plan.dense[1].resident
    shard = plan.dense[0].shard
    assert shard.members == plan.members and shard.members * shard.rows >= plan.dense[0].inputs
    assert plan.image_blocks % plan.members == 0
    assert plan.shared_bytes <= H100.shared_bytes and rectangles(plan) <= plan.blocks
    assert 4 * WIDER.parameter_count > H100.shared_bytes  # so that no block can keep all


def test_less_shared_memory_means_fewer_resident_weights_never_more():
    plans = [plan_epoch(lenet5(), 128, Card(132, size)) for size in (60_000, 110_000, 160_000, 232_448)]
    assert [sum(layer.resident for layer in plan.dense) for plan in plans] == [1, 2, 2, 3]
    assert all(plan.members == 1 for plan in plans)  # no layer is large enough to be shared


def test_where_images_do_not_come_out_even_the_wider_network_streams():
    """Every block of a group must have an image in every round."""
    plan = plan_epoch(WIDER, 127, H100)
    assert [layer.name for layer in plan.dense if layer.streams] == ["dense1"] and plan.members == 1


def rectangles(plan):
    """Rectangles of `plan.rectangle` tiles that cover the dense layers: each belongs to a block of its own."""
    rows, columns = plan.rectangle
    return sum(-(-layer.row_tiles // rows) * -(-layer.quads // columns) for layer in plan.dense)


@given(st.integers(1, 600), CARDS)
@settings(max_examples=40, deadline=None)
def test_every_image_of_a_batch_has_one_turn_of_one_block(batch, card):
    plan = plan_epoch(POOLED, batch, card)
    places = [turn * plan.image_blocks + block for turn in range(plan.rounds) for block in range(plan.image_blocks)]
    assert [n for n in places if n < batch] == list(range(batch))
    assert plan.image_blocks <= min(batch, plan.blocks) and plan.rounds == -(-batch // plan.blocks)


@given(networks(), CARDS, THREADS)
@settings(max_examples=40, deadline=None)
def test_what_a_block_keeps_at_once_does_not_overlap(network, card, threads):
    plan = plan_epoch(network, 4, card, threads)
    regions = [("parameters", 0, plan.resident)] if plan.resident else []
    regions += [("part", s.shard.begin, s.shard.begin + s.shard.rows * s.pitch) for s in plan.dense if s.shard]
    regions += [*tensors(plan), *words(plan), *gradients(plan)]
    for (one, begin, end), (other, start, stop) in combinations(regions, 2):
        assert end <= start or stop <= begin, f"{one} {begin}:{end} overlaps {other} {start}:{stop}"
    assert 4 * max(end for _, _, end in regions) <= plan.shared_bytes <= card.shared_bytes
    first, cells = plan.activations  # cleared when a block starts, so that halos are zero
    assert plan.resident <= first and all(first <= begin < end <= first + cells for _, begin, end in tensors(plan))
    assert first + cells <= plan.update_scratch  # the next image arrives while the update works


def tensors(plan):
    """(name, first cell, end) of the image and each stage's output, with the halo above and left of them."""
    found = []
    for name, view in [("image", plan.image), *((f"output of {stage.name}", stage.y) for stage in plan.stages)]:
        last = [(size - 1) * step for size, step in zip(view.shape, (view.row, view.column, view.channel))]
        found.append((name, view.corner, view.offset + sum(last) + 1))
    return found


def gradients(plan):
    """(name, first cell, end) of the gradient of each stage's output."""
    return [(f"gradient of {stage.name}", stage.gradient, stage.gradient + stage.y.size) for stage in plan.stages]


def words(plan):
    """(name, first cell, end) of what a block remembers beside its tensors."""
    found = [(name, getattr(plan, name), getattr(plan, name) + 1) for name in ("label", "trouble", "laps")]
    for stage in plan.stages:
        if isinstance(stage, ConvPlan) and stage.pooled:
            found.append(("corners", stage.corners, stage.corners + stage.cell_count * stage.filters))
        if isinstance(stage, PoolPlan) and stage.winners is not None:
            found.append(("winners", stage.winners, stage.winners + stage.y.size))
    return found


@pytest.mark.parametrize("network", [*NETWORKS, lenet5()], ids=lambda network: network.name)
@pytest.mark.parametrize("blocks", [3, 40, 255])
def test_rectangles_cover_all_dense_weights_with_a_block_each(network, blocks):
    plan = plan_epoch(network, 16, Card(blocks, 232448))
    assert rectangles(plan) <= blocks
    assert plan.sums_per_block * blocks >= plan.exchange


@pytest.mark.parametrize(
    "network, card, words",
    [
        (vgg_small(), H100, "bytes of shared memory, the card has 232,448; conv6 takes the most, 32,768 bytes of "),
        (lenet5(), Card(40, 30000, (7, 5)), "the card has 30,000; conv2 takes the most, 3,456 bytes of input and "),
        (Network((1100, 1000, 1), [Conv2D(1, 3), Flatten(), Dense(2)]), H100, "conv1 has an input of 4,400,000 bytes"),
        (Network((4, 4, 1), [Flatten(), Dense(600)]), H100, "the network has 600 classes; a block has 512 threads"),
        (lenet5(), Card(2, 232448), "3 dense layers need a block each; the card has 2 multiprocessors"),
    ],
    ids=["parameters", "tensors", "halo", "classes", "blocks"],
)
def test_what_does_not_fit_is_refused_by_name_and_bytes(network, card, words):
    with pytest.raises(DoesNotFit, match=words):
        plan_epoch(network, 128, card)


@pytest.mark.parametrize(
    "layers, who",
    [
        ([Conv(2, (2, 2, 2), (1, 1, 1), ("valid",) * 3), Flatten()], "conv1 has a depth"),
        ([Pool("max", (1, 2, 2), (1, 2, 2), ("valid",) * 3), Flatten()], "pool1 has a depth"),
        ([Flatten()], r"images of shape \(3, 6, 6, 1\) have a depth"),
        ([ReLU(), Flatten()], r"images of shape \(3, 6, 6, 1\) have a depth"),
    ],
    ids=["convolution", "pooling", "dense", "relu"],
)
def test_images_with_a_depth_are_refused(layers, who):
    with pytest.raises(DoesNotFit, match=f"{who}; the fused kernel takes flat images only"):
        plan_epoch(Network((3, 6, 6, 1), [*layers, Dense(3)]), 16, H100)


def test_the_card_is_what_the_driver_says_unless_an_older_one_is_asked_for():
    found = SimpleNamespace(multiprocessors=132, shared_bytes_per_block=232448, capability=(9, 0))
    assert card_of(found) == H100
    assert card_of(found, (7, 5)) == Card(132, 65536, (7, 5))
    assert card_of(found, (8, 6)) == Card(132, 232448, (8, 6))
    assert [card.copies for card in (H100, CONSUMER, T4)] == ["bulk", "asynchronous", "plain"]
