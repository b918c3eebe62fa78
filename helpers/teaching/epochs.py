"""An epoch taken apart: where its data lives, who launches its kernels, and what each way costs.

On a card it measures, elsewhere it reads committed records. Knows the engine `layerwise` by its modes and its list of
kernels; must not learn how a kernel computes.
"""

import contextlib
import io

import numpy as np
import pandas as pd

from helpers import device, graphs
from helpers.agreement import agreement_bound, check_agreement
from helpers.benchmark import MeasurementError, summarise, time_call
from helpers.data import synthetic
from helpers.drawing.training_charts import kernel_times, lay_out
from helpers.engines import make_engine
from helpers.kernels.state import CURRENT, STATUS, STEP
from helpers.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from helpers.network import Network
from helpers.optimizers import SGD, cosine
from helpers.report import say
from helpers.results import find_records
from helpers.suites.accuracy import chosen
from helpers.suites.transfers import FORMS
from helpers.suites.transfers import measure as measure_transfers
from helpers.suites.workloads import Workload, make_workload

MODES = {"copy per batch": "copy per batch", "resident": "resident", "epoch graph": "graph"}  # form: mode of the engine
LENET = {"network": "lenet5", "dataset": "mnist", "batch_size": 128, "precision": "fp32"}
RIGHT = "{form}: the first {steps} losses stay within the bound; they use at most {percent:.0f} % of it."
TIMED = "{gpu}, {network}, batch {batch_size}: an epoch takes {median:,.1f} {unit} as \u201c{form}\u201d ({origin})."
BUSY = "The kernels alone, one after the other, would take {busy:.1f} ms ({origin}): {share:.0f} % of this epoch."
STREAMS = "A step takes {one:.1f} us on one stream and {two:.1f} us on two (this run): {gain:.1f} us less."
DRAWN = "Were each kernel alone on the card, {gain:.1f} us would be gained; the rest goes to sharing and to waiting."
NO_CARD = "Times need a GPU; {what} has not been measured here."


def training_problem(rate=0.01, momentum=0.9):
    """What the engine trains here: lenet5 on MNIST on a card, a network of nine kernels in the simulator.

    Returns
    -------
    Workload
    """
    if device.gpu_available():
        return make_workload("lenet5", "mnist", rate=rate, momentum=momentum)
    layers = [Conv2D(4, 3), ReLU(), MaxPool2D(2), Flatten(), Dense(3)]
    data = synthetic((8, 8, 1), train=32, test=16, classes=3)
    return Workload(Network((8, 8, 1), layers, name="sketch"), data, SGD(rate, momentum), data.title)


def learning_settings(epochs, records=None):
    """SGD as chosen on the validation split by the suite "accuracy"; a plain choice where nothing was measured."""
    tried = find_records(records, experiment="validation_accuracy", network="lenet5", dataset="mnist")
    best = chosen(tried) if tried else {"rate": 0.05, "momentum": 0.9}
    return SGD(cosine(best["rate"], epochs, warmup=1.0), best["momentum"])


