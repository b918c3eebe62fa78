"""Memory of this machine beside the card's: how much could still be given to processes. Must not learn who asks."""

from math import inf
from pathlib import Path

MEMORY_FILE = Path("/proc/meminfo")  # Linux


def available_bytes():
    """Bytes that processes could still take without swapping; infinity where the system does not say."""
    try:
        lines = dict(line.split(":") for line in MEMORY_FILE.read_text().splitlines())
        return 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return inf
