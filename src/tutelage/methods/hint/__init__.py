"""HINT: `method.py` is the algorithm; the other files are its parts, in the order in which it uses them."""
