"""What `hadamax bench` measures: ours beside other forms of the same network and beside the machine's limits.

Each contender is a process of its own (`worker`), so that none has another's memory settings or threads; they are
timed in turns, so that whatever disturbs the machine falls on all of them. Results are ratios within a round.
"""
