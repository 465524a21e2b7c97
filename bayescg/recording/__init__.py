"""Tensor functions recorded and compiled: everything that touches torch's own inside is in this room."""
