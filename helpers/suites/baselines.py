"""Suite "baselines": how good the sequential baselines are that everything is compared with.

`vectorized` against the bare matrix products of its convolutions, `loops` against a plain compiled convolution, with
the threads and the BLAS in use. Must not learn about the card.
"""

from math import prod

import numba
import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from helpers import loops_kernels, reference
from helpers.benchmark import MeasurementError, clocked, interleave, summarise
from helpers.engines.forked import FORKS, ForkedWorkers, available_cores
from helpers.engines.vectorized import batch_shares
from helpers.geometry import ConvGeometry
from helpers.suites.workloads import NETWORKS

SEED = 7
WARM_SECONDS, TURN_SECONDS = 0.1, 0.06


def cells(quick):
    """Threads; then for each network the GEMM rate and share, and the ratio of the loops."""
    names, batch, runs = (("tiny",), 4, 2) if quick else (("lenet5", "vgg_small"), 128, 7)
    found = {"threads": lambda _: threads()}
    found |= {f"GEMM {name}": lambda _, name=name: gemm_share(NETWORKS[name](), batch, runs) for name in names}
    found |= {f"loops {name}": lambda _, name=name: loops_ratio(NETWORKS[name](), 2, runs) for name in names}
    return found


def threads():
    """One record of the BLAS that NumPy uses: library, kernel, threads; and the cores of this machine."""
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    facts = {"blas": "unknown", "blas_kernel": "unknown", "blas_threads": available_cores()}
    if blas:
        facts["blas"] = f"{blas[0]['internal_api']} {blas[0]['version']}"
        facts |= {"blas_kernel": blas[0].get("architecture") or "unknown", "blas_threads": blas[0]["num_threads"]}
    count = facts["blas_threads"]
    base = {"experiment": "threads", "system": "vectorized", "form": "BLAS, all cores", "unit": "threads"}
    return [{**base, **facts, "cores": available_cores(), "median": count, "min": count, "max": count, "runs": 1}]


def convolutions(network):
    """(layer name, geometry) of a network's convolutions."""
    return [(stage.name, stage.geometry) for stage in network.stages if isinstance(stage.geometry, ConvGeometry)]


def _random(shape, generator):
    return generator.standard_normal(shape, np.float32)


class Shares:
    """Runs functions of a part of the batch as engine `vectorized` does: a process a part, BLAS on one thread in each.

    Parameters
    ----------
    network : Network
        How much there is to do for a batch decides the number of parts.
    batch : int
    functions : dict
        By a key that can be pickled; each takes a slice of the batch; what it returns is dropped.
    """

    def __init__(self, network, batch, functions):
        self._functions, self._parts = functions, batch_shares(batch, network.training_flops, available_cores())
        self._workers = None
        if len(self._parts) > 1 and FORKS:
            self._workers = ForkedWorkers(len(self._parts), lambda: threadpool_limits(1, "blas"), self._run)

    def _run(self, request):
        name, part = request
        self._functions[name](part)

    def clocked(self, name):
        """A function that runs the function of that key for all parts and returns the seconds."""
        requests = [(name, part) for part in self._parts]
        if self._workers is None:  # then BLAS shares the work, as in the engine
            return clocked(lambda: [self._run(request) for request in requests])
        return clocked(lambda: self._workers.map(requests))

    def close(self):
        """End the processes."""
        if self._workers:
            self._workers.close()


