"""Measurements of `hadamax bench`: our networks, other implementations of them, and the machine's limits.

Each contender runs in its own process (`worker`), with its own memory settings and threads. Contenders are timed in
turns, so that disturbances of the machine affect all of them. Results are ratios within a round.
"""
