"""`python -m lodestream` is the command `lodestream`."""

from __future__ import annotations

from lodestream.cli.main import main

if __name__ == "__main__":
    main(prog_name="lodestream")
