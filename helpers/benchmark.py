"""Fair timing: warm-up, events on the card, rivals in turns, results checked again, impossible figures refused.

Must not learn what is timed: suites/ knows engines and experiments. `python -m helpers.benchmark SUITE` measures a
suite and writes data/results/; `python -m helpers.benchmark worker` is one rival's process.
"""

import argparse
import math
import os
import statistics
import sys
import time
from dataclasses import dataclass

from helpers.device import DeviceError, device_properties
from helpers.graphs import Event, Stream, capture

UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6}


class MeasurementError(RuntimeError):
    """A measurement that cannot be true; the message says why."""


@dataclass(frozen=True)
class Timing:
    """Seconds of repeated runs; `first` is the very first call, compilation included."""

    median: float
    min: float
    max: float
    runs: int
    first: float

    def record(self, unit="ms", scale=1.0):
        """Keys of a measurement record: unit, median, min, max, runs; seconds times `scale` in `unit`."""
        factor = scale * UNITS[unit]
        values = {key: getattr(self, key) * factor for key in ("median", "min", "max")}
        return {"unit": unit, **values, "runs": self.runs}


def summarise(seconds, first=math.nan):
    """`Timing` of a list of seconds.

    Raises
    ------
    MeasurementError
        If there are none, or one is not a positive finite number.
    """
    if not seconds or not all(math.isfinite(s) and s > 0 for s in seconds):
        raise MeasurementError(f"times are {seconds}; expected positive seconds: the clock or the run is broken")
    return Timing(statistics.median(seconds), min(seconds), max(seconds), len(seconds), first)


def clocked(run, synchronize=None):
    """A function that runs `run()` to its end and returns the seconds it took by the host's clock.

    Parameters
    ----------
    run : callable
    synchronize : callable, optional
        Waits for queued work; called before the clock starts and before it stops.
    """
    wait = synchronize or (lambda: None)

    def timed():
        wait()
        start = time.perf_counter()
        run()
        wait()
        return time.perf_counter() - start

    return timed


def time_call(run, synchronize=None, runs=9, warmup=2, verify=None):
    """Time `run()` by the host's clock.

    Parameters
    ----------
    run, synchronize : callable
        As for `clocked`.
    runs, warmup : int
        Timed runs, and untimed ones before them (at least one: the first call).
    verify : callable, optional
        Called after the timing; raises where the results are wrong.

    Returns
    -------
    Timing
    """
    timed = clocked(run, synchronize)
    first = timed()
    for _ in range(warmup - 1):
        timed()
    result = summarise([timed() for _ in range(runs)], first)
    if verify:
        verify()
    return result


def time_kernel(launchable, *input_sets, launches=50, runs=9, work=None, verify=None):
    """Time one launch of a compiled kernel: `launches` of them in a CUDA graph, between two events.

    Parameters
    ----------
    launchable : Launchable
    input_sets : sequences of DeviceArray
        One or more tuples of arguments; several are taken in turns, so that a launch does not find its own data in
        the cache.
    launches : int
        In one graph; rounded up to whole turns.
    work : Work, optional
        Of one launch; a time below what the card allows for it is refused.
    verify : callable, optional
        Called after the timing; raises where the outputs are wrong.

    Returns
    -------
    Timing
        Seconds of one launch.

    Raises
    ------
    MeasurementError
        For a figure beyond the card's limits.
    """
    launches = len(input_sets) * math.ceil(launches / len(input_sets))
    stream, start, stop = Stream(), Event(), Event()

    def queue():
        for i in range(launches):
            launchable(*input_sets[i % len(input_sets)], stream=stream)

    graph = capture(stream, queue)

    def timed():
        start.record(stream)
        graph.launch(stream)
        stop.record(stream)
        return stop.milliseconds_since(start) / 1e3 / launches

    first = timed()
    timed()
    result = summarise([timed() for _ in range(runs)], first)
    if work is not None:
        refuse_impossible(result.min, work, device_properties(), launchable.kernel.operation)
    if verify:
        verify()
    return result


def refuse_impossible(seconds, work, properties, what="the run"):
    """Raise where `work` in `seconds` is beyond the card.

    The cache may hold `l2_bytes` of the data from an earlier run, so only what exceeds it must cross the memory bus.

    Raises
    ------
    MeasurementError
        Naming rate and limit.
    """
    flops, traffic = work.flops / seconds, max(work.bytes - properties.l2_bytes, 0) / seconds
    if flops > properties.fp32_flops:
        raise MeasurementError(
            f"{what} would run at {flops / 1e12:.1f} TFLOP/s, but {properties.name} cannot exceed "
            f"{properties.fp32_flops / 1e12:.1f} in fp32: it skips work, or the clock is wrong"
        )
    if traffic > properties.bandwidth:
        raise MeasurementError(
            f"{what} would move {traffic / 1e9:.0f} GB/s, but the memory of {properties.name} cannot exceed "
            f"{properties.bandwidth / 1e9:.0f}: it skips work, or the clock is wrong"
        )


def interleave(rivals, runs):
    """Let rivals take turns, so that a drift of clocks or temperature meets all alike.

    Parameters
    ----------
    rivals : dict of name to callable
        Each call is one turn and returns its seconds.
    runs : int or dict of name to int
        Turns of each rival; each round begins with another one.

    Returns
    -------
    dict of name to list of float
    """
    names = list(rivals)
    turns = runs if isinstance(runs, dict) else dict.fromkeys(names, runs)
    seconds = {name: [] for name in names}
    for turn in range(max(turns.values())):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            if turn < turns[name]:
                seconds[name].append(rivals[name]())
    return seconds


def main(arguments=None):
    """Command line: measure one suite, or serve as a worker."""
    from helpers.suites import BY_CELL, SUITES, run_cells, run_suite
    from helpers.workers import serve_engine

    parser = argparse.ArgumentParser(prog="python -m helpers.benchmark", description="Measure one suite.")
    parser.add_argument("suite", choices=[*SUITES, "worker"], metavar="suite", help=f"one of {', '.join(SUITES)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, any machine: the numbers mean nothing")
    parser.add_argument("--output", help="folder of the results; data/results by default, output/quick with --quick")
    where = f"suites {', '.join(BY_CELL)} only"
    parser.add_argument("--only", default="", help=f"cells to measure again, separated by commas ({where})")
    parser.add_argument("--seconds", type=float, default=math.inf, help=f"begin no cell later than this ({where})")
    options = parser.parse_args(arguments)
    if options.suite not in BY_CELL and (options.only or options.seconds != math.inf):
        parser.error(f"--only and --seconds are for {where}")
    if options.seconds < 0:
        parser.error(f"--seconds is {options.seconds:g}; expected 0 or more")
    if options.suite == "worker":
        serve_engine()
        return
    try:
        if options.suite in BY_CELL:
            only = list(filter(None, options.only.split(",")))
            written = run_cells(options.suite, options.quick, options.output, only, options.seconds)
        else:
            written = [run_suite(options.suite, options.quick, options.output)]
        print(f"wrote {', '.join(map(os.path.relpath, written)) or 'nothing'}")
    except (MeasurementError, DeviceError, ValueError) as error:
        sys.exit(f"{options.suite}: {error}")


if __name__ == "__main__":
    from helpers import benchmark  # the module that the suites know, so that its errors are the same classes

    benchmark.main()
