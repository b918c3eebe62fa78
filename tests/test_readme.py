"""README's measured parts: headline, epoch times, the comparison with the frameworks."""

import pytest
from measured import ENVIRONMENT, RECORD, write_compared

from helpers import readme, results
from helpers.results import read_results, write_results
from helpers.teaching.one_kernel import say_small, small_sentence


def test_a_speed_up_tells_the_spread(records):
    loops, layerwise = ({**record, "min": record["median"] / 2, "max": 2 * record["median"]} for record in records)
    assert readme.speed_up(loops, layerwise, "loops").endswith("as loops (500 to 8,000 from run to run)")


def test_readme_parts(records):
    assert "takes 25.0 ms on one NVIDIA T4" in readme.headline(records)
    assert "About 2,000 times as fast as compiled sequential loops on one core." in readme.headline(records)
    assert "| lenet5 | mnist | `loops` | njit, one core (scaled from a slice) | 50.0 s |" in readme.epoch_table(records)
    tools = [{"experiment": "sanitizer", "form": tool, "median": 1, "kernels": 9} for tool in ("racecheck", "memcheck")]
    assert "compute-sanitizer (memcheck, racecheck) finds 2 errors in 9 kernels" in readme.headline(records + tools)
    text = "a\n<!-- headline -->\nold\n<!-- /headline -->\n<!-- epochs -->\n<!-- /epochs -->\n"
    text += "<!-- comparison -->\n<!-- /comparison -->\n<!-- small -->\n<!-- /small -->\nz"
    filled = readme.filled_readme(text, records)
    assert "old" not in filled and filled.startswith("a\n") and readme.filled_readme(filled, records) == filled
    with pytest.raises(ValueError, match="expected one pair of the markers"):
        readme.fill("no marker", "headline", "")


def test_readme_compares_with_the_frameworks(tmp_path):
    times = [("layerwise", "epoch graph", 25.0), ("jax", "scan", 20.0), ("pytorch", "eager", 500.0)]
    write_compared(tmp_path, *times, ("keras", "fit", None), ("jax", "jit", None))
    write_compared(tmp_path, ("layerwise", "epoch graph", 30.0), ("jax", "scan", 60.0), dataset="fashion_mnist")
    table = readme.comparison_table(read_results(tmp_path))
    assert "| batch 128: system | run as | lenet5, mnist, fp32 | lenet5, fashion_mnist, fp32 |" in table
    assert "| `pytorch` | eager | 500 ms |  |" in table
    assert "| `jax` | scan | **20.0 ms** | 60.0 ms |" in table, "the fastest of a column is bold"
    assert "| `layerwise` | epoch graph | 25.0 ms | **30.0 ms** |" in table
    assert table.index("eager") < table.index("epoch graph") < table.index("scan"), "the fastest comes last"
    assert "| lenet5, mnist, fp32 | 1/1.2 as fast: 25.0 ms against 20.0 ms |" in table
    assert "| lenet5, fashion_mnist, fp32 | 2.0\u00d7 as fast: 30.0 ms against 60.0 ms |" in table
    assert "Card: NVIDIA T4, 2026-01-02." in table and "Absent on that machine: `keras`." in table


def test_readme_has_a_column_for_each_batch(tmp_path):
    for batch, ours in ((32, 50.0), (128, 25.0), (2048, 12.5)):
        write_compared(tmp_path, ("layerwise", "epoch graph", ours), ("jax", "scan", 100.0), batch=batch)
    table = readme.comparison_table(read_results(tmp_path))
    assert "| ours is | batch 32 | batch 128 | batch 2,048 |" in table
    assert "| 2.0\u00d7 as fast: 50.0 ms against 100 ms | 4.0\u00d7" in table and "100 ms | 8.0\u00d7" in table
    assert table.count("`jax`") == 1, "the table of forms has one batch"


@pytest.mark.parametrize("jax, ratio", [(100.0, "4.0\u00d7"), (20.0, "1/1.2")])
def test_the_headline_tells_how_ours_stands_to_the_fastest_framework(tmp_path, jax, ratio):
    write_compared(tmp_path, ("layerwise", "epoch graph", 25.0), ("jax", "scan", jax), ("pytorch", "eager", 500.0))
    said = readme.framework_sentences(read_results(tmp_path))
    assert len(said) == 1 and said[0].startswith(
        f"In fp32 on lenet5 {ratio} as fast as the fastest of 2 forms of PyTorch and JAX"
    )
    assert "by jax, scan" in said[0] and readme.framework_sentences([]) == []


