"""Parts of a plan tile the shared memory; tables say what the plan says."""

import pytest

from helpers.drawing.plan_parts import memory_parts, part_name, streamed_parts, work_parts
from helpers.drawing.plan_tables import plan_summary, plan_table
from helpers.drawing.tables import show_table
from helpers.kernels.fused.stages import ConvPlan
from tests.drawing.plans import LARGE, MIDDLING, SMALL, lenet_on, many_plans


@pytest.fixture(params=range(len(many_plans())))
def plan(request):
    return many_plans()[request.param]


def test_parts_tile_the_shared_memory(plan):
    parts = memory_parts(plan)
    assert parts[0].begin == 0 and 4 * parts[-1].end == plan.card.shared_bytes
    assert [part.end for part in parts[:-1]] == [part.begin for part in parts[1:]]
    parameters = [part for part in parts if part.kind in ("convolutions", "dense")]
    assert parameters[-1].end == plan.activations[0]
    names = [part.name for part in (*parameters, *streamed_parts(plan)) if part.kind == "dense"]
    assert sorted(names) == sorted(part_name(layer) if layer.shard else layer.name for layer in plan.dense)


def test_the_largest_use_of_the_work_area_makes_its_size(plan):
    (area,), uses = [part for part in memory_parts(plan) if part.kind == "work"], work_parts(plan)
    assert list(uses) == ["forward", "backward", "update"]
    assert max(parts[-1].end for parts in uses.values() if parts) == area.end == plan.cells
    assert min(parts[0].begin for parts in uses.values() if parts) == area.begin


def test_a_tensor_takes_its_halo(plan):
    """No tensor reaches into the next one, and what lies between two is at most padding."""
    table = plan_table(plan)["tensor bytes"] // 4
    views = [plan.image, *(stage.y for stage in plan.stages)]
    ends = [view.corner + cells for view, cells in zip(views, table)]
    assert all(0 <= after.corner - end < 4 for end, after in zip(ends, views[1:]))


def test_weights_fill_their_place_up_to_padding(plan):
    table = plan_table(plan)
    kept = table["weight bytes"][table["weights are"].fillna("").str.startswith("in shared memory")].sum()
    padding = sum(3 if isinstance(stage, ConvPlan) else 1 for stage in (*plan.convolutions, *plan.dense))
    assert 0 <= 4 * plan.resident - kept < 16 * padding


def test_rows_say_where_weights_live_and_how_work_is_cut():
    table = plan_table(lenet_on(SMALL))
    assert list(table.index) == ["input", "conv1, ReLU, max-pooling", "conv2, ReLU, max-pooling", "dense1, ReLU",
                                 "dense2, ReLU", "dense3"]  # fmt: skip
    assert list(table["output"]) == ["28 x 28 x 1", "12 x 12 x 6", "4 x 4 x 16", "120", "84", "10"]
    places = ["in shared memory", "in shared memory, in two orders", *["streamed from L2"] * 2, "in shared memory"]
    assert list(table["weights are"])[1:] == places and table["weights are"].isna()["input"]
    stage = lenet_on(SMALL).convolutions[0]
    pieces = 144 * 6 // stage.filters_at_once
    assert f"144 windows x {6 // stage.filters_at_once} groups of {stage.filters_at_once} filters" in table.iloc[1, 4]
    assert str(pieces * stage.splits) in table.iloc[1, 4]
    assert "streamed from L2" in show_table(table)._repr_html_()


def test_the_summary_names_what_streams_and_who_idles():
    summary = plan_summary(lenet_on(LARGE), lenet_on(MIDDLING, 100))
    large, middling = (summary[name] for name in summary)
    assert summary.columns[0] == "132 multiprocessors, capability 9.0"
    assert large["parameters streamed from L2"] == large["parameters shared by groups"] == "none"
    assert large["parameters in every block"] == "44,426 of 44,426"
    assert middling["parameters streamed from L2"] == "dense1: 30,840"
    assert middling["parameters in every block"] == "13,586 of 44,426"
    assert large["blocks"] == "132, 4 of them without images" and large["images a block and step"] == "1"
    assert middling["blocks"] == "46, 12 of them without images"
    assert middling["images a block and step"] == "3 at most"
    assert large["shared memory of a block"].startswith(f"{lenet_on(LARGE).shared_bytes:,} of 232,448 bytes (")


def test_the_summary_names_what_groups_share():
    plan = next(plan for plan in many_plans() if plan.shards)
    summary = plan_summary(plan).iloc[:, 0]
    assert summary["parameters shared by groups"] == f"dense1: 200,832, {plan.members} blocks a group"
    assert summary["parameters streamed from L2"] == "none" and summary["parameters in every block"].startswith("6,090")
    assert f"shared by {plan.members} blocks" in list(plan_table(plan)["weights are"])


def test_the_same_card_twice_is_refused():
    with pytest.raises(ValueError, match="no card twice"):
        plan_summary(lenet_on(LARGE), lenet_on(LARGE))
