"""Environments: one instance each, pure functions, never resetting themselves."""
