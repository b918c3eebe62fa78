"""Suite "tune": which of a rule's tiles is the fastest on this card, for the layers of lenet5 and vgg_small.

A cell is a precision; it writes its part of the card's table, data/tiles/<card>.json, which engine `tensor` reads. No
tile is timed whose results are not those of the rule's choice. Must not learn how a kernel or a table is laid out.
"""

from dataclasses import asdict, replace
from statistics import median, quantiles

from helpers import device
from helpers.architectures import lenet5, vgg_small
from helpers.benchmark import MeasurementError, interleave, summarise
from helpers.compiler import load
from helpers.engines.tensor import TensorEngine, card_here
from helpers.graphs import Event, Stream, capture
from helpers.kernels.tensor.formats import STARTS, format_of
from helpers.kernels.tensor.tables import write_table
from helpers.suites.tile_trials import Launches, Noise, Proof, trials_of
from helpers.tensor_program import tensor_program

BATCH = 128
MOST, QUICK = 14, 2  # tiles of a problem
RUNS, LAUNCHES = 7, 20
TOGETHER = 64  # kernels that are compiled at once, so that every core has some
NO_CARD = "suite 'tune' times tiles on a card, and there is none; run it on a machine with a GPU"
HEADER = ("gpu", "driver", "cpu", "cores", "python", "packages", "date", "commit")


def cells(quick):
    """One cell a precision that the card has; `quick` tries the first tiles of lenet5 only.

    Raises
    ------
    MeasurementError
        Without a card.
    """
    if not device.gpu_available():
        raise MeasurementError(NO_CARD)
    networks, most = ((lenet5(),), QUICK) if quick else ((lenet5(), vgg_small()), MOST)
    capability, card = device.capability(), card_here()
    precisions = [name for name in TensorEngine.precisions if capability >= STARTS[name]]
    return {name: cell(networks, BATCH, format_of(name, capability), card, most) for name in precisions}


def cell(networks, batch, form, card, most, clock=None):
    """Function of no use of records so far that tunes one format; its attribute `keep` writes the table.

    Parameters
    ----------
    networks : sequence of Network
    batch : int
    form : Format
    card : Card
        `table` names the table to write; what it holds so far is not looked at.
    most : int
        Tiles of a problem that are tried.
    clock : callable, optional
        As `on_card`.

    Returns
    -------
    callable
    """
    rule = replace(card, table=None)

    def tune(_):
        return tuned(trials_of(map(tensor_program, networks), batch, form), batch, form, rule, most, clock or on_card)

    def keep(entries, environment, folder):
        header = {key: environment.get(key) for key in HEADER} | {"networks": [n.name for n in networks]}
        return write_table(card.table, form.name, entries, header | {"batch_size": batch}, folder)

    tune.keep = keep
    return tune


def on_card(queue, launches=LAUNCHES):
    """A function that runs `launches` times what `queue(stream)` puts on a stream, and returns seconds of once."""
    stream, start, stop = Stream(), Event(), Event()
    graph = capture(stream, lambda: [queue(stream) for _ in range(launches)])

    def timed():
        start.record(stream)
        graph.launch(stream)
        stop.record(stream)
        return stop.milliseconds_since(start) / 1e3 / launches

    timed()  # the first one loads the code
    return timed


def tuned(trials, batch, form, card, most=MOST, clock=on_card):
    """{key: entry of a table} of every trial where a tile is faster than the rule's by more than the spread.

    Parameters
    ----------
    trials : sequence of Trial
    batch, form, card, most, clock
        As in `cell`; `card` without a table.

    Returns
    -------
    dict

    Raises
    ------
    MeasurementError
        For a tile whose results are not those of the rule's choice.
    """
    entries = {}
    for group in _groups(trials, most):
        tried = [(trial, tile) for trial in group for tile in trial.candidates(form, card, most)]
        made = [trial.kernels(batch, form, card, tile) for trial, tile in tried]
        runs = iter(load([kernel for kernels in made for kernel in kernels]))
        loaded = [(kernels, [next(runs) for _ in kernels]) for kernels in made]
        for trial in group:
            tiles = {tile: pair for (owner, tile), pair in zip(tried, loaded) if owner is trial}
            if entry := _fastest(_rivals(trial, tiles, form), clock, trial.key):
                entries[trial.key] = entry
    return entries


def _groups(trials, most):
    """Trials in lists of about so many kernels as are compiled together."""
    group, count = [], 0
    for trial in trials:
        group.append(trial)
        count += most * len(trial.uses)
        if count >= TOGETHER:
            yield group
            group, count = [], 0
    if group:
        yield group


def _rivals(trial, tiles, form):
    """{tile: its launches}, proven, from {tile: (kernels, these loaded)}."""
    noise, proof, rivals = Noise(form), Proof(), {}
    for tile, (kernels, runs) in tiles.items():
        rivals[tile] = Launches(trial, kernels, runs, form, noise)
        proof.take(rivals[tile], tile)
    return rivals


def _fastest(rivals, clock, key):
    """Entry of the fastest tile; None where it is the first one, the rule's, or not surely faster than that.

    The luckiest of many is not the fastest yet, so it meets the rule's alone once more, and these times count.
    """
    timed = {tile: clock(launches.queue) for tile, launches in rivals.items()}
    first = next(iter(timed))
    seconds = interleave(timed, RUNS)
    best = min(seconds, key=lambda tile: summarise(seconds[tile]).median)
    print(f"  {key}: {len(rivals)} tiles, the rule's {1e6 * median(seconds[first]):.2f} us", end="", flush=True)
    if best != first:
        seconds = interleave({tile: timed[tile] for tile in (first, best)}, RUNS)
    if best == first or quantiles(seconds[best])[2] >= quantiles(seconds[first])[0]:
        print(", kept", flush=True)
        return None
    took, rule = (round(1e6 * summarise(seconds[tile]).median, 3) for tile in (best, first))
    print(f", the fastest {took:.2f} us", flush=True)
    return {"tile": asdict(best), "microseconds": took, "rule_microseconds": rule}
