"""What every model must keep, tried on its own example: ``bayescg check FILE.py``."""
