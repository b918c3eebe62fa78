"""How a block's threads share out the items of a stage. Must not learn what an item is."""

from helpers.device import device_function


def each(count, threads, work):
    """Device function (thread, *context) that calls work(item, *context) for this thread's part of `count` items.

    Numba's `range` with a step divides to find its length; here at most a comparison is left.
    """

    @device_function
    def every_thread_one(thread, *context):
        work(thread, *context)

    @device_function
    def one(thread, *context):
        if thread < count:
            work(thread, *context)

    @device_function
    def in_turns(thread, *context):
        item = thread
        while item < count:
            work(item, *context)
            item += threads

    return every_thread_one if count == threads else one if count < threads else in_turns


def each_from(first, count, threads, work):
    """The same for the threads from number `first` on, when the others are busy with something else."""
    if first == 0:
        return each(count, threads, work)
    rest = each(count, threads - first, work)

    @device_function
    def run(thread, *context):
        if thread >= first:
            rest(thread - first, *context)

    return run


def in_turn(functions):
    """Device function (*context) that calls each of `functions` with its arguments, no barrier between them."""

    @device_function
    def nothing(*context):
        pass

    if len(functions) < 2:
        return functions[0] if functions else nothing
    # halves call each other less deeply than a chain would: Numba compiles what is called by recursion
    half = len(functions) // 2
    return _before(in_turn(functions[:half]), in_turn(functions[half:]))


def _before(function, rest):
    @device_function
    def run(*context):
        function(*context)
        rest(*context)

    return run


def chunk_of(count):
    """A small number that divides `count`, 4 at best: as many terms of a sum are written out at once."""
    return next(size for size in (4, 6, 5, 7, 3, 2, 1) if count % size == 0)
