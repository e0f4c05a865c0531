"""The interpreter's operations: every operand form of every row, derived from the operation table."""


def files() -> dict[str, str]:
    """The generated files of the interpreter by name."""
    return {}
