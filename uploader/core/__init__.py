"""Decides, and does nothing: no I/O, clock or randomness of its own, so any schedule can be replayed."""
