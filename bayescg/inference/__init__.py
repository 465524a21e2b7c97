"""Inference: `fit`, the one loop that trains every (model, guide) pair, and what it returns."""

from bayescg.inference.fitted import Fit
from bayescg.inference.run import fit

__all__ = ["Fit", "fit"]
