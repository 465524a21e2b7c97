"""Modes that frames which were held out contradict."""

import torch
from torch import Tensor

from bayescg.nets.generator_eigenfunctions.dirichlet import DirichletForms
from bayescg.nets.generator_eigenfunctions.ritz import RitzModes

__all__ = ["doubted_modes"]


def doubted_modes(forms: DirichletForms, ritz: RitzModes, y: Tensor, metric: Tensor | None, w: Tensor) -> list[str]:
    """A sentence for each mode that varies much faster over these frames than over those that it was solved for.

    Parameters
    ----------
    forms : DirichletForms
    ritz : RitzModes
        The modes, and their Rayleigh quotients over the frames of the training.
    y : Tensor, shape (n, inputs)
        Frames that were held out, in order.
    metric : Tensor, shape (n, inputs, inputs), or None
    w : Tensor, shape (n,)
        Weights of the frames, of sum one.
    """
    parts = torch.arange(len(y), device=y.device).chunk(20)
    with torch.no_grad():
        f = ritz(forms(y))
        square = w[:, None] * (f - w @ f).square()
        v = torch.stack([square[i].sum(0) for i in parts])
        pieces = ((y[i], None if metric is None else metric[i], w[i]) for i in parts)
        e = torch.stack([forms.of(*piece, ritz.coefficients)[0] for piece in pieces])
    ratio = e.sum(0) / v.sum(0) / ritz.values
    relative = (e / e.sum(0) - v / v.sum(0)).square().sum(0).sqrt()  # standard error of its logarithm
    return [
        f"mode {k + 1} varies {float(r):.2g} times as fast over the frames that were held out as over those of the "
        "training: the functions follow its noise, and eigenvalues and their intervals may be far too small; give "
        "more frames, a larger sparsity or a smaller learning_rate"
        for k, r in enumerate(ratio)
        if r > 2 and r.log() > 2 * relative[k]
    ]
