"""Files appear whole or not at all."""

import os

import pytest

from helpers.atomic import replacing, write_atomically


def test_content_takes_the_place_of_the_old(tmp_path):
    path = tmp_path / "new folder" / "file"
    for content, wanted in (("text \u00d7", "text \u00d7".encode()), (b"\x00bytes", b"\x00bytes")):
        write_atomically(path, content)
        assert path.read_bytes() == wanted
    assert os.listdir(path.parent) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half of it")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["file"] and path.read_text() == "old"
