"""What runs in the measuring processes: a module a contender and suite, each with `measure(task) -> answer`.

An answer: {"version": str, "figures": {row: [value, unit]}, and results to be checked by name}.
"""
