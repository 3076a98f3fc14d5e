"""Training, evaluation, run directories and sweeps."""
