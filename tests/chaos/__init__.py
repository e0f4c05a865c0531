"""Chaos: random faults under load, a ledger of every call, and a look for leaks after each round."""
