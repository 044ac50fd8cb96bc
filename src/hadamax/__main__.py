"""`python -m hadamax`: the command line."""

from hadamax.cli import main

main()
