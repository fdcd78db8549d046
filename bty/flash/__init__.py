"""Writes an image to a disk and proves it; knows no screen and no server."""
