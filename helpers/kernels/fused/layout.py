"""The visible parameter vector and the fused kernel's own layout of it: which cell holds which parameter.

Must not learn what is computed with the parameters.
"""

import numpy as np

from helpers.kernels.fused.stages import ConvPlan, DensePlan


def parameter_cells(plan):
    """For each visible parameter the cell that holds it, and pairs for those that are held twice.

    Returns
    -------
    cells : ndarray, int64, shape (network.parameter_count,)
    parameters, copies : ndarray, int64
        Visible parameters with a second place, and that place: the transposed weights of convolutions.
    """
    stages = {stage.name: stage for stage in plan.stages}
    cells, parameters, copies = np.zeros(plan.network.parameter_count, np.int64), [], []
    for stage in plan.network.stages:
        if not stage.parameters:
            continue
        weight, bias = stage.parameters
        place = stages[stage.name]
        if isinstance(place, DensePlan):
            rows = np.arange(place.inputs)[:, None] * place.pitch
            cells[weight.slice] = (place.weights + rows + np.arange(place.outputs)).reshape(-1)
            cells[bias.slice] = place.weights + place.inputs * place.pitch + np.arange(place.outputs)
        elif isinstance(place, ConvPlan):
            cells[weight.slice] = place.weights + np.arange(weight.size)
            cells[bias.slice] = place.biases + np.arange(bias.size)
            if place.transposed is not None:
                taps = np.arange(weight.size).reshape(-1, place.filters)  # (row, column, channel), filter
                parameters.append(weight.offset + taps.T.reshape(-1))
                copies.append(place.transposed + np.arange(weight.size))
    together = [np.concatenate(part) if part else np.zeros(0, np.int64) for part in (parameters, copies)]
    return cells, *together


def pack(plan, vector):
    """The kernel's layout, float32, shape (plan.parameter_cells,), of a visible `vector`; padding is 0."""
    cells, parameters, copies = parameter_cells(plan)
    packed = np.zeros(plan.parameter_cells, np.float32)
    packed[cells] = vector
    packed[copies] = np.asarray(vector)[parameters]
    return packed


def unpack(plan, packed):
    """The visible vector, float32, of what `pack` made."""
    return np.asarray(packed)[parameter_cells(plan)[0]]


def blank_factors(plan):
    """Rows of factors, float32, shape (batch, plan.factors), before the first step.

    Behind each dense layer's inputs stands a 1, whose weights are the biases; padding is 0.
    """
    factors = np.zeros((plan.batch, plan.factors), np.float32)
    for layer in plan.dense:
        factors[:, layer.x_factors + layer.inputs] = 1
    return factors
