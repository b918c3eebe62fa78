"""What check.py is made of: cases with their float64 results, the shapes, a kernel's arrays; all production kernels."""
