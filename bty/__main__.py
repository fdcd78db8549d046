"""`python -m bty`."""

import sys

from bty.cli import main

if __name__ == "__main__":
    sys.exit(main())
