"""README's table of small networks in one kernel, from suite "fused".

Knows records; must not learn how anything is measured.
"""

from helpers.drawing.system_lines import time_of
from helpers.number_text import show_ratio
from helpers.report import sentence, setting
from helpers.results import find_records
from helpers.teaching.one_kernel import EXPERIMENT, small_pair


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
        compared = small_pair(list(cell.values()))
        ratio = show_ratio(compared["ratio"]) if compared else ""
        rows.append(f"| {network} | {dataset} | {batch:,} | {' | '.join(times)} | {ratio} |")
    dates = " and ".join(sorted({record["date"] for record in found}))
    held = sentence("Card: {gpu}, fp32, {dates}. {machine}", found[0], dates=dates, machine=setting(found[0]))
    return "\n".join([*rows, "", held])
