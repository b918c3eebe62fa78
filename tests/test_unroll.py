"""Unrolled functions compute what their loops say, and refuse what is not a constant."""

import ast
import inspect
import math

import numpy as np
import pytest

from helpers.unroll import registers, unroll, unrolled

WIDTH = 3


def make(rows):
    @unrolled
    def total(values):
        """Sum of scaled values."""
        tile = registers(rows, WIDTH)
        for i in unroll(rows):
            for j in unroll(WIDTH):
                tile[i, j] = values[i * WIDTH + j] * (i + 1)
        result = 0.0
        for i in unroll(rows):
            if i % 2 == 0:
                for j in unroll(WIDTH):
                    result += tile[i, j]
            else:
                result -= tile[i, 0]
        return result

    return total


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_unrolled_equals_interpreted(rows):
    total, values = make(rows), np.arange(rows * WIDTH, dtype=np.float64) ** 2
    assert total(values) == total.py_func(values)
    assert total.__doc__ == "Sum of scaled values."


def test_no_loop_array_or_constant_branch_is_left():
    tree = ast.parse(inspect.getsource(make(2)))
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.For, ast.If, ast.Subscript)) and
                not (isinstance(node, ast.Subscript) and node.value.id == "values")]  # fmt: skip
    assert "tile_1_2" in ast.unparse(tree)


def test_a_count_that_is_no_constant_is_named():
    def body(n):
        for i in unroll(n):
            print(i)

    with pytest.raises(ValueError, match="body, line 2: the count n is not a constant"):
        unrolled(body)


def test_a_register_outside_its_tile_is_named():
    def body(out):
        tile = registers(2)
        for i in unroll(3):
            tile[i] = out[i]

    with pytest.raises(ValueError, match=r"register index \(2,\) lies outside tile of shape \(2,\)"):
        unrolled(body)


def test_a_local_name_is_never_taken_for_a_global_constant():
    def body(values):
        WIDTH = values[0]
        if WIDTH == 3:
            return 1
        return 2

    assert unrolled(body)([3]) == 1
    assert unrolled(body)([4]) == 2


def test_what_a_module_offers_is_no_constant():
    def body():
        if math.tau > 6:
            return 1
        return 2

    assert "math.tau" in inspect.getsource(unrolled(body))
