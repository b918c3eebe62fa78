"""The committed figures: `python -m helpers.figures` draws every one of them from data/results into figures/.

Knows which records a figure needs; must not learn how it is drawn.
"""

from helpers.drawing.charts import FIGURES
from helpers.drawing.system_lines import SYSTEM_COLOURS
from helpers.plotting import plot_kernels, plot_ladder, plot_learning_curve, plot_speedup, save_figure
from helpers.readme import COMPARED, COMPARED_BATCH
from helpers.results import compared_records, find_records, read_results
from helpers.teaching.compared_tables import on_card
from helpers.teaching.verdicts import second_of_two

NETWORKS = ("lenet5", "vgg_small")
RUNGS = ("copy per batch", "resident", "epoch graph")


def draw_figures(records=None, folder=FIGURES):
    """Draw what the records suffice for; of the card that was measured last, or this machine's.

    Parameters
    ----------
    records : list of dict, optional
        All of data/results by default.
    folder : path

    Returns
    -------
    list of Path
    """
    records = read_results() if records is None else records
    charts = {}
    for network in NETWORKS:
        keys = {"network": network, "precision": "fp32"}
        epochs = find_records(records, experiment="epoch_time", **keys)
        if any(record["system"] == "loops" for record in epochs):
            charts[f"speedup-{network}"] = plot_speedup(epochs)
        forms = {record["form"]: record for record in epochs if record["system"] == "layerwise"}
        if all(form in forms for form in RUNGS):
            charts[f"epoch-ladder-{network}"] = plot_ladder([forms[form] for form in RUNGS])
        if kernels := find_records(records, experiment="kernel_time", **keys):
            charts[f"kernels-{network}"] = plot_kernels(kernels)
        if runs := find_records(records, experiment="test_accuracy", form="one seed", **keys):
            charts[f"learning-curve-{network}"] = plot_learning_curve(runs)
    charts |= _comparisons(records)
    for operation in sorted({r["operation"] for r in records if r["experiment"] == "ladder_time"}):
        rungs = find_records(records, experiment="ladder_time", operation=operation)
        charts[f"ladder-{operation.replace('_', '-')}"] = plot_ladder(rungs)
    return [save_figure(chart, name, folder) for name, chart in charts.items()]


def _comparisons(records):
    """Every form of every system on the card at one batch, over the slower of two: ours and the fastest framework."""
    charts = {}
    for network, datasets in COMPARED:
        found = on_card(compared_records(network, *datasets, records=records, batch_size=COMPARED_BATCH))
        if baseline := second_of_two(found):
            charts[f"compared-{network}"] = plot_speedup(found, baseline=baseline, colours=SYSTEM_COLOURS)
    return charts


if __name__ == "__main__":
    for path in draw_figures():
        print(f"drew figures/{path.name}")
