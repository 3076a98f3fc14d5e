"""Learning methods: a file each, or a folder whose `method.py` is the algorithm, read from top to bottom."""
