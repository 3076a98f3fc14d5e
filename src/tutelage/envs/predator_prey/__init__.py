"""Predator-Prey, the stag hunt on a grid."""
