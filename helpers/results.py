"""Measurement files: data/results/<gpu>-<suite>[-<cell>].json, each written whole by one run, replaced atomically.

Knows the form of a file and how to ask for a record; must not learn how anything is measured or drawn.
"""

import datetime
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from math import isfinite
from pathlib import Path

from helpers.atomic import write_atomically
from helpers.engines.forked import available_cores
from helpers.measured_code import changes, drop_unnamed_code, keep_code, measured_code, measured_digests
from helpers.startup import card_name, short_name

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "data" / "results"
PACKAGES = ("numpy", "numba", "numba-cuda", "torch", "tensorflow", "keras", "jax")
REQUIRED = ("experiment", "system", "unit")
MOST_CHANGES = 3  # that the command line tells of a file


def describe_environment():
    """What a measurement depends on beside its code: card, driver, processor, packages, date, commit, digest."""
    packages = {}
    for name in PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "gpu": card_name(),
        "driver": _first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "cpu": _processor(),
        "cores": available_cores(),
        "python": platform.python_version(),
        "packages": packages,
        "date": datetime.date.today().isoformat(),
        # a copy of the tree without its history names its commit in CNN_COMMIT
        "commit": os.environ.get("CNN_COMMIT") or _first_line("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"),
        "code_digest": measured_digests(),
    }


def _first_line(*command):
    try:
        lines = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        return None
    return lines[0].strip() if lines else None


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def write_results(suite, records, environment=None, folder=RESULTS):
    """Write one suite's file, whole or not at all, and beside it the code that it was measured with.

    Parameters
    ----------
    suite : str
    records : list of dict
        Each with experiment, system, unit, and finite numbers.
    environment : dict or None
        As `describe_environment()` gives it (the default); of the digests those of the records' engines are kept.
    folder : Path

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        For a record that lacks a key or holds NaN or infinity.
    """
    for record in records:
        lacking = [key for key in REQUIRED if key not in record]
        if lacking:
            raise ValueError(f"the record {record} lacks {', '.join(lacking)}; every record names them")
        for key, value in record.items():
            if isinstance(value, float) and not isfinite(value):
                raise ValueError(f"{key} of {record['experiment']} by {record['system']} is {value}; measure it again")
    environment = describe_environment() if environment is None else environment
    engines = {record["system"] for record in records} | {record.get("made_by") for record in records}
    digests = {engine: digest for engine, digest in environment["code_digest"].items() if engine in engines}
    environment = {**environment, "code_digest": digests}
    path = Path(folder) / f"{short_name(environment['gpu'])}-{suite}.json"
    keep_code(folder, digests)
    write_atomically(path, json.dumps({"environment": environment, "records": records}, indent=1) + "\n")
    drop_unnamed_code(folder, digests)
    return path


def read_results(folder=RESULTS):
    """Every record of every file, each with its file's "gpu", "date", "suite" and "file" added, in order of file name.

    Returns
    -------
    list of dict
    """
    records = []
    for path in sorted(Path(folder).glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            environment = content["environment"]
            origin = {"gpu": environment["gpu"], "date": environment["date"]}
            cell = path.stem.removeprefix(f"{short_name(environment['gpu'])}-")
            origin |= {"suite": cell.partition("-")[0], "file": path.name}
            records += [{**origin, **record} for record in content["records"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path.name} is no measurement file ({error}); write it anew with its suite") from None
    return records


def environment_of(record, folder=RESULTS):
    """What a record was measured in (`describe_environment`), as its file in `folder` says; None without one."""
    path = Path(folder) / record["file"]
    return json.loads(path.read_text(encoding="utf-8"))["environment"] if path.exists() else None


def find_records(records=None, **keys):
    """Records whose entries equal `keys`, e.g. experiment="epoch_time", network="lenet5".

    Without `gpu` among the keys, those of this machine's card if it has any, else those of the card that was
    measured last.
    """
    records = read_results() if records is None else records
    found = [record for record in records if all(record.get(key) == value for key, value in keys.items())]
    if "gpu" in keys or not found:
        return found
    cards = {record.get("gpu") for record in found}
    latest = max(found, key=lambda record: record.get("date", "")).get("gpu")
    chosen = card_name() if card_name() in cards else latest
    return [record for record in found if record.get("gpu") == chosen]


def find_record(records=None, **keys):
    """The first of `find_records`, or None."""
    return next(iter(find_records(records, **keys)), None)


# names of vgg_small's images in records, the most telling ones first
CIFAR_IMAGES = ("cifar10", "CIFAR-10 (recompressed)", "CIFAR-10 shapes")


def compared_records(network, *datasets, records=None, **keys):
    """compared_epoch_time records of one network, on the first of `datasets` that was measured, on one card.

    Parameters
    ----------
    network : str
    datasets : str
    records : list of dict, optional
        All of data/results by default.
    keys
        What else must be equal; the precision is "fp32" unless it is among them.

    Returns
    -------
    list of dict
        [] where nothing was measured.
    """
    records = read_results() if records is None else records
    keys = {"experiment": "compared_epoch_time", "network": network, "precision": "fp32", **keys}
    found = (find_records(records, dataset=dataset, **keys) for dataset in datasets)
    return next((measured for measured in found if measured), [])


def compare(baseline, record):
    """`record` with "ratio" = baseline's median / its own, and "baseline" (that record); None where one is None."""
    if baseline is None or record is None:
        return None
    if baseline["unit"] != record["unit"]:
        raise ValueError(f"units differ: {baseline['unit']} and {record['unit']}; compare records of one unit")
    return {**record, "baseline": baseline, "ratio": baseline["median"] / record["median"]}


def ratio_spread(compared):
    """(least, most) of a comparison's ratio over single runs: fastest baseline to slowest record, and the reverse."""
    baseline = compared["baseline"]
    return baseline["min"] / compared["max"], baseline["max"] / compared["min"]


def why_stale(folder=RESULTS):
    """{file name: what of the code that it measured is different today}, of measurement files of which anything is."""
    today, found = measured_code(), {}
    for path in sorted(Path(folder).glob("*.json")):
        digests = json.loads(path.read_text(encoding="utf-8"))["environment"]["code_digest"]
        if lines := changes(digests, folder, today):
            found[path.name] = lines
    return found


def stale_files(folder=RESULTS):
    """Names of measurement files with an engine of whose code anything but additions is different today."""
    return list(why_stale(folder))


def main():
    """Tell which measurements are stale and why; exit status 1 where any is."""
    stale = why_stale()
    for name, lines in stale.items():
        more = [f"and {len(lines) - MOST_CHANGES} more"] if len(lines) > MOST_CHANGES else []
        print("\n".join(f"{name}: {line}" for line in [*lines[:MOST_CHANGES], *more]))
    if not stale:
        print("every measurement is of today's code")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
