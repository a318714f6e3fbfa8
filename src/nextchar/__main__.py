"""Runs the command line: `python -m nextchar`."""

import sys

from nextchar.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