class EpochLadder:
    """The three ways to run an epoch: each held against the float64 oracle, then timed where there is a card.

    Parameters
    ----------
    work : Workload
    batch_size : int
    steps : int
        Losses to compare.
    runs : int
        Timed epochs.
    """

    def __init__(self, work, batch_size=128, steps=20, runs=5):
        self.work, self.batch_size, self.steps, self.runs = work, batch_size, steps, runs
        arguments = (work.network, work.optimizer, work.dataset, batch_size)
        self.reference, self.bound = agreement_bound(*arguments, 0, steps)
        self.losses, self.measured = {}, {}

    def climb(self, form):
        """Make the engine, check its first losses, time an epoch, print all that; returns the engine.

        Raises
        ------
        AssertionError
            If a loss leaves the bound, before or after the timing.
        """
        work = self.work
        engine = make_engine("layerwise", work.network, work.optimizer, self.batch_size, mode=MODES[form])
        engine.load(work.dataset)
        self.losses[form] = engine.train(0, 1, self.steps)[0]
        share = check_agreement(self.losses[form], self.reference, self.bound, form)
        say(RIGHT, form=form, steps=self.steps, percent=100 * share)
        if device.gpu_available():
            self.measured[form] = self._time(engine, form)
        self._say_time(form)
        return engine

    def _time(self, engine, form):
        def verify():
            engine.load_state(engine.initial_state())
            check_agreement(engine.train(0, 1, self.steps)[0], self.reference, self.bound, form)

        timing = time_call(lambda: engine.train(0), runs=self.runs, verify=verify)
        return {
            **{"experiment": "epoch_time", "system": "layerwise", "form": form, "network": self.work.network.name},
            **{"dataset": self.work.label, "batch_size": self.batch_size, "precision": "fp32"},
            **{"gpu": device.device_properties().name, **timing.record("ms")},
        }

    def records(self):
        """epoch_time records of the rungs in order: measured here, or else the committed ones."""
        found = {r["form"]: r for r in find_records(experiment="epoch_time", system="layerwise", **LENET)}
        return [(self.measured or found)[form] for form in MODES if form in (self.measured or found)]

    def _say_time(self, form):
        record = next((record for record in self.records() if record["form"] == form), None)
        say(TIMED, record)
        kernels = find_records(experiment="kernel_time", gpu=record["gpu"], **LENET) if record else []
        if kernels:
            busy = sum(kernel["median"] for kernel in kernels) * (60_000 // record["batch_size"]) / 1e3
            say(BUSY, kernels[0], busy=busy, share=100 * busy / record["median"])


def host_work(engine):
    """What the host has to do in an epoch of lenet5's size for each form, counted from the engine's description.

    Returns
    -------
    pandas.DataFrame
        A row a form: bytes copied to the card, calls that launch kernels or graphs.
    """
    steps, launches = engine.steps_per_epoch, len(engine.kernels)
    copied = 4 * engine.batch_size * (int(np.prod(engine.network.input_shape)) + 1)
    rows = {
        "copy per batch": (steps * copied, steps * (launches - 1)),
        "resident": (0, steps * launches),
        "epoch graph": (0, 1),
    }
    return pd.DataFrame(rows, ("bytes copied", "launches by the host")).T.rename_axis("one epoch")


def step_table(engine):
    """The kernels of one training step in order: operation, layer, grid, block; registers on a card; time of records.

    Returns
    -------
    pandas.DataFrame
    """
    records = find_records(experiment="kernel_time", **LENET) if engine.network.name == "lenet5" else []
    times = {(record["layer"], record["form"]): record for record in records}
    rows = []
    for op, kernel, run, _ in engine.kernels:
        record = times.get((op.layer, kernel.operation), {})
        row = {"layer": op.layer, "operation": kernel.operation.replace("_", " "), "grid": _size(kernel.grid)}
        row |= {"block": _size(kernel.block), "registers": getattr(run, "registers", 0) or record.get("registers")}
        rows.append(row | {"time, us": record.get("median"), "limit of the card, us": record.get("floor")})
    frame = pd.DataFrame(rows, index=pd.RangeIndex(1, len(rows) + 1, name="launch"))
    return frame.dropna(axis=1, how="all").round(2)


def _size(extent):
    return " x ".join(str(n) for n in extent if n > 1) or "1"


def compare_streams(engine, runs=5, most_steps=100):
    """Print the time of a captured step on one stream and on two, beside what the drawing allows; on a card only.

    Parameters
    ----------
    engine : LayerwiseEngine
        Its parameters change.
    """
    if not device.gpu_available():
        print(NO_CARD.format(what="a step on two streams"))
        return
    steps, seconds = min(most_steps, engine.steps_per_epoch), {}
    engine.train(0)
    for count in (1, 2):
        seconds[count] = _step_seconds(engine, count, steps, runs).median
    one, two = 1e6 * seconds[1], 1e6 * seconds[2]
    say(STREAMS, one=one, two=two, gain=one - two)
    ops = engine.step.training_ops
    times = kernel_times(ops, find_records(experiment="kernel_time", gpu=device.device_properties().name, **LENET))
    if times:
        say(DRAWN, gain=sum(times) - lay_out(ops, times)[-1][2])


def _step_seconds(engine, streams, steps, runs):
    """`Timing` of one step in a graph of `steps`, whose kernels were queued on one or two streams."""
    main, start, stop = graphs.Stream(), graphs.Event(), graphs.Event()
    side = graphs.Stream() if streams == 2 else main
    images, labels = engine.kernels[0][3][2:4]
    graph = graphs.capture(main, engine.step.queue(images, labels, engine.step.training_ops, main, side), steps)
    state = device.to_host(engine.step.buffers["state"])
    state[[STEP, CURRENT, STATUS]] = 0
    seconds = []
    for _ in range(1 + runs):
        device.write(engine.step.buffers["state"], state)  # back to the first batch, so that no step lies behind an end
        start.record(main)
        graph.launch(main)
        stop.record(main)
        seconds.append(stop.milliseconds_since(start) / 1e3 / steps)
    return summarise(seconds[1:], seconds[0])


def transfer_table():
    """Copies around one epoch of lenet5, counted from the driver's records: live where torch sees a card.

    Returns
    -------
    pandas.DataFrame
        A row a form and place; copies and bytes in both directions. None with a sentence where none was ever counted.
    """
    records = _count_live() or find_records(experiment="transfers", **LENET)
    if not records:
        print("Not counted on any card yet: run python -m helpers.benchmark transfers.")
        return None
    say("Counted on {gpu} ({origin}).", records[0])
    frame = pd.DataFrame(records)
    names = {"HtoD": "to the card", "DtoH": "to the host"}
    frame["way"] = frame["direction"].map(names)
    frame["epoch run as, when"] = frame["form"] + ", " + frame["when"]
    table = frame.pivot(index="epoch run as, when", columns="way", values=["median", "bytes"])
    table.columns = [f"{'copies' if kind == 'median' else kind} {way}" for kind, way in table]
    order = [f"{what} {way}" for way in names.values() for what in ("copies", "bytes")]
    rows = [f"{form}, {when}" for form in reversed(FORMS) for when in ("before", "within", "after")]
    return table.loc[rows, order].astype(int)


def _count_live():
    """transfers records of this card; [] without a card or without a torch that sees it."""
    if not device.gpu_available():
        return []
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            found = [r for s in FORMS.values() for r in measure_transfers(s, {"network": "lenet5", "dataset": "mnist"})]
    except MeasurementError:
        return []
    return [{"gpu": device.device_properties().name, **record} for record in found]


def show(plot, records, what, **options):
    """The chart `plot(records, **options)`, or one sentence where `what` was measured on no card."""
    if not records:
        print(f"No chart: {what} has not been measured on any card yet.")
        return None
    return plot(records, **options)
