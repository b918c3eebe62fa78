"""The table of systems over batches: a row for each form, a time for each batch, and which form is absent.

Knows measurement records; must not learn how anything is measured.
"""

import pandas as pd

from helpers.drawing.system_lines import CONDITIONS, refuse_mixtures, seconds, system_name, time_of


def systems_table(records, absent=()):
    """Times of an epoch by system and form, the fastest last, at the batch that most have; then the others.

    Parameters
    ----------
    records : list of dict
        compared_epoch_time records of one network, data set, precision and card.
    absent : list of dict
        Records of experiment "absent"; those that name a network, data set, precision or card name the same.

    Returns
    -------
    pandas.DataFrame
        Index: system and form; a column of text for each batch, with the marks of `time_of`.
    """
    missing = _absences(records, absent)
    refuse_mixtures([*records, *missing], ("batch_size",))
    rows, times = {}, {}
    for record in records:
        name, batch = system_name(record), record["batch_size"]
        rows.setdefault(name, {})[_column(batch)] = time_of(record)
        times.setdefault(batch, {})[name] = seconds(record)
    for record in missing:
        rows.setdefault(system_name(record), {})[_column(record["batch_size"])] = "absent"
    columns = [_column(batch) for batch in sorted({record["batch_size"] for record in [*records, *missing]})]
    common = max(times.values(), key=len, default={})
    timed = sorted(common, key=common.get, reverse=True)
    index = [*timed, *sorted(set(rows) - set(timed))]
    frame = pd.DataFrame([rows[name] for name in index], index, columns or None)
    return frame.fillna("").rename_axis("system, form")


def _column(batch):
    return f"one epoch, batch {batch:,}"


def _absences(records, absent):
    """One absence for each system, form and batch; what it does not name is that of the times."""
    first = next(iter((*records, *absent)), {})
    shared = {key: first.get(key) for key in CONDITIONS}
    full = [{**shared, **record} for record in absent]  # several suites may say the same
    return list({(system_name(record), *(record[key] for key in CONDITIONS)): record for record in full}.values())
