"""Suite "transfers": copies between host and card around one epoch, counted from the driver's activity records.

torch's profiler reads them (CUPTI) for every stream of the process, ours included. The form that copies each batch
is counted as well: it shows that the counter sees copies. Must not learn how an engine trains.
"""

from helpers.activity import activity, kernels_of
from helpers.device import gpu_available
from helpers.engines import make_engine
from helpers.suites.epoch import SYSTEMS
from helpers.suites.workloads import make_workload

# by form, the systems of this suite
FORMS = {form: next(s for s in SYSTEMS if s.form == form) for form in ("epoch graph", "copy per batch")}
DIRECTIONS = ("HtoD", "DtoH")


def cells(quick):
    """One cell a form of lenet5; none without a GPU or without torch's profiler."""
    if not gpu_available():
        return {}
    sizes = {"train": 2048, "test": 256} if quick else {}
    return {form: lambda _, system=system: measure(system, {"network": "lenet5", "dataset": "mnist", **sizes})
            for form, system in FORMS.items()}  # fmt: skip


def measure(system, workload, batch_size=128, experiment="transfers"):
    """Records of one trained epoch: copies before, within and after it, in both directions.

    Parameters
    ----------
    system : System
        One of the project's own, on the card.
    workload : dict
        Arguments of `make_workload`.
    batch_size : int
    experiment : str
        What the records are called.

    Returns
    -------
    list of dict
        `median` is the number of copies, `bytes` what they move, `kernels` how many the epoch is.
    """
    work = make_workload(**workload)
    engine = make_engine(system.engine, work.network, work.optimizer, batch_size, **system.options)
    engine.load(work.dataset)
    engine.train(0)  # compiles, captures
    activity(lambda: engine.train(1))  # the profiler's own start is not part of the epoch
    events = activity(lambda: engine.train(2))
    base = {"experiment": experiment, **system.named, "network": work.network.name}
    base |= {"dataset": work.label, "batch_size": batch_size, "precision": "fp32", "unit": "copies"}
    kernels = len(kernels_of(events))
    records = []
    for (when, direction), copies in count_copies(events).items():
        count = len(copies)
        total = sum(int(copy["args"].get("bytes", 0)) for copy in copies)
        spread = {"median": count, "min": count, "max": count, "runs": 1}
        records.append({**base, "when": when, "direction": direction, **spread, "bytes": total, "kernels": kernels})
        print(f"  {when} {direction}: {count} copies, {total} bytes", flush=True)
    return records


def count_copies(events):
    """Copies by place and direction: "before" the epoch's first kernel, "within" the epoch, "after" its last one.

    Parameters
    ----------
    events : list of dict
        As `activity` gives them.

    Returns
    -------
    dict of (when, direction) to list of events

    Raises
    ------
    MeasurementError
        If no kernel was seen: then nothing can be said about copies either.
    """
    kernels = kernels_of(events)
    first = kernels[0]["ts"]
    last = max(event["ts"] + event.get("dur", 0) for event in kernels)
    found = {(when, direction): [] for when in ("before", "within", "after") for direction in DIRECTIONS}
    for event in events:
        direction = next((d for d in DIRECTIONS if d in event["name"]), None)
        if event["cat"] == "gpu_memcpy" and direction:
            when = "before" if event["ts"] < first else "after" if event["ts"] >= last else "within"
            found[when, direction].append(event)
    return found
