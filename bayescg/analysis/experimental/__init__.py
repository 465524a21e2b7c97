"""Ensembles from simulation and experiment together."""
