"""Training without frames: weighted draws, and the temperatures and batches of a fit."""
