"""Multi-Particle Environments."""
