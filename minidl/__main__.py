"""python -m minidl: the command line."""

from __future__ import annotations

import sys

from minidl.cli import main

if __name__ == "__main__":
    sys.exit(main())
