"""Every method once more, naively, in NumPy: an independent reading of its definition, for tests that compare numbers.

Nothing here imports jax or the package, but for `scene` (the tiny world that both sides learn from) and `watching` (the
one place that looks inside a method).
"""
