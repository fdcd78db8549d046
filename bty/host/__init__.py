"""The operating system as functions."""
