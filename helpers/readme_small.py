"""README's part on small networks in one kernel: a sentence of the headline and a table, from suite "fused".

Knows records; must not learn how anything is measured.
"""

from helpers.drawing.system_lines import system_name, time_of
from helpers.number_text import show_ratio, show_spread
from helpers.report import sentence, setting
from helpers.results import compare, find_records, ratio_spread
from helpers.teaching.comparison import fastest_framework

EXPERIMENT, FUSED = "small_epoch_time", "fused"
SENTENCE = (
    "With all steps in one kernel, engine `fused`, an epoch of {network} takes {own} on one {gpu}: {ratio} as fast as "
    "{rival} there ({other}; {spread})."
)


def small_sentence(records=None, network="lenet5", batch_size=128):
    """How an epoch in one kernel stands to the fastest form of a framework beside it; "" where it is not measured."""
    found = find_records(records, experiment=EXPERIMENT, network=network, batch_size=batch_size)
    pair = compare(fastest_framework(found), _own(found))
    if pair is None:
        return ""
    rival = pair["baseline"]
    values = {"own": time_of(pair), "other": time_of(rival), "rival": system_name(rival)}
    spread = show_spread(*ratio_spread(pair))
    return sentence(SENTENCE, pair, **values | {"ratio": show_ratio(pair["ratio"]), "spread": spread})


def _own(records):
    return next((record for record in records if record["system"] == FUSED), None)


def small_table(records=None):
    """README's table of small networks by one kernel, one graph and JAX: a row a cell; Markdown."""
    found = find_records(records, experiment=EXPERIMENT)
    if not found:
        return "Not measured yet: run python -m helpers.benchmark fused."
    systems = {(r["system"], r["form"]): None for r in sorted(found, key=lambda r: r["median"])}
    rows = ["| network | data | batch | " + " | ".join(f"`{s}`, {form}" for s, form in systems) + " | ratio |"]
    rows.append("|---" * (len(systems) + 4) + "|")
    for network, dataset, batch in sorted({(r["network"], r["dataset"], r["batch_size"]) for r in found}):
        here = {"network": network, "dataset": dataset, "batch_size": batch}
        cell = {(r["system"], r["form"]): r for r in find_records(found, **here)}
        times = (time_of(cell[key]) if key in cell else "" for key in systems)
        compared = compare(fastest_framework(cell.values()), _own(cell.values()))
        ratio = show_ratio(compared["ratio"]) if compared else ""
        rows.append(f"| {network} | {dataset} | {batch:,} | {' | '.join(times)} | {ratio} |")
    dates = " and ".join(sorted({record["date"] for record in found}))
    held = sentence("Card: {gpu}, fp32, {dates}. {machine}", found[0], dates=dates, machine=setting(found[0]))
    return "\n".join([*rows, "", held])
