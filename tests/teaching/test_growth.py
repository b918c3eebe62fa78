"""What grows is told by its two ends, whichever way they fall."""

import pytest
from test_verdicts import pair, said

from helpers.teaching import growth

SOME = {"experiment": "growth", "by": "size", "floor": 1.0}


@pytest.mark.parametrize(
    "rival, last",
    [
        (40.0, "4.0\u00d7 as fast as"),
        (10.2, "level, 1.02\u00d7 as fast as"),
        (5.0, "behind, with 2.0\u00d7 the time of"),
    ],
)
def test_what_grows_is_told_by_its_two_ends(capsys, rival, last):
    ends = [*pair(4.0, 10.0, value=8, **SOME), *pair(7.0, 14.0, value=16, **SOME), *pair(10.0, rival, value=64, **SOME)]
    growth.say_growth(ends)
    text = said(capsys)
    assert text.startswith(
        "Side of an image, 8 to 64: at the small end ours is 2.5\u00d7 as fast as jax, scan, at the large"
    )
    assert f"one {last} jax, scan; of the card's limit it reaches 25\u00a0% and 10\u00a0% (" in text
    growth.say_growth(ends[:4])
    growth.say_growth([])
    assert not said(capsys), "a chart's place says that there is nothing to say"


def test_a_power_needs_two_values():
    ends = [*pair(4.0, 10.0, value=8, **SOME), *pair(10.0, 40.0, value=64, **SOME)]
    alone = {**ends[0], "form": "another"}
    assert growth.growing([*ends, alone, {**ends[0], "by": "depth"}], "size") == ends


def test_what_does_not_grow_is_said(capsys):
    growth.say_not_growing()
    assert "batch 128, 6,400 images of 32 x 32 pixels in three channels, 4 convolutions of 32 filters" in said(capsys)
