"""Measurements that tests of reports read: records of two engines, and what a comparison of frameworks writes."""

from helpers.results import write_results

ENVIRONMENT = {"gpu": "NVIDIA T4", "date": "2026-01-02", "code_digest": {"layerwise": "0"}}
RECORD = {
    "experiment": "epoch_time",
    **{"system": "layerwise", "form": "epoch graph", "network": "lenet5", "dataset": "mnist"},
    **{"batch_size": 128, "precision": "fp32", "unit": "ms", "median": 25.0, "runs": 9},
}
LOOPS = RECORD | {"system": "loops", "form": "njit, one core", "median": 50_000.0, "scaled": True}


def write_compared(
    tmp_path, *times, network="lenet5", dataset="mnist", gpu="NVIDIA T4", date="2026-01-02", batch=128, precision="fp32"
):
    """compared_epoch_time records as a reader finds them; a time is (system, form, median), without one: absent."""
    base = RECORD | {"experiment": "compared_epoch_time", "network": network, "dataset": dataset}
    base |= {"batch_size": batch, "precision": precision}
    written = [
        base | {"system": system, "form": form, "median": median, "min": median, "max": median}
        for system, form, median in times
        if median
    ]
    missing = {"experiment": "absent", "reason": "it is not installed", "unit": ""}
    written += [base | missing | {"system": system, "form": form} for system, form, median in times if not median]
    write_results(
        f"frameworks-{network}-{dataset}-b{batch}-{precision}",
        written,
        ENVIRONMENT | {"gpu": gpu, "date": date},
        tmp_path,
    )
