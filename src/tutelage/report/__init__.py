"""Tables, curves and pictures made from results."""
