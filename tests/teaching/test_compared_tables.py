"""Tables of the comparison say what their records hold; selections leave out what a chart cannot take."""

from test_verdicts import pair, record, said

from helpers.results import read_results, write_results
from helpers.teaching import compared_tables as tables


def test_times_stand_with_the_forms_that_are_absent(capsys, tmp_path, monkeypatch):
    base = {"network": "lenet5", "dataset": "mnist", "batch_size": 128, "precision": "fp32", "unit": ""}
    absent = {**base, "experiment": "absent", "system": "keras", "form": "fit", "reason": "it is not installed"}
    environment = {"gpu": "NVIDIA T4", "date": "2026-01-02", "code_digest": {}}
    write_results("frameworks-x", [absent], environment, tmp_path)
    write_results("costs", [{**absent, "form": "fit, best settings"}], environment, tmp_path)
    written = read_results(tmp_path)
    monkeypatch.setattr(tables, "find_records", lambda **keys: find(written, **keys))
    table = tables.times_table(pair(25, 100))
    text, times = said(capsys), table["one epoch, batch 128"]
    assert times["keras, fit"] == "absent" and times["layerwise, epoch graph"] == "25.0 ms"
    assert text.startswith(
        "Absent: keras (fit). It is not installed. Times on the NVIDIA T4, fp32, mnist (benchmark suite, 2026-01-02)."
    )
    assert "keras, fit, best settings" not in table.index
    assert tables.times_table([]) is None and "No table" in said(capsys)


def find(records, **keys):
    return [record for record in records if all(record.get(key) == value for key, value in keys.items())]


def test_lines_need_two_points():
    once, more = record("jax", "XLA", 1.0), [*pair(25, 100), *pair(9, 10, batch_size=2048)]
    assert tables.over_batches([once, *more]) == more
    worked = [{**entry, "flops": 1e9} for entry in more if entry["system"] != "loops"]
    assert tables.with_work([*worked, more[-1], once]) == worked
    assert tables.on_card(more) == [entry for entry in more if entry["system"] != "loops"]


def test_a_chart_needs_its_baseline():
    records = pair(25, 100)
    assert tables.with_baseline(records, ("loops", "njit, one core")) == records
    assert tables.with_baseline(records, ("vectorized", "BLAS, all cores")) == []


def test_images_a_second(capsys):
    table = tables.rate_table([*pair(46.8, 93.6), record("keras", "fit", 468.0, data="host-fed")])
    assert list(table.index) == [
        "loops, njit, one core",
        "keras, fit",
        "jax, jit",
        "jax, scan",
        "layerwise, epoch graph",
    ]
    ours = table.loc["layerwise, epoch graph"]
    assert ours["images a second"] == 468 * 128 / 0.0468 and ours["one step"] == "100 \u00b5s"
    assert table.loc["jax, scan", "time, ours = 1"] == "2.0\u00d7"
    assert list(table["images lie on"]) == ["host", "host", "card", "card", "card"]
    assert tables.rate_table([]) is None and "No table" in said(capsys)
    assert tables.rate_table([record("jax", "scan", 1.0)]).iloc[0]["time, ours = 1"] is None


def test_lower_precisions(capsys):
    reduced = [record("jax", "scan", 40.0, precision="tf32"), record("jax", "jit", 30.0, precision="bf16")]
    table = tables.precision_table([*pair(90, 60), *reduced])
    assert list(table.columns) == ["fp32", "tf32", "bf16"] and "loops, njit, one core" not in table.index
    assert list(table.loc["layerwise, epoch graph"]) == ["90.0 ms", None, None]
    assert list(table.loc["jax, scan"]) == ["60.0 ms", "40.0 ms", None]
    assert tables.precision_table(pair(90, 60)) is None and "No table" in said(capsys)


def test_costs_stand_in_one_row_a_system(capsys):
    seconds = {"unit": "s", "dataset": "mnist"}
    records = [
        record("pytorch", "eager", 15.0, **seconds | {"experiment": "cold_start"}),
        record("jax", "scan", 9.0, **seconds | {"experiment": "cold_start"}),
        record("jax", "scan", 1.5, **seconds | {"experiment": "time_to_accuracy", "reached": False}),
        record("keras", "fit", 0.0, experiment="absent", reason="it is not installed"),
    ]
    table = tables.costs_table(records)
    assert list(table.index) == ["jax, scan", "pytorch, eager", "keras, fit"]
    assert list(table.loc["jax, scan"]) == [9.0, None, None]
    assert list(table.loc["keras, fit"]) == ["absent", None, None]
    assert said(capsys).startswith(
        "Absent: keras (fit). It is not installed. lenet5 on mnist, batch 128, NVIDIA T4, one"
    )
    assert tables.costs_table([records[-1]]) is None and "No table" in said(capsys)


def test_memory_has_a_column_for_each_network(capsys):
    records = [
        record("jax", "scan", 100.4, data_set=47.04, tiny_network=60.6),
        record("jax", "scan", 300.0, network="vgg_small", data_set=153.6, tiny_network=60.6),
        record("keras", "fit", 50.0, data_set=0, tiny_network=40.0),
    ]
    table = tables.memory_table(records)
    columns = ["a tiny network, MB", "lenet5, MB", "of it lenet5's images, MB", "vgg_small, MB"]
    assert list(table.columns) == [*columns, "of it vgg_small's images, MB"]
    assert list(table.loc["jax, scan"]) == [61, 100, 47, 300, 154]
    assert list(table.loc["keras, fit"]) == [40, 50, None, None, None], "its images lie on the host"
    assert said(capsys).startswith("lenet5 on mnist and vgg_small on mnist, batch 128, NVIDIA T4 (")
    assert tables.memory_table([]) is None and "No table" in said(capsys)


def test_own_run_beside_the_committed_one():
    own = [record("jax", "scan", 300.0) | {"gpu": None}]
    other_work = record("jax", "scan", 1.0, network="vgg_small")
    table = tables.side_by_side(own, [*pair(25, 100), other_work])
    assert list(table.columns) == ["own run, no GPU, 2026-01-02", "committed, NVIDIA T4, 2026-01-02"]
    assert list(table.loc["jax, scan"]) == ["300 ms", "100 ms"]
    assert list(table.loc["layerwise, epoch graph"]) == [None, "25.0 ms"]
    assert list(tables.side_by_side(own, [other_work]).columns) == ["own run, no GPU, 2026-01-02"]