def _passes(geometry, batch):
    """{pass: (the engine's function of a part of the batch, its bare matrix product)} on random float32 arrays."""
    generator = np.random.default_rng(SEED)
    x, dy = (_random((batch, *shape), generator) for shape in (geometry.in_shape, geometry.out_shape))
    w, b = _random(geometry.weight_shape, generator), _random((geometry.out_channels,), generator)
    # the input gradient multiplies windows of dy with the flipped kernel: as many rows as the input has cells
    taps, inputs, outputs = prod(geometry.kernel), prod(geometry.in_shape[:3]), prod(geometry.out_shape[:3])
    windows = _random((batch, outputs, taps * geometry.in_channels), generator)
    d_windows = _random((batch, inputs, taps * geometry.out_channels), generator)
    weights, flipped = w.reshape(-1, geometry.out_channels), _random((d_windows.shape[2], x.shape[4]), generator)

    def rows(array, part):
        return array[part].reshape(-1, array.shape[-1])

    return {
        "forward": (lambda p: reference.conv_forward(x[p], w, b, geometry), lambda p: rows(windows, p) @ weights),
        "weight gradient": (
            lambda p: reference.conv_weight_gradient(x[p], dy[p], geometry),
            lambda p: rows(windows, p).T @ rows(dy, p),
        ),
        "input gradient": (
            lambda p: reference.conv_input_gradient(dy[p], w, geometry),
            lambda p: rows(d_windows, p) @ flipped,
        ),
    }


def gemm_share(network, batch, runs):
    """gemm_rate (GFLOP/s of the bare products) and gemm_share (their time / the engine's) of each layer and pass.

    The bare products are taken in the faster of two ways: whole with all of BLAS's threads, or shared out like the
    engine's work. The last record is of all passes in one go, as the engine runs a step: the share of the network.
    """
    work = {
        (layer, name): (geometry, *pair)
        for index, (layer, geometry) in enumerate(convolutions(network))
        for name, pair in _passes(geometry, batch).items()
        if index or name != "input gradient"  # the first layer has none
    }
    engines, products = ({key: functions[i] for key, functions in work.items()} for i in (1, 2))
    engines["all"], products["all"] = _in_a_row(engines), _in_a_row(products)
    functions = {("engine", key): run for key, run in engines.items()}
    functions |= {("shared", key): run for key, run in products.items()}
    shares = Shares(network, batch, functions)
    times = {key: _compare(shares, key, products[key], runs) for key in engines}
    shares.close()
    base = {"network": network.name, "batch_size": batch, "precision": "fp32"}
    records = []
    for (layer, name), (geometry, *_) in work.items():
        records += _rate_and_share({**base, "layer": layer, "pass": name}, *times[layer, name], geometry, batch)
    total = {"experiment": "gemm_share", "system": "vectorized", "form": "all convolutions", **base, "runs": runs}
    total |= {"unit": "share", **_share(*times["all"])}
    print(f"  share of the BLAS rate: {total['median']:.2f}", flush=True)
    return [*records, total]


def _in_a_row(functions):
    """One function of a part of the batch that calls all of `functions`, a dict."""
    calls = list(functions.values())
    return lambda part: [call(part) for call in calls]


def _compare(shares, key, product, runs):
    """Timings of the engine's passes `key` and of the faster way to take the bare product."""
    rivals = {way: shares.clocked((way, key)) for way in ("engine", "shared")}
    rivals["whole"] = clocked(lambda: product(slice(None)))
    rivals = {way: _steady(turn) for way, turn in rivals.items()}
    interleave(rivals, 1)
    times = {way: summarise(seconds) for way, seconds in interleave(rivals, runs).items()}
    return times["engine"], min(times["shared"], times["whole"], key=lambda timing: timing.median)


def _steady(turn):
    """`turn` as in a training loop: the mean of as many as fill `TURN_SECONDS`, after `WARM_SECONDS` not counted.

    Meanwhile BLAS's threads of another rival's turn stop spinning on cores that this one needs, and processes that
    fell asleep wake up and touch their memory: their first turns take several times as long as the rest.
    """

    def steady():
        _repeat(turn, WARM_SECONDS)
        seconds = _repeat(turn, TURN_SECONDS)
        return sum(seconds) / len(seconds)

    return steady


def _repeat(turn, least):
    """Seconds of each of as many turns as fill `least` seconds."""
    seconds = []
    while sum(seconds) < least:
        seconds.append(turn())
    return seconds


def _share(engine, product):
    return {
        "median": product.median / engine.median,
        "min": product.min / engine.max,
        "max": product.max / engine.min,
    }