def test_the_headline_tells_what_fewer_bits_give(tmp_path):
    shapes = {"network": "vgg_small", "dataset": "CIFAR-10 shapes"}
    write_compared(tmp_path, ("layerwise", "epoch graph", 400.0), ("jax", "scan", 650.0), **shapes)
    assert readme.precision_sentence(read_results(tmp_path)) == ""
    write_compared(tmp_path, ("jax", "scan", 300.0), ("jax", "jit", 900.0), precision="tf32", **shapes)
    said = readme.precision_sentence(read_results(tmp_path))
    assert "the fastest framework takes 300 ms in tf32 on vgg_small, ours 400 ms in fp32." in said
    write_compared(tmp_path, ("jax", "scan", 200.0), precision="bf16", **shapes)
    assert "takes 300 ms in tf32 and 200 ms in bf16 on vgg_small" in readme.precision_sentence(read_results(tmp_path))


def test_readme_takes_all_columns_from_one_card(tmp_path):
    write_compared(tmp_path, ("jax", "scan", 20.0))
    shapes = {"network": "vgg_small", "dataset": "CIFAR-10 shapes"}
    write_compared(tmp_path, ("jax", "scan", 300.0), gpu="NVIDIA H100 80GB HBM3", date="2026-02-01", **shapes)
    assert "300 ms" not in readme.comparison_table(read_results(tmp_path))
    write_compared(tmp_path, ("jax", "scan", 900.0), **shapes)
    assert "| `jax` | scan | **20.0 ms** | **900 ms** |" in readme.comparison_table(read_results(tmp_path))


def small_records(tmp_path, batch=128, **more):
    times = {("fused", "one kernel for all steps"): 8.0, ("layerwise", "epoch graph"): 30.0}
    times |= {("jax", "scan, command buffers"): 64.0, ("pytorch", "eager"): 1_200.0}
    base = RECORD | {"experiment": "small_epoch_time", "batch_size": batch, **more}
    written = [
        base | {"system": system, "form": form, "median": median, "min": median, "max": median}
        for (system, form), median in times.items()
    ]
    written[-1]["scaled"] = True
    missing = {"experiment": "absent", "system": "tensorflow", "form": "eager", "reason": "none", "unit": ""}
    write_results(f"fused-lenet5-b{batch}", [*written, base | missing], ENVIRONMENT, tmp_path)
    return read_results(tmp_path)


def test_readme_tells_of_small_networks_in_one_kernel(tmp_path):
    small_records(tmp_path, batch=2048)
    records = small_records(tmp_path)
    said = small_sentence(records)
    assert "an epoch of lenet5 takes 8.00 ms on one NVIDIA T4: 8.0\u00d7 as fast as the fastest of 2 forms" in said
    assert "of PyTorch and JAX there (64.0 ms by jax, scan, command buffers; " in said
    assert f"- {said}" in readme.headline([*records, RECORD | {"gpu": "NVIDIA T4", "date": "2026-01-02"}])
    table = readme.small_table(records)
    rows = [line for line in table.splitlines() if line.startswith("| lenet5")]
    assert rows == [
        f"| lenet5 | mnist | {batch} | 8.00 ms | 30.0 ms | 64.0 ms, jax, scan, command buffers "
        "| 2 forms of PyTorch and JAX | 8.0\u00d7 |"
        for batch in ("128", "2,048")
    ]
    assert "Card: NVIDIA T4, fp32, 2026-01-02. Absent on that machine: `tensorflow`." in table
    assert "scaled" not in table, "no time that is shown is marked"


def test_a_notebook_says_how_one_kernel_stands_in_each_cell(tmp_path, capsys):
    small_records(tmp_path, batch=2048)
    say_small(small_records(tmp_path))
    said = capsys.readouterr().out.replace("\n", " ")
    assert "lenet5, batch 128: 8.00 ms in one kernel, 64.0 ms by jax, scan, command buffers, the fastest of 2" in said
    assert "forms of PyTorch and JAX: 8.0\u00d7 as fast" in said
    assert "lenet5, batch 2,048: 8.00 ms" in said and "benchmark suite" in said
    say_small([])
    assert "Not measured yet" in capsys.readouterr().out


def test_readme_before_any_small_network(records):
    assert small_sentence(records) == "" and readme.small_table(records).startswith("Not measured yet")


def test_readme_before_any_comparison(records):
    assert "python -m helpers.benchmark frameworks" in readme.comparison_table(records)


def test_readme_shows_the_committed_measurements(monkeypatch):
    monkeypatch.setattr(results, "card_name", lambda: None)
    text = (results.ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.filled_readme(text) == text, "run python -m helpers.readme"
