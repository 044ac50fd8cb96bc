"""Studies of many runs: definitions, execution engines, ledger, statistics and reports."""
