"""Runs the command line: `python -m nextchar`."""

from nextchar.cli.main import entry

if __name__ == "__main__":
    entry()
