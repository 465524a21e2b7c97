"""Rows of atoms gathered into rows of terms, and back, without scattered additions.

The derivative that PyTorch has for indexing adds with atomics on a GPU, in an order that is never the same twice.
Here either direction is a gather, and each is the derivative of the other.
"""

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Gather"]


class Gather(nn.Module):
    """Terms from their atoms: row t of the result is row ``index[t]`` of the input, over the last but one dimension.

    Parameters
    ----------
    index : torch.Tensor, shape (terms,)
        The atom of each term.
    atoms : int
        Number of atoms.

    Examples
    --------
    >>> bonds = Gather(torch.tensor([1, 0, 1]), atoms=2)
    >>> bonds(torch.tensor([[5.0], [7.0]])).flatten()
    tensor([7., 5., 7.])
    >>> bonds.sum(torch.tensor([[1.0], [10.0], [100.0]])).flatten()
    tensor([ 10., 101.])
    """

    index: Tensor
    terms: Tensor

    def __init__(self, index: Tensor, atoms: int):
        super().__init__()
        counts = torch.bincount(index, minlength=atoms)
        order = torch.argsort(index, stable=True)
        # every atom's terms, filled up with a row that does not exist
        terms = torch.full((atoms, int(counts.max()) if len(index) else 1), len(index))
        column = torch.arange(len(index)) - (torch.cumsum(counts, 0) - counts)[index[order]]
        terms[index[order], column] = order
        self.register_buffer("index", index)
        self.register_buffer("terms", terms)

    def forward(self, x: Tensor) -> Tensor:
        """(..., atoms, batch) to (..., terms, batch)."""
        return _Gathered.apply(x, self.index, self.terms, False)

    def sum(self, y: Tensor) -> Tensor:
        """(..., terms, batch) to (..., atoms, batch): the terms of each atom added up."""
        return _Gathered.apply(y, self.index, self.terms, True)


class _Gathered(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, index: Tensor, terms: Tensor, collect: bool) -> Tensor:
        if not collect:
            return x.index_select(-2, index)
        padded = torch.cat([x, torch.zeros_like(x[..., :1, :])], -2)
        return padded.index_select(-2, terms.flatten()).unflatten(-2, terms.shape).sum(-2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.collect = inputs[3]
        ctx.save_for_backward(*inputs[1:3])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _Gathered.apply(grads[0], *ctx.saved_tensors, not ctx.collect), None, None, None
