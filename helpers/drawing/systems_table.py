"""The table of systems over batches: a row for each form, a time for each batch, and why a framework is absent.

Knows measurement records; must not learn how anything is measured.
"""

import pandas as pd

from helpers.drawing.system_lines import system_name
from helpers.number_text import show_time


def systems_table(records, absent=()):
    """Times of an epoch by system and form; the fastest at the largest batch is the last row that has times.

    Parameters
    ----------
    records : list of dict
        compared_epoch_time records of one network, data set and precision.
    absent : list of dict
        Records of experiment "absent".

    Returns
    -------
    pandas.DataFrame
        Index: system and form; a column of text for each batch; a star marks times scaled from a slice.
    """
    rows, order = {}, {}
    for record in records:
        name, batch = system_name(record), record["batch_size"]
        time = show_time(record["median"], record["unit"]) + (" *" if record.get("scaled") else "")
        rows.setdefault(name, {})[f"batch {batch:,}"] = time
        order[name] = max(order.get(name, (0, 0.0)), (batch, record["median"]))
    columns = [f"batch {batch:,}" for batch in sorted({record["batch_size"] for record in records})]
    for record in absent:
        here = rows.setdefault(system_name(record), {})
        here.setdefault(f"batch {record['batch_size']:,}", f"absent: {record['reason']}")
    timed = sorted(order, key=lambda name: -order[name][1])
    index = [*timed, *sorted(set(rows) - set(timed))]
    frame = pd.DataFrame([rows[name] for name in index], index, columns or None)
    return frame.fillna("").rename_axis("system, form")
