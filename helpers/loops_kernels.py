"""Textbook loops of every operation: one source, run as plain Python or compiled for one core by numba.njit.

Arrays are those of reference.py; each function fills its first arguments from the others. Knows arrays only. No
fast-math: every sum is added in the order written. The innermost loop runs over the axis that lies contiguous in
memory and adds to independent cells, so that a compiler may vectorise it without changing that order. Rows are named
before their loops and cut to the cells that padding leaves, so that no test stands in an inner loop.
"""

import numpy as np


def conv_forward(y, x, w, b, stride, padding):
    """y (N, D', H', W', K) from x (N, D, H, W, C), w (kd, kh, kw, C, K), b (K,); triples `stride`, `padding`."""
    for n in range(y.shape[0]):
        for d in range(y.shape[1]):
            for h in range(y.shape[2]):
                outputs = y[n, d, h]
                for v in range(y.shape[3]):
                    for k in range(y.shape[4]):
                        outputs[v, k] = b[k]
                for q in range(w.shape[0]):
                    i = d * stride[0] + q - padding[0]
                    for r in range(w.shape[1]):
                        j = h * stride[1] + r - padding[1]
                        if i < 0 or i >= x.shape[1] or j < 0 or j >= x.shape[2]:
                            continue
                        inputs = x[n, i, j]
                        for s in range(w.shape[2]):
                            weights = w[q, r, s]
                            first = max(0, -((s - padding[2]) // stride[2]))
                            last = min(y.shape[3], (x.shape[3] - 1 - s + padding[2]) // stride[2] + 1)
                            written = outputs[first:last]
                            read = inputs[first * stride[2] + s - padding[2] :: stride[2]]
                            for v in range(last - first):
                                for c in range(w.shape[3]):
                                    value = read[v, c]
                                    for k in range(w.shape[4]):
                                        written[v, k] += value * weights[c, k]


def conv_input_gradient(dx, turned, dy, w, stride, padding):
    """dx (N, D, H, W, C) from dy and w; `turned` (kd, kh, kw, K, C) takes w with its channel axes swapped."""
    for q in range(w.shape[0]):
        for r in range(w.shape[1]):
            for s in range(w.shape[2]):
                for c in range(w.shape[3]):
                    for k in range(w.shape[4]):
                        turned[q, r, s, k, c] = w[q, r, s, c, k]
    dx[:] = 0
    for n in range(dy.shape[0]):
        for d in range(dy.shape[1]):
            for h in range(dy.shape[2]):
                outputs = dy[n, d, h]
                for q in range(w.shape[0]):
                    i = d * stride[0] + q - padding[0]
                    for r in range(w.shape[1]):
                        j = h * stride[1] + r - padding[1]
                        if i < 0 or i >= dx.shape[1] or j < 0 or j >= dx.shape[2]:
                            continue
                        inputs = dx[n, i, j]
                        for s in range(w.shape[2]):
                            weights = turned[q, r, s]
                            first = max(0, -((s - padding[2]) // stride[2]))
                            last = min(dy.shape[3], (dx.shape[3] - 1 - s + padding[2]) // stride[2] + 1)
                            for v in range(first, last):
                                u = v * stride[2] + s - padding[2]
                                for k in range(w.shape[4]):
                                    value = outputs[v, k]
                                    for c in range(w.shape[3]):
                                        inputs[u, c] += value * weights[k, c]


def conv_weight_gradient(dw, db, x, dy, stride, padding):
    """dw (kd, kh, kw, C, K) and db (K,) from x and dy."""
    dw[:] = 0
    db[:] = 0
    for n in range(dy.shape[0]):
        for d in range(dy.shape[1]):
            for h in range(dy.shape[2]):
                outputs = dy[n, d, h]
                for v in range(dy.shape[3]):
                    for k in range(dy.shape[4]):
                        db[k] += outputs[v, k]
                for q in range(dw.shape[0]):
                    i = d * stride[0] + q - padding[0]
                    for r in range(dw.shape[1]):
                        j = h * stride[1] + r - padding[1]
                        if i < 0 or i >= x.shape[1] or j < 0 or j >= x.shape[2]:
                            continue
                        inputs = x[n, i, j]
                        for s in range(dw.shape[2]):
                            weights = dw[q, r, s]
                            first = max(0, -((s - padding[2]) // stride[2]))
                            last = min(dy.shape[3], (x.shape[3] - 1 - s + padding[2]) // stride[2] + 1)
                            met = outputs[first:last]
                            read = inputs[first * stride[2] + s - padding[2] :: stride[2]]
                            for v in range(last - first):
                                for c in range(dw.shape[3]):
                                    value = read[v, c]
                                    for k in range(dw.shape[4]):
                                        weights[c, k] += value * met[v, k]


def pool_forward(y, winner, x, window, stride, padding, largest):
    """y (N, D', H', W', C) and winner (uint8, same shape; 0 for the average) from x; `largest` chooses max-pooling."""
    winner[:] = 0
    for n in range(y.shape[0]):
        for d in range(y.shape[1]):
            front = d * stride[0] - padding[0]
            for h in range(y.shape[2]):
                top = h * stride[1] - padding[1]
                for v in range(y.shape[3]):
                    left = v * stride[2] - padding[2]
                    for c in range(y.shape[4]):
                        count = 0
                        for i in range(max(front, 0), min(front + window[0], x.shape[1])):
                            for j in range(max(top, 0), min(top + window[1], x.shape[2])):
                                for u in range(max(left, 0), min(left + window[2], x.shape[3])):
                                    value = x[n, i, j, u, c]
                                    count += 1
                                    if not largest and count > 1:
                                        y[n, d, h, v, c] += value
                                    # value != value: a NaN wins, so that it reaches the loss
                                    elif count == 1 or value > y[n, d, h, v, c] or value != value:
                                        y[n, d, h, v, c] = value
                                        tap = ((i - front) * window[1] + j - top) * window[2] + u - left
                                        winner[n, d, h, v, c] = tap
                        if not largest:
                            y[n, d, h, v, c] /= count


def max_pool_input_gradient(dx, dy, winner, window, stride, padding):
    """dx (N, D, H, W, C): each dy is added to the cell that `winner` names."""
    dx[:] = 0
    for n in range(dy.shape[0]):
        for d in range(dy.shape[1]):
            for h in range(dy.shape[2]):
                for v in range(dy.shape[3]):
                    for c in range(dy.shape[4]):
                        tap = int(winner[n, d, h, v, c])
                        i = d * stride[0] - padding[0] + tap // (window[1] * window[2])
                        j = h * stride[1] - padding[1] + tap // window[2] % window[1]
                        u = v * stride[2] - padding[2] + tap % window[2]
                        dx[n, i, j, u, c] += dy[n, d, h, v, c]


def average_pool_input_gradient(dx, dy, window, stride, padding):
    """dx (N, D, H, W, C): each dy is shared evenly by the real cells of its window."""
    dx[:] = 0
    for n in range(dy.shape[0]):
        for d in range(dy.shape[1]):
            front = max(d * stride[0] - padding[0], 0)
            back = min(d * stride[0] - padding[0] + window[0], dx.shape[1])
            for h in range(dy.shape[2]):
                top = max(h * stride[1] - padding[1], 0)
                bottom = min(h * stride[1] - padding[1] + window[1], dx.shape[2])
                for v in range(dy.shape[3]):
                    left = max(v * stride[2] - padding[2], 0)
                    right = min(v * stride[2] - padding[2] + window[2], dx.shape[3])
                    count = (back - front) * (bottom - top) * (right - left)
                    for i in range(front, back):
                        for j in range(top, bottom):
                            for u in range(left, right):
                                for c in range(dy.shape[4]):
                                    dx[n, i, j, u, c] += dy[n, d, h, v, c] / count


def dense_forward(y, x, w, b):
    """y (N, out) from x (N, in), w (in, out), b (out,)."""
    for n in range(y.shape[0]):
        for k in range(y.shape[1]):
            y[n, k] = b[k]
        for c in range(w.shape[0]):
            value = x[n, c]
            for k in range(w.shape[1]):
                y[n, k] += value * w[c, k]


def dense_input_gradient(dx, turned, dy, w):
    """dx (N, in) from dy (N, out) and w (in, out); `turned` (out, in) takes w with its axes swapped."""
    for c in range(w.shape[0]):
        for k in range(w.shape[1]):
            turned[k, c] = w[c, k]
    dx[:] = 0
    for n in range(dy.shape[0]):
        for k in range(w.shape[1]):
            value = dy[n, k]
            for c in range(w.shape[0]):
                dx[n, c] += value * turned[k, c]


def dense_weight_gradient(dw, db, x, dy):
    """dw (in, out) and db (out,) from x (N, in) and dy (N, out)."""
    dw[:] = 0
    db[:] = 0
    for n in range(dy.shape[0]):
        for k in range(dy.shape[1]):
            db[k] += dy[n, k]
        for c in range(dw.shape[0]):
            value = x[n, c]
            for k in range(dw.shape[1]):
                dw[c, k] += value * dy[n, k]


def relu_forward(y, x):
    """y = max(x, 0) of flat arrays; NaN stays NaN."""
    for i in range(x.shape[0]):
        y[i] = x[i]
        if x[i] <= 0:
            y[i] = 0


def relu_input_gradient(dx, dy, y):
    """dx = dy where y is positive, else 0; flat arrays."""
    for i in range(dy.shape[0]):
        dx[i] = 0
        if y[i] > 0:
            dx[i] = dy[i]


def softmax_cross_entropy(loss, correct, d_logits, logits, labels, batch):
    """loss (N,), correct (N,) int32, d_logits (N, classes) of the mean over `batch` samples, from logits, labels."""
    for n in range(logits.shape[0]):
        best = 0
        for k in range(logits.shape[1]):
            if logits[n, k] > logits[n, best]:
                best = k
        for k in range(logits.shape[1]):
            d_logits[n, k] = np.exp(logits[n, k] - logits[n, best])
        total = d_logits[n, 0]
        for k in range(1, logits.shape[1]):
            total += d_logits[n, k]
        for k in range(logits.shape[1]):
            d_logits[n, k] /= total
        label = int(labels[n])
        loss[n] = np.log(total) - (logits[n, label] - logits[n, best])
        correct[n] = best == label
        d_logits[n, label] -= 1
        for k in range(logits.shape[1]):
            d_logits[n, k] /= batch


def sgd_update(parameters, velocity, gradient, learning_rate, momentum):
    """v = momentum v + g, w = w - rate v, in place; flat arrays, scalars of their type."""
    for i in range(parameters.shape[0]):
        velocity[i] = momentum * velocity[i] + gradient[i]
        parameters[i] -= learning_rate * velocity[i]
