"""Inside of trace.py: rewriting kernels as generators, the stand-in for `cuda`, watched memory, races, costs."""
