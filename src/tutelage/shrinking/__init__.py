"""Shrinking: the smallest student that keeps a share of its teacher, or the best one within a budget."""
