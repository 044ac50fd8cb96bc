"""Studies of many runs: which runs they are, what scores came of them, and what may be concluded."""
