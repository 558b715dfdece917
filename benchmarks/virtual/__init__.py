"""Uploads on a virtual clock: the real sessions, and a model of all they talk to.

Used by `benchmarks/simulate.py` (how uploads fare as they become many) and `tests/faults/simulation.py` (how
they come out of storms and outages). Its modules name each other relatively, since the one is run as a script
beside this directory and the other from the one above.
"""
