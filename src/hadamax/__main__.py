"""`python -m hadamax`: the command line."""

import sys

from hadamax.cli import main

sys.exit(main())
