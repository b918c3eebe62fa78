"""What every lowered program must keep to, as checks that the tests of each form of it share."""


def check_order(program):
    """Raises where a tensor is read before it is written, written twice, or named but never written."""
    written = set()
    for op in program.ops:
        read = {*op.inputs, *([op.mask] if op.mask else [])}
        assert read <= written, f"{op.kind} of {op.layer} reads {read - written} too early"
        assert not written & set(op.outputs)
        written |= set(op.outputs)
    assert written == set(program.tensors)
