"""Why the times of a comparison are what they are, in words: the rate of kernels, launches from the host, the images.

Every sentence follows from the records, whichever way they fall. Must not learn how anything was measured or drawn.
"""

from helpers.data import PUBLISHED
from helpers.drawing.system_lines import OURS, seconds, system_name
from helpers.number_text import show_share, show_time
from helpers.report import NOT_MEASURED, say
from helpers.results import find_records
from helpers.suites.workloads import CIFAR_SHAPES
from helpers.teaching.verdicts import verdict

SHORT = (
    "At its fp32 limit the card would do the arithmetic of a step in {least}; ours spends {own} on a step, {rival} "
    "{other}. Neither is limited by arithmetic."
)
RATES = (
    "With its arithmetic counted as direct convolutions, ours reaches {own} of the card's fp32 limit, {rival} {other}."
)
BEHIND = (
    "The frameworks' libraries choose among many convolution kernels tuned for a card; ours are loops of one design."
)
ACTIVITY = (
    "By the driver's count a step of ours is {own[count]} kernels, which keep the card busy for {own[busy]} of "
    "{own[step]}; one of {other[name]} is {other[count]}, for {other[busy]} of {other[step]} ({origin})."
)
KERNELS = (
    "The {count} kernels of our step, each measured alone, take {busy} one after the other ({origin}), convolutions "
    "{share} of that; a step of the epoch took {step} on that day."
)
LAUNCHES = (
    "Ours takes {apart} for a step when Python launches its {count} kernels one by one, and {whole} where one graph "
    "holds the epoch: {each} a launch ({network}, batch {batch_size:,}; {origin})."
)
WAITS = (
    "{name} takes {apart} for a step, and {whole} where an epoch is handed over at once ({form}): {each} of it, "
    "{share}, is the price of the host's calls ({origin})."
)
NO_WAITS = (
    "{name} takes {apart} for a step, no longer than where an epoch is handed over at once ({form}, {whole}; {origin})."
)
ALIKE = (
    "{kind}: {first} and {second} are at most {most} apart, half of the times at most {middle} ({name} at batch "
    "{batch_size:,} is the furthest of {count})."
)
# the same operations, launched by the host step by step and as a whole epoch
STEPWISE = {"pytorch": ("eager", "epoch graph"), "jax": ("jit", "scan")}
OWN_STEPWISE = ("resident", "epoch graph")  # of suite "epoch"
# what a form hands over at once, by words in its name; the first that fits
HANDED_OVER = {
    "An epoch as CUDA graphs": ("epoch graph", "command buffers"),
    "An epoch as a compiled function": ("scan", "epoch function"),
    "Step by step": ("",),
}
BUSY = 0.1  # of the card's fp32 limit: below it, arithmetic does not decide
IMAGES = {name: facts.train for name, facts in PUBLISHED.items()} | {CIFAR_SHAPES: PUBLISHED["cifar10"].train}
IMAGES |= {"CIFAR-10 (recompressed)": IMAGES[CIFAR_SHAPES]}


def say_reason(records):
    """What decides between ours and the fastest framework at one batch: the kernels' rate, or what is around them.

    Parameters
    ----------
    records : list of dict
        As `verdict` takes them, with the work of an epoch and the card's limit: flops, fp32_flops.
    """
    found = verdict(records)
    if found is None or "flops" not in found or "flops" not in found["baseline"]:
        print(NOT_MEASURED)
        return
    pair, steps = (found, found["baseline"]), steps_of(found)
    shares = [record["flops"] / seconds(record) / record["fp32_flops"] for record in pair]
    rival = system_name(found["baseline"])
    if max(shares) < BUSY:
        least = show_time(found["flops"] / found["fp32_flops"] / steps, "s")
        own, other = (show_time(seconds(record) / steps, "s") for record in pair)
        say(SHORT, least=least, own=own, rival=rival, other=other)
    else:
        say(RATES, rival=rival, own=show_share(shares[0]), other=show_share(shares[1]))
        if found["ratio"] < 1:
            print(BEHIND)
    _say_activity(records, pair)
    _say_kernels(found)


def _say_activity(records, pair):
    """How many kernels a step of both systems is, and how long the card is busy with them.

    Each in its fastest form that was counted: the driver does not see all kernels of a graph with a loop in it.
    """
    shown = []
    for system in (record["system"] for record in pair):
        forms = sorted((r for r in records if r["system"] == system), key=lambda r: r["median"])
        counts = [(r, _measured(r, "activity", dataset=r["dataset"], form=r["form"])) for r in forms]
        record, counted = next(((r, found[0]) for r, found in counts if found), (None, None))
        if record is None:
            return
        step, busy = (show_time(value, "s") for value in (seconds(record) / steps_of(record), counted["busy_seconds"]))
        shown.append({"name": system_name(record), "count": f"{counted['median']:,.0f}", "busy": busy, "step": step})
    say(ACTIVITY, counted, own=shown[0], other=shown[1])


