"""Suite "accuracy": settings chosen on a validation split, then the test set over seeds; and bit-equal runs.

The test set is read only after the choice. Must not learn how an engine works.
"""

import numpy as np

from helpers.device import gpu_available
from helpers.engines import make_engine
from helpers.suites.workloads import make_workload

EPOCHS, GOAL, BATCH = 10, 0.99, 128
RATES, MOMENTA = (0.02, 0.05, 0.1, 0.2), (0.9, 0.95)
VALIDATION, CHOICE_SEEDS, TEST_SEEDS = 5_000, (100, 101, 102), (0, 1, 2, 3, 4)


def cells(quick):
    """One cell for each pair of the grid, one for each test seed, their mean, and determinism."""
    epochs, sizes = (1, {"train": 1024, "test": 512}) if quick else (EPOCHS, {})
    rates, momenta, seeds = (RATES[:2], MOMENTA[:1], TEST_SEEDS[:2]) if quick else (RATES, MOMENTA, TEST_SEEDS)
    choice_seeds = CHOICE_SEEDS[:1] if quick else CHOICE_SEEDS
    settings = [{"rate": r, "momentum": m, "epochs": epochs} for r in rates for m in momenta]
    found = {
        f"rate {s['rate']}, momentum {s['momentum']}": lambda _, s=s: _validate(s, choice_seeds, sizes)
        for s in settings
    }
    found |= {f"seed {seed}": lambda records, seed=seed: [_test(chosen(records), seed, sizes)] for seed in seeds}
    return found | {"mean": _mean, "determinism": lambda records: [_determinism(chosen(records), sizes)]}


def chosen(records):
    """Settings (rate, momentum, epochs) with the highest mean validation accuracy; ties take the first.

    Raises
    ------
    ValueError
        If no record is of the validation experiment.
    """
    tried = [record for record in records if record["experiment"] == "validation_accuracy"]
    if not tried:
        raise ValueError("no validation_accuracy was recorded; the grid comes before the test")
    best = max(tried, key=lambda record: record["mean"])
    return {key: best[key] for key in ("rate", "momentum", "epochs")}


def _train(settings, seed, split, sizes, validation=0):
    """Accuracy on `split` after each epoch; the record's keys that name the run."""
    work = make_workload("lenet5", "mnist", validation=validation, **settings, **sizes)
    name = "layerwise" if gpu_available() else "vectorized"
    engine = make_engine(name, work.network, work.optimizer, BATCH, seed=seed)
    engine.load(work.dataset)
    curve = []
    for epoch in range(settings["epochs"]):
        losses = engine.train(epoch)
        curve.append({"loss": float(losses.mean()), **{k: float(v) for k, v in engine.evaluate(split).items()}})
    accuracies = [point["accuracy"] for point in curve]
    base = {"system": name, "network": work.network.name, "dataset": work.label, "batch_size": BATCH}
    base |= {"precision": "fp32", "unit": "share", **settings, "schedule": "cosine after one epoch of rising"}
    return accuracies, [point["loss"] for point in curve], base


def _validate(settings, seeds, sizes):
    last = []
    for seed in seeds:
        accuracies, _, base = _train(settings, seed, "validation", sizes, VALIDATION)
        last.append(accuracies[-1])
    print(f"  {np.mean(last):.4f} on the validation split", flush=True)
    record = {"experiment": "validation_accuracy", "form": "last epoch", **base, **_spread(last)}
    return [{**record, "mean": float(np.mean(last)), "validation_samples": VALIDATION}]


def _test(settings, seed, sizes):
    accuracies, losses, base = _train(settings, seed, "test", sizes)
    print(f"  {accuracies[-1]:.4f} on the test set", flush=True)
    record = {"experiment": "test_accuracy", "form": "one seed", "seed": seed, **base, **_spread([accuracies[-1]])}
    first = next((epoch + 1 for epoch, accuracy in enumerate(accuracies) if accuracy >= GOAL), None)
    return {**record, "curve": accuracies, "losses": losses, "goal": GOAL, "first_epoch_at_goal": first}


def _mean(records):
    """The mean curve of the seeds; `median` holds the mean of the last epoch, which `form` says."""
    runs = [record for record in records if record["experiment"] == "test_accuracy"]
    curve = np.mean([run["curve"] for run in runs], axis=0)
    at_goal = np.flatnonzero(curve >= GOAL)
    record = {**runs[0], "form": "mean", **_spread([run["median"] for run in runs]), "median": float(curve[-1])}
    del record["seed"], record["losses"]
    first = int(at_goal[0]) + 1 if len(at_goal) else None
    return [{**record, "curve": curve.tolist(), "first_epoch_at_goal": first}]


def _spread(values):
    return {
        "median": float(np.median(values)),
        "min": float(min(values)),
        "max": float(max(values)),
        "runs": len(values),
    }


def _determinism(settings, sizes):
    """1 where two runs with one seed end an epoch with the same bits in parameters, velocity and losses, else 0."""
    work = make_workload("lenet5", "mnist", **settings, **sizes)
    name = "layerwise" if gpu_available() else "vectorized"
    ends = []
    for _ in range(2):
        engine = make_engine(name, work.network, work.optimizer, BATCH, seed=0)
        engine.load(work.dataset)
        losses = engine.train(0)
        ends.append([losses.tobytes(), *(np.asarray(array).tobytes() for array in engine.state().values())])
    equal = int(ends[0] == ends[1])
    base = {"experiment": "bit_equal_runs", "system": name, "form": "two runs, one epoch", "unit": "1 = equal"}
    base |= {"network": work.network.name, "dataset": work.label, "batch_size": BATCH, "precision": "fp32"}
    return {**base, "median": equal, "min": equal, "max": equal, "runs": 2}
