"""Multi-Particle Environments through the `jaxmarl` package."""
