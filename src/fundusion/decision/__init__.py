"""Probabilities -> decisions a clinic can defend. Numpy only."""
