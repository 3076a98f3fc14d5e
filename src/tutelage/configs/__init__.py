"""Frozen settings of methods, environments and experiments. No jax here: the command line reads these for `--help`."""
