"""Suite "frameworks": one epoch by every system on the same work; a cell is a network, data set, batch and precision.

Each cell is a file of its own, so that the suite resumes cell by cell. Must not learn how an engine works.
"""

from helpers.benchmark import refuse_impossible
from helpers.device import device_properties, gpu_available
from helpers.lowering import fuse_pool, fuse_relu, lower
from helpers.roofline import Work, operation_work
from helpers.suites import asking
from helpers.suites.epoch import PROOF_RATES, SYSTEMS, TINY
from helpers.suites.race import SHARED_CACHES, measure
from helpers.suites.rivals import System
from helpers.suites.workloads import cifar10_or_shapes, make_workload
from helpers.workers import Workers

EXPERIMENT = "compared_epoch_time"
FULL_BATCH = 128  # every form runs at this one; the ordinary and the best at the others
BATCHES = (32, 128, 512, 2048)
RUNS = 7
# steps whose losses are proven: the oracle takes them on one core
PROOF_STEPS = {"lenet5": {2048: 5}, "vgg_small": {32: 10, 128: 5, 512: 2, 2048: 2}}
PRECISIONS = ("tf32", "bf16")  # of the frameworks, at FULL_BATCH


def _framework(engine, form, options=None, **more):
    return System(engine, more.pop("named", form), {"form": form, **(options or {})}, framework=True, **more)


def _keras(form, backend, made_by=""):
    options = {} if made_by else {"form": form, "backend": backend}
    own_process = {"environment": {"KERAS_BACKEND": backend}, "data": "host-fed"}
    return System("keras", f"{form}, backend {backend}", options, framework=True, made_by=made_by, **own_process)


LAST = {"channels_last": True}
# XLA then records convolutions and the scan's loop as graphs too; a jaxlib that lacks one of the names ends its process
COMMAND_BUFFERS = {"XLA_FLAGS": "--xla_gpu_enable_command_buffer=+CONVOLUTION,+WHILE,+CONDITIONAL"}
OURS = tuple(system for system in SYSTEMS if system.form in ("njit, one core", "BLAS, all cores", "epoch graph"))
ORDINARY_AND_BEST = (
    _framework("pytorch", "eager"),
    _framework("pytorch", "epoch graph"),
    _framework("pytorch", "compile + epoch graph"),
    _framework("pytorch", "compile + epoch graph", LAST, named="compile + epoch graph, channels last"),
    _framework("jax", "jit"),
    _framework("jax", "scan"),
    _framework("jax", "scan", named="scan, command buffers", environment=COMMAND_BUFFERS),
    _keras("fit", "jax"),
    _keras("fit, best settings", "jax"),
    _framework("tensorflow", "eager"),
    _framework("tensorflow", "epoch function"),
)
FURTHER_FORMS = (
    _framework("pytorch", "compile"),
    _framework("pytorch", "epoch graph", LAST, named="epoch graph, channels last"),
    _keras("fit", "torch"),
    _keras("fit, best settings", "torch", made_by="keras_compiled"),
    _keras("fit", "tensorflow"),
    _keras("fit, best settings", "tensorflow"),
    _framework("tensorflow", "function"),
    _framework("tensorflow", "XLA"),
)


def cells(quick):
    """One cell for each network, data set, batch and precision, by the name of its file."""
    if quick:
        return {"tiny-b8-fp32": lambda _: compare(TINY, 8, runs=2)}
    workers = Workers(SHARED_CACHES)  # alive until the last cell is measured
    pairs = (("lenet5", "mnist"), ("vgg_small", cifar10_or_shapes()), ("lenet5", "fashion_mnist"))
    works = [{"network": name, "dataset": dataset, "rate": PROOF_RATES[name]} for name, dataset in pairs]
    wanted = [(work, batch, "fp32") for work in works for batch in BATCHES]
    wanted.sort(key=lambda cell: cell[1] != FULL_BATCH)  # the cells that most readers look at come first
    wanted += [(works[1], FULL_BATCH, precision) for precision in PRECISIONS]
    return {
        f"{work['network']}-{work['dataset'].lower().replace(' ', '-')}-b{batch}-{precision}": asking(
            _systems(batch, precision), lambda _, cell=(work, batch, precision): compare(*cell, workers=workers)
        )
        for work, batch, precision in wanted
    }


def _systems(batch_size, precision):
    """Systems of a cell."""
    systems = ORDINARY_AND_BEST + (FURTHER_FORMS if batch_size == FULL_BATCH else ())
    if precision == "fp32":
        return OURS + systems
    return tuple(system for system in systems if system.engine != "keras")  # which runs in nothing else


def compare(workload, batch_size, precision="fp32", runs=RUNS, workers=None):
    """Records of one cell: compared_epoch_time, and "absent" where a framework's form cannot run here."""
    systems = _systems(batch_size, precision)
    steps = PROOF_STEPS.get(workload["network"], {}).get(batch_size, 20)
    records = measure(workload, systems, batch_size, runs, steps, precision, EXPERIMENT, workers)
    return [_with_work(record, workload) for record in records] if gpu_available() else records


def _with_work(record, workload):
    """`record` of a system on the card with an epoch's work and the card's limits; refused where it exceeds them."""
    if record["experiment"] != EXPERIMENT or record["system"] in {system.engine for system in OURS if system.on_host}:
        return record
    work, properties = make_workload(**workload), device_properties()
    program = fuse_pool(fuse_relu(lower(work.network)))
    step = sum((operation_work(op, program, record["batch_size"]) for op in program.ops), Work(0, 0))
    steps = len(work.dataset.train_labels) // record["batch_size"]
    epoch = Work(steps * step.flops, steps * step.bytes)
    if record["precision"] == "fp32":
        refuse_impossible(
            record["min"] / 1e3, Work(epoch.flops, 0), properties, f"{record['system']}, {record['form']}"
        )
    limits = {"fp32_flops": properties.fp32_flops, "bandwidth": properties.bandwidth}
    return {**record, "flops": epoch.flops, "bytes": epoch.bytes, **limits}