def _rate_and_share(key, engine, product, geometry, batch):
    # in the input gradient padding makes more products than the convolution has; the rate is of what BLAS was given
    cells = prod((geometry.in_shape if key["pass"] == "input gradient" else geometry.out_shape)[:3])
    gflop, key = 2e-9 * batch * cells * prod(geometry.weight_shape), {**key, "runs": engine.runs}
    rate = {"median": gflop / product.median, "min": gflop / product.max, "max": gflop / product.min}
    share = {"unit": "share", **_share(engine, product)}
    return [
        {"experiment": "gemm_rate", "system": "BLAS", "form": "product alone", **key, "unit": "GFLOP/s", **rate},
        {"experiment": "gemm_share", "system": "vectorized", "form": "one pass", **key, **share},
    ]


def _plain_filters_inside(y, x, w, b):
    """The convolution as in C: x (N, H, W, C) padded before, w (R, S, C, K), stride 1; filters in the inner loop."""
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for k in range(y.shape[3]):
                    y[n, i, j, k] = b[k]
                for r in range(w.shape[0]):
                    for s in range(w.shape[1]):
                        for c in range(w.shape[2]):
                            for k in range(y.shape[3]):
                                y[n, i, j, k] += x[n, i + r, j + s, c] * w[r, s, c, k]


def _plain_sum_inside(y, x, w, b):
    """As `_plain_filters_inside`, but each output is summed up in one variable."""
    for n in range(y.shape[0]):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for k in range(y.shape[3]):
                    total = b[k]
                    for r in range(w.shape[0]):
                        for s in range(w.shape[1]):
                            for c in range(w.shape[2]):
                                total += x[n, i + r, j + s, c] * w[r, s, c, k]
                    y[n, i, j, k] = total


def loops_ratio(network, batch, runs):
    """loops_ratio records: compiled `loops` over the faster of two plain compiled convolutions, forward, by layer.

    The plain ones know only two dimensions, stride 1 and images padded before the clock starts.
    """
    compiled = [numba.njit(f) for f in (loops_kernels.conv_forward, _plain_filters_inside, _plain_sum_inside)]
    base = {"experiment": "loops_ratio", "system": "loops", "form": "njit, one core", "unit": "ratio", "runs": runs}
    records = []
    for layer, geometry in convolutions(network):
        if geometry.stride != (1, 1, 1):
            continue
        rivals = _loops_rivals(compiled, geometry, batch)
        interleave(rivals, 1)
        ours, *plain = (summarise(seconds) for seconds in interleave(rivals, runs).values())
        best = min(plain, key=lambda timing: timing.median)
        spread = {"median": ours.median / best.median, "min": ours.min / best.max, "max": ours.max / best.min}
        records.append({**base, "network": network.name, "layer": layer, "batch_size": batch, **spread})
        print(f"  {layer}: {records[-1]['median']:.2f} times the plain convolution", flush=True)
    return records


def _loops_rivals(compiled, geometry, batch):
    """The three functions on one layer's random arrays, as callables that return seconds; their outputs must agree."""
    generator = np.random.default_rng(SEED)
    x, w = _random((batch, *geometry.in_shape), generator), _random(geometry.weight_shape, generator)
    b, outputs = _random((geometry.out_channels,), generator), [np.empty((batch, *geometry.out_shape), np.float32)]
    behind = [o + k - 1 - i - p for o, k, i, p in zip(*_axes(geometry))]
    padded = np.pad(x, [(0, 0), *zip(geometry.padding, behind), (0, 0)])[:, 0]
    outputs += [np.empty_like(outputs[0][:, 0]) for _ in compiled[1:]]
    calls = [lambda: compiled[0](outputs[0], x, w, b, geometry.stride, geometry.padding)]
    calls += [lambda f=f, y=y: f(y, padded, w[0], b) for f, y in zip(compiled[1:], outputs[1:])]
    for call in calls:
        call()
    for other in outputs[1:]:
        if not np.allclose(outputs[0][:, 0], other, rtol=1e-3, atol=1e-3):
            raise MeasurementError("the loops and the plain convolution differ: one of them is wrong")
    return {index: clocked(call) for index, call in enumerate(calls)}


def _axes(geometry):
    return geometry.out_shape[:3], geometry.kernel, geometry.in_shape[:3], geometry.padding
