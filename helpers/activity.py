"""What the card did while something ran: the driver's own records of kernels and copies, read by torch's profiler.

CUPTI keeps them for every stream of the process, whoever launched: ours and JAX's as well. Must not learn about
engines or suites.
"""

import json
import tempfile
from collections import Counter
from pathlib import Path

from helpers.benchmark import MeasurementError

LONGEST = 3  # kernels that a summary names
MICROSECOND = 1e-6


def activity(run):
    """The driver's records of kernels and copies while `run()` runs.

    Returns
    -------
    list of dict
        Trace events: "cat" ("kernel", "gpu_memcpy", "gpu_memset"), "name", "ts", "dur" (us), "args".

    Raises
    ------
    MeasurementError
        Without a torch that sees the card.
    """
    try:
        import torch
        from torch.profiler import ProfilerActivity, profile
    except ImportError:
        raise MeasurementError("the card's records need PyTorch with CUDA, for its profiler; install torch") from None
    if not torch.cuda.is_available():
        raise MeasurementError("the card's records need PyTorch with CUDA; the installed one sees no card")
    torch.cuda.init()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    return [event for event in events if event.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]


def kernels_of(events):
    """The kernels among `events`, as `activity` gives them, in the order of their start.

    Raises
    ------
    MeasurementError
        If there is none: then the records say nothing about copies either.
    """
    kernels = sorted((event for event in events if event["cat"] == "kernel"), key=lambda event: event["ts"])
    if not kernels:
        raise MeasurementError("the profiler saw no kernel; it cannot tell copies either (is another profiler active?)")
    return kernels


def kernel_summary(events):
    """What kernels the card ran, and how long it was busy with one at least.

    Parameters
    ----------
    events : list of dict
        As `activity` gives them.

    Returns
    -------
    dict
        kernels: their number; busy_seconds: of the card, kernels that overlap counted once; longest: names of those
        that took the most time together and their shares of all kernels' time, [[name, share], ...].

    Raises
    ------
    MeasurementError
        If no kernel was seen.
    """
    kernels = kernels_of(events)
    busy, until, by_name = 0.0, kernels[0]["ts"], Counter()
    for kernel in kernels:
        end = kernel["ts"] + kernel.get("dur", 0)
        busy, until = busy + max(0.0, end - max(until, kernel["ts"])), max(until, end)
        by_name[kernel["name"]] += kernel.get("dur", 0)
    longest = [[name, time / by_name.total()] for name, time in by_name.most_common(LONGEST)]
    return {"kernels": len(kernels), "busy_seconds": MICROSECOND * busy, "longest": longest}
