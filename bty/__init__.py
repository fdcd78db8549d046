"""bty puts ready-made system images onto the disks of real machines.

This module holds the version and imports nothing, so that `--version` costs nothing.
"""

__version__ = "0.61.0"
