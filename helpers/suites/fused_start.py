"""How long a process takes until one kernel has trained its first epoch: compiled anew, and from the cache's files.

Must not learn how an engine works.
"""

import tempfile
from statistics import median

from helpers.benchmark import interleave, summarise
from helpers.suites.costs import base_of, started

FIRST, CACHED = "small_first_start", "small_cached_start"
RUNS = {FIRST: 3, CACHED: 5}


def starts(system, workload, runs=None):
    """small_first_start and small_cached_start: from no process to the end of its first epoch.

    A first start finds an empty cache folder of its own, a cached one the folder that another process filled. That
    process is not timed: it reads the files of the libraries, which the others then find in the host's memory.

    Parameters
    ----------
    system : System
        One that must run here.
    workload : dict
        Arguments of `make_workload`.
    runs : dict of str to int, optional
        By experiment; RUNS by default.

    Returns
    -------
    list of dict
        Times in s; `compile_seconds` is the median of the part in which the engine made its kernels, or read them.
    """
    compiling = {name: [] for name in RUNS}

    def timed(name, folder):
        with started(system, workload, folder) as start:
            compiling[name].append(start.compile_seconds)
            print(f"  {name}: {start.seconds:.1f} s, {start.compile_seconds:.1f} s of it its kernels", flush=True)
            return start.seconds

    with tempfile.TemporaryDirectory() as filled:
        with started(system, workload, filled):
            pass
        turns = {FIRST: lambda: timed(FIRST, None), CACHED: lambda: timed(CACHED, filled)}
        seconds = interleave(turns, runs or RUNS)
    base = base_of(system, workload)
    return [
        {"experiment": name, **base, **summarise(spent).record("s"), "compile_seconds": median(compiling[name])}
        for name, spent in seconds.items()
    ]
