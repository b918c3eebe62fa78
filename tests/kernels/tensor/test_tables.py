"""Tables of tiles: read back as written, before the rule; what does not fit is refused; without a file, the rule."""

import json
from dataclasses import asdict

import pytest

from helpers.kernels.tensor import tables
from helpers.kernels.tensor.correlation import Correlation, Tile
from helpers.kernels.tensor.formats import format_of
from helpers.kernels.tensor.tables import key_of, lookup, table_name, table_of, write_table
from helpers.kernels.tensor.tiling import Card, choose_strips, choose_tile, strip_candidates, tile_candidates
from helpers.kernels.tensor.weight_strips import WeightProblem, WeightTile

PROBLEM = Correlation(128, (1, 32, 32), 32, (1, 32, 32), 32, (1, 3, 3), padding=(0, 1, 1))
WEIGHTS = WeightProblem(128, (1, 32, 32), (1, 32, 32), (9, 32, 32), (1, 3, 3), padding=(0, 1, 1))
BF16, FP16 = format_of("bf16", (9, 0)), format_of("fp16", (9, 0))
RULE, TABLED = Card(), Card(table="card")
KEY, HEADER = key_of(PROBLEM, "bf16"), {"gpu": "card", "date": "today"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "TILES", tmp_path)
    return tmp_path


def entry(tile, **changed):
    return {"tile": asdict(tile) | changed, "microseconds": 1.5, "rule_microseconds": 2.0}


def write(**entries):
    """A table with one entry."""
    return write_table("card", "bf16", {KEY: entry(Tile(), **entries)}, HEADER)


def test_a_key_names_every_size_of_the_problem():
    assert KEY == (
        "bf16: Correlation batch 128, in_shape 1x32x32, channels 32, out_shape 1x32x32, filters 32, kernel 1x3x3, "
        "stride 1x1x1, padding 0x1x1, spread 1x1x1, window_rows 1"
    )
    assert len({KEY, key_of(PROBLEM, "bf16", 2), key_of(PROBLEM, "fp16"), key_of(WEIGHTS, "bf16")}) == 4


def test_a_table_is_read_back_as_it_was_written(folder):
    tile, strips, key = Tile(rows=2, teams=2), WeightTile(splits=7), key_of(WEIGHTS, "bf16")
    path = write_table("card", "bf16", {key: entry(strips), KEY: entry(tile)}, HEADER)
    assert path == folder / "card.json" and [item.name for item in folder.iterdir()] == ["card.json"]
    assert table_of("card") == {KEY: asdict(tile), key: asdict(strips)}
    assert lookup("card", KEY, Tile) == tile and lookup("card", key, WeightTile) == strips
    content = json.loads(path.read_text())
    assert list(content["tiles"]) == sorted(content["tiles"]) and content["tiles"][KEY]["rule_microseconds"] == 2.0
    assert content["environments"] == {"bf16": HEADER}


def test_a_format_is_written_anew_and_the_others_stay():
    write_table("card", "fp16", {key_of(PROBLEM, "fp16"): entry(Tile(rows=8))}, HEADER)
    write()
    path = write_table("card", "bf16", {key_of(PROBLEM, "bf16", 2): entry(Tile(rows=2))}, {"date": "tomorrow"})
    assert list(table_of("card")) == [key_of(PROBLEM, "bf16", 2), key_of(PROBLEM, "fp16")]
    assert json.loads(path.read_text())["environments"] == {"bf16": {"date": "tomorrow"}, "fp16": HEADER}


def test_the_tables_tile_goes_before_the_rules():
    slow, late = tile_candidates(PROBLEM, 2, RULE)[5], strip_candidates(WEIGHTS, 2, RULE)[5]
    write_table("card", "bf16", {KEY: entry(slow), key_of(WEIGHTS, "bf16"): entry(late)}, HEADER)
    assert choose_tile(PROBLEM, BF16, TABLED) == slow != choose_tile(PROBLEM, BF16, RULE)
    assert choose_strips(WEIGHTS, BF16, TABLED) == late != choose_strips(WEIGHTS, BF16, RULE)


def test_what_the_table_lacks_has_the_rules_tile():
    write_table("card", "bf16", {KEY: entry(tile_candidates(PROBLEM, 2, RULE)[5])}, HEADER)
    assert choose_tile(PROBLEM, BF16, TABLED, 2) == choose_tile(PROBLEM, BF16, RULE, 2)
    assert choose_tile(PROBLEM, FP16, TABLED) == choose_tile(PROBLEM, FP16, RULE)
    assert choose_strips(WEIGHTS, BF16, TABLED) == choose_strips(WEIGHTS, BF16, RULE)


def test_without_a_file_there_is_the_rule():
    assert table_of("card") == {} and lookup(None, KEY, Tile) is None
    assert choose_tile(PROBLEM, BF16, TABLED) == choose_tile(PROBLEM, BF16, RULE)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"warps": 2}, "it has the fields .*, warps; a tile has rows, row_warps"),
        ({"rows": 0}, "rows is 0; expected a positive whole number"),
        ({"rows": True}, "rows is True"),
        ({"kernel_columns": 2}, "2 kernel columns do not divide a kernel of 3"),
        ({"depth": 8, "image_warps": 4, "column_warps": 2}, "bytes of shared memory a multiprocessor; the card has"),
        ({"residents": 40}, "bytes of shared memory a multiprocessor; the card has 232,448"),
        ({"row_warps": 8, "filter_warps": 4}, "1 blocks of 1024 threads; expected at most 512 of one"),
    ],
    ids=str,
)
def test_a_tile_that_is_none_or_does_not_fit_is_refused(changed, message):
    write(**changed)
    with pytest.raises(ValueError, match=rf"card.json: the entry 'bf16: Correlation .*{message}.*tune again$"):
        choose_tile(PROBLEM, BF16, TABLED)


def test_a_tile_of_half_a_window_is_refused():
    write_table("card", "bf16", {key_of(PROBLEM, "bf16", 2): entry(Tile(rows=1))}, HEADER)
    with pytest.raises(ValueError, match="a warp's 1 rows are no whole windows of 2"):
        choose_tile(PROBLEM, BF16, TABLED, 2)


def test_strips_that_do_not_fit_are_refused():
    for tile, message in ((WeightTile(8, 4, residents=4), "shared memory"), (WeightTile(shares=8), "of 768 threads")):
        write_table("card", "bf16", {key_of(WEIGHTS, "bf16"): entry(tile)}, HEADER)
        with pytest.raises(ValueError, match=message):
            choose_strips(WEIGHTS, BF16, TABLED)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"tiles": {}}', '{"environments": {"bf16": {}}, "tiles": {"a": {"tile": 1}}}']
)
def test_a_file_that_is_no_table_is_refused(folder, text):
    (folder / "card.json").write_text(text)
    tables._read.cache_clear()
    with pytest.raises(ValueError, match="card.json is no table of tiles .*delete it and run .* tune again"):
        choose_tile(PROBLEM, BF16, TABLED)


def test_an_entry_of_another_format_is_not_written(folder):
    with pytest.raises(ValueError, match="is no entry of fp16"):
        write_table("card", "fp16", {KEY: entry(Tile())}, HEADER)
    assert not list(folder.iterdir())


def test_a_forced_capability_has_a_table_of_its_own():
    assert table_name("NVIDIA H200", (9, 0), (9, 0)) == "h200" and table_name("Tesla T4", (7, 5), (7, 5)) == "t4"
    assert table_name("NVIDIA H200", (9, 0), (7, 5)) == "h200-75"
