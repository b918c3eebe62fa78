"""CUDA kernels: one file an operation, each a set of factories closed over compile-time geometry."""
