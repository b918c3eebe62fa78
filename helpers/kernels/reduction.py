"""Reductions of one block through shared memory: a tree of fixed shape, so that every run gives the same bits.

Knows shared memory and barriers; must not learn what the values mean. Every thread of the block must call.
"""

from helpers.device import cuda, device_function


@device_function
def tree_sum(values, thread, count, columns):
    """Sum `count` shared values in place: values[c] becomes the sum of values[c], values[c + columns], ...

    `count` / `columns` is a power of two, and half of `count` at most the threads of the block.
    """
    cuda.syncthreads()
    half = count >> 1
    while half >= columns:
        if thread < half:
            values[thread] += values[thread + half]
        cuda.syncthreads()
        half >>= 1


@device_function
def tree_max(values, thread, count):
    """Put the largest of `count` shared values, a power of two, into values[0]."""
    cuda.syncthreads()
    half = count >> 1
    while half >= 1:
        if thread < half:
            values[thread] = max(values[thread], values[thread + half])
        cuda.syncthreads()
        half >>= 1
