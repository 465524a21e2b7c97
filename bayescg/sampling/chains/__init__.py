"""Chains of configurations, many side by side: dynamics, Monte Carlo, tempering."""
