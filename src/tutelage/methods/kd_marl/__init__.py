"""KD-MARL: `method.py` is the algorithm; `components`, `data` and `losses` are its parts."""
