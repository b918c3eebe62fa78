"""Memory of the host: read from the system, or unknown."""

from math import inf

from helpers import host_memory


def test_what_is_available_is_read_or_unknown(tmp_path, monkeypatch):
    file = tmp_path / "meminfo"
    monkeypatch.setattr(host_memory, "MEMORY_FILE", file)
    assert host_memory.available_bytes() == inf
    file.write_text("MemTotal:       24000 kB\nMemAvailable:    1000 kB\n")
    assert host_memory.available_bytes() == 1_024_000
    file.write_text("MemTotal:       24000 kB\n")
    assert host_memory.available_bytes() == inf
