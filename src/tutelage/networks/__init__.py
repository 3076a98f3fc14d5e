"""Neural networks. The only layer that imports flax."""
