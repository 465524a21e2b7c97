"""What predictive coarse-graining alone needs."""
