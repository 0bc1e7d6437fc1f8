"""`python -m mailforum` is the same as the command `mailforum`."""

import sys

from mailforum.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
