"""Stages of the fused engine: device functions on one image in shared memory, composed into one kernel an epoch."""