def _say_kernels(ours):
    """What the kernels of our step take of it, where both were measured on the same card and day."""
    kernels = _measured(ours, "kernel_time")
    epochs = _measured(ours, "epoch_time", form=ours["form"])
    epochs = [record for record in epochs if record.get("date") == kernels[0].get("date")] if kernels else []
    if epochs:
        busy = sum(record["median"] for record in kernels)
        share = sum(r["median"] for r in kernels if r["form"].startswith("conv")) / busy
        step = show_time(seconds(epochs[0]) / steps_of(epochs[0]), "s")
        busy = show_time(busy, kernels[0]["unit"])
        say(KERNELS, kernels[0], step=step, count=len(kernels), busy=busy, share=show_share(share))


def _measured(ours, experiment, **more):
    """Records of another experiment with the system, network, batch, precision and card of `ours`."""
    alike = {key: ours[key] for key in ("system", "network", "batch_size", "precision", "gpu")}
    return find_records(experiment=experiment, **alike, **more)


def steps_of(record):
    """Steps of the epoch that a record times: the last partial batch is dropped."""
    return IMAGES[record["dataset"]] // record["batch_size"]


def say_launches(records):
    """What launches from the host cost a step: of our kernels one by one, and of a framework's.

    Parameters
    ----------
    records : list of dict
        compared_epoch_time records of one network, data set, batch, precision and card.
    """
    found = [(WAITS, *pair, 1) for pair in _pairs(records, STEPWISE)]
    ours = next((record for record in records if record["system"] in OURS), None)
    kernels = _measured(ours, "kernel_time", dataset=ours["dataset"]) if ours else []
    if kernels:
        epochs = _measured(ours, "epoch_time", dataset=ours["dataset"])
        found += [(LAUNCHES, *pair, len(kernels)) for pair in _pairs(epochs, {ours["system"]: OWN_STEPWISE})]
    for template, apart, whole, launches in found:
        _say_launches(template, apart, whole, launches)
    if not found:
        print(NOT_MEASURED)


def _pairs(records, forms):
    """Records of a system's two `forms`, {system: (launched step by step, as a whole epoch)}, where both are there."""
    by_name = {(record["system"], record["form"]): record for record in records}
    pairs = [[by_name.get((system, form)) for form in both] for system, both in forms.items()]
    return [pair for pair in pairs if None not in pair]


def _say_launches(template, apart, whole, launches):
    """One sentence: a step of the record `apart`, in so many `launches`, against one of the record `whole`."""
    first, second = (seconds(record) / steps_of(record) for record in (apart, whole))
    shown = {"apart": show_time(first, "s"), "whole": show_time(second, "s"), "share": show_share(1 - second / first)}
    shown |= {"each": show_time((first - second) / launches, "s"), "count": launches, "form": whole["form"]}
    say(template if first > second else NO_WAITS, apart, name=system_name(apart), **shown)


def say_alike(first, second):
    """How far the times of two data sets are apart, for forms that depend on the host more or less.

    Parameters
    ----------
    first, second : list of dict
        compared_epoch_time records of one network, precision and card, each of one data set whose images have the
        same shape and number.
    """
    others = {(record["system"], record["form"], record["batch_size"]): record for record in second}
    gaps = {}
    for record in first:
        other = others.get((record["system"], record["form"], record["batch_size"]))
        if other is not None:
            ratio = seconds(record) / seconds(other)
            gaps.setdefault(_handed_over(record["form"]), []).append((max(ratio, 1 / ratio) - 1, record))
    if not gaps:
        print(NOT_MEASURED)
    for kind in filter(gaps.get, HANDED_OVER):
        found = sorted(gaps[kind], key=lambda gap: gap[0])
        most, furthest = found[-1]
        names = {"first": first[0]["dataset"], "second": second[0]["dataset"], "name": system_name(furthest)}
        shares = {"most": show_share(most), "middle": show_share(found[(len(found) - 1) // 2][0])}
        say(ALIKE, furthest, kind=kind, count=len(found), **names, **shares)


def _handed_over(form):
    """The kind in HANDED_OVER that a form is of."""
    return next(kind for kind, words in HANDED_OVER.items() if any(word in form for word in words))
