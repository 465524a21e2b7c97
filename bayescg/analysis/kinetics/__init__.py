"""Slow modes, timescales and committors from frames of dynamics."""
