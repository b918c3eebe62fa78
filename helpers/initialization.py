"""Initial parameter vectors: He before ReLU and its kin, Glorot elsewhere, zero biases. Deterministic in the seed."""

import numpy as np

from helpers.layers import ELU, LeakyReLU, ReLU


def initial_parameters(network, seed=0, dtype=np.float32):
    """Initial parameter vector of `network`.

    Weights are normal where the layer feeds a ReLU or one of its kin: with variance 2 / fan_in before ReLU (He et al.
    2015, eq. 10) and ELU (so initialised by Clevert et al. 2016, who introduced it), 2 / ((1 + slope^2) fan_in) before
    LeakyReLU (He et al., eq. 15). Elsewhere, Tanh and Sigmoid included, they are uniform in
    +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 16). Biases are zero.

    Parameters
    ----------
    network : Network
    seed : int
        The same seed gives the same vector on every machine.
    dtype : numpy dtype
        Type of the result; values are drawn in float64, rounded to float32 first, so that every engine starts alike.

    Returns
    -------
    ndarray, shape (network.parameter_count,)
    """
    generator = np.random.Generator(np.random.PCG64(seed))
    vector = np.zeros(network.parameter_count)
    for stage, following in zip(network.stages, [*network.stages[1:], None]):
        if not stage.parameters:
            continue
        weight = stage.parameters[0]
        if following is not None and isinstance(following.layer, (ReLU, LeakyReLU, ELU)):
            slope = getattr(following.layer, "slope", 0.0)
            deviation = np.sqrt(2.0 / ((1.0 + slope**2) * weight.fan_in))
            vector[weight.slice] = generator.normal(0.0, deviation, weight.size)
        else:
            limit = np.sqrt(6.0 / (weight.fan_in + weight.fan_out))
            vector[weight.slice] = generator.uniform(-limit, limit, weight.size)
    return vector.astype(np.float32).astype(dtype)
