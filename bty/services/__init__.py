"""The use-cases of an operator, a machine and a schedule."""
