"""Inside of check.py: the problems with their float64 results, and the shapes on which kernels are checked."""
