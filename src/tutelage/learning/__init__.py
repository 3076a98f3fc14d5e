"""Returns, losses, normalisation and gradient steps: pure mathematics on arrays."""
