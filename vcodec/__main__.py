"""`python -m vcodec` is the command line."""

from __future__ import annotations

from vcodec.cli import program

if __name__ == "__main__":
    program()
