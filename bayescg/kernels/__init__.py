"""C++ for what torch's operations take too long for, compiled on the machine it runs on."""

from bayescg.kernels.library import library

__all__ = ["library"]
