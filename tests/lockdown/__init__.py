"""What locked-down processes cannot do: forbidden acts from inside every kind of thread, and each layer alone."""
