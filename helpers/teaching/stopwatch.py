"""A stopwatch around an engine's operations: the seconds that each of them takes.

Knows operations by their names; must not learn what one computes.
"""

import time
from collections import Counter


class TimedOperations:
    """Stands in for `engine.operations` and adds up the time of every call by the operation's name.

    Parameters
    ----------
    operations : object
        Its attributes are the operations. For one thread: the sums of several would exceed the time that passed.

    Attributes
    ----------
    seconds : collections.Counter
        By name of the operation, e.g. "conv_forward".
    """

    def __init__(self, operations):
        self._operations, self.seconds = operations, Counter()

    def __getattr__(self, name):
        operation = getattr(self._operations, name)

        def timed(*arguments):
            start = time.perf_counter()
            try:
                return operation(*arguments)
            finally:
                self.seconds[name] += time.perf_counter() - start

        return timed


def operation_seconds(engine, steps):
    """Seconds of each operation over `steps` batches of an engine that runs on the CPU in one thread.

    Parameters
    ----------
    engine : HostEngine
        With its data set loaded; it trains on, and keeps its operations.
    steps : int
        After one more that is not counted, since it may compile.

    Returns
    -------
    dict of str to float
        By name of the operation; "the rest" is what passes between them.
    """
    engine.train(0, 1, 1)
    plain, engine.operations = engine.operations, TimedOperations(engine.operations)
    start = time.perf_counter()
    try:
        engine.train(0, 1, steps)
        whole, seconds = time.perf_counter() - start, engine.operations.seconds
    finally:
        engine.operations = plain
    return {**seconds, "the rest": whole - sum(seconds.values())}
