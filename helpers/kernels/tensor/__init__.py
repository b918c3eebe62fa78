"""Tensor cores: their fragments, instructions and number formats, and kernels that multiply with them."""
