"""Streams, events and CUDA graphs: capture a step once, repeat it, launch the whole as one.

Knows only the driver behind device.py; must not learn what the captured work computes.
"""

from contextlib import contextmanager

from helpers.device import call, driver_api


class Stream:
    """An ordered queue of work on the card."""

    def __init__(self):
        self._driver = driver_api()
        self.handle = call(self._driver.cuStreamCreate, self._driver.CUstream_flags.CU_STREAM_NON_BLOCKING)

    def synchronize(self):
        """Wait until the queue is empty; a failed kernel raises here."""
        call(self._driver.cuStreamSynchronize, self.handle)

    def wait(self, event):
        """Let later work of this stream wait for `event`."""
        call(self._driver.cuStreamWaitEvent, self.handle, event.handle, 0)


class Event:
    """A mark in a stream; two of them time what lies between."""

    def __init__(self, timing=True):
        self._driver = driver_api()
        flags = self._driver.CUevent_flags
        flag = flags.CU_EVENT_DEFAULT if timing else flags.CU_EVENT_DISABLE_TIMING
        self.handle = call(self._driver.cuEventCreate, flag)

    def record(self, stream):
        call(self._driver.cuEventRecord, self.handle, stream.handle)
        return self

    def milliseconds_since(self, start):
        """Milliseconds from `start` to this event; waits for it."""
        call(self._driver.cuEventSynchronize, self.handle)
        return float(call(self._driver.cuEventElapsedTime, start.handle, self.handle))


class Graph:
    """Captured work, ready to launch as one.

    `nodes` counts kernel nodes, repeats included.
    """

    def __init__(self, graph, nodes):
        self._driver, self._graph, self.nodes = driver_api(), graph, nodes
        self._executable = call(self._driver.cuGraphInstantiate, graph, 0)

    def launch(self, stream):
        """Queue the whole graph on `stream`: one call of the driver."""
        call(self._driver.cuGraphLaunch, self._executable, stream.handle)


@contextmanager
def _capturing(driver, stream):
    """Capture what is queued on `stream`; the block's value receives the graph."""
    mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
    call(driver.cuStreamBeginCapture, stream.handle, mode)
    captured = {}
    try:
        yield captured
    finally:
        captured["graph"] = call(driver.cuStreamEndCapture, stream.handle)


def capture(stream, queue, repeats=1):
    """Graph of `repeats` runs in order of the work that `queue()` puts on `stream`.

    The step is captured once and repeated as a child graph, so that a long epoch costs one capture.

    Returns
    -------
    Graph
    """
    driver = driver_api()
    with _capturing(driver, stream) as captured:
        queue()
    step = captured["graph"]
    nodes = len(_nodes(driver, step))
    if repeats == 1:
        return Graph(step, nodes)
    whole, before = call(driver.cuGraphCreate, 0), []
    for _ in range(repeats):
        before = [call(driver.cuGraphAddChildGraphNode, whole, before or None, len(before), step)]
    return Graph(whole, nodes * repeats)


def _nodes(driver, graph):
    count = call(driver.cuGraphGetNodes, graph, 0)
    count = count[1] if isinstance(count, tuple) else count
    return call(driver.cuGraphGetNodes, graph, int(count))[0] if count else []
