"""Slow modes of overdamped dynamics from equilibrium frames: eigenfunctions of the generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyro
import torch
from torch import Tensor, nn

from bayescg import nets
from bayescg.arguments import check_counts, check_numbers, widths
from bayescg.data import evenly
from bayescg.errors import ConfigError
from bayescg.features import Features
from bayescg.modelling import Batch, DiffusionModel
from bayescg.systems import QuarticDoubleWell, System


class GeneratorEigenfunctions(DiffusionModel):
    r"""Slowest eigenpairs of the generator, -Lf = λf (Zhang, Li, Schütte 2022; Zhang, Schütte 2023).

    For :math:`dx = (-D \nabla U / kT + \nabla \cdot D) dt + \sqrt{2 D}\,dW` the eigenvalues are stationary values of

    .. math:: \lambda[f] = E[\nabla f \cdot D \nabla f] \,/\, \mathrm{Var} f

    over equilibrium frames, whatever made them: neither times nor forces are used, and importance weights are exact.

    The net's last hidden layer :math:`\chi` is a basis. In each batch the Ritz values :math:`\lambda_i`, eigenvalues of
    :math:`E[\nabla\chi \cdot D \nabla\chi] c = \lambda\, \mathrm{Cov}[\chi] c`, are solved for exactly, and the loss is
    :math:`\sum_{i \le k} \sqrt{\lambda_i}`. By the min-max principle no Ritz value over all frames is below its
    eigenvalue, so that any growing function of them has its minimum at the eigenfunctions, with no constant to choose
    and no order to impose. The gradient needs no derivative of the solution: it is that of
    :math:`\sum_i (c_i^T A c_i / c_i^T B c_i)^{1/2}` at fixed c. The square root lets slow modes count beside fast ones;
    a logarithm would do so more, but a step between the frames of a batch, which costs nothing there, has a logarithm
    of minus infinity. Each function counts with a little noise (`nets.RitzModes`): else a step that sets a few rare
    frames of a batch apart passes for a slow mode. To the sum comes :math:`s \sum_j \ln(1 + g_j)` with :math:`g_j` the
    norm of the first layer's weights of input j, minus the logarithm of a prior with a peak at zero and a heavy tail:
    inputs that do not matter stay out, where they would else fit the noise of the frames, and the others are hardly
    held back.

    A fifth of the frames is held out. Of the states that the training goes through the last one is taken whose loss on
    these frames is lowest, up to `slack`; where the modes vary much faster on them all the same, the fit's warnings
    and those of `spectrum` say so (:meth:`doubts`).

    This is no likelihood: `kind` is "generalised", and no posterior is made of the loss. Error bars come from
    :func:`bayescg.analysis.spectrum`, which solves the eigenproblem in :math:`\chi` again, on all frames and under
    random weights of blocks of them.

    Parameters
    ----------
    modes : int
        k, without the constant function.
    features : Features, optional
        Of which the eigenfunctions are functions; None: the flat coordinates.
    system : System, optional
        For kT, where the frames do not tell it.
    diffusion : float, sequence or callable, optional
        D: a constant, one for each coordinate, a matrix, or a function from positions to ``(n,)``, ``(n, dim)`` or
        ``(n, dim, dim)``. None: kT, a mobility of one.
    hidden : sequence of int
        Widths of the layers; the last is the number of functions.
    sparsity : float
        s, of the prior on the first layer. With few frames or many coordinates more of it is needed: 0.02 for 6000
        frames in 22 dimensions.
    dim : int, optional
        Number of coordinates; None: the frames tell.

    References
    ----------
    W. Zhang, T. Li, C. Schütte, "Solving eigenvalue PDEs of metastable diffusion processes using artificial neural
    networks", J. Comput. Phys. 465, 111377 (2022), arXiv:2110.14523, theorem 1 and eq. (22); W. Zhang, C. Schütte,
    "Understanding recent deep-learning techniques for identifying collective variables of molecular dynamics",
    arXiv:2307.00365 (2023). The last layer solved for: Golub, Pereyra, SIAM J. Numer. Anal. 10, 413 (1973).

    Examples
    --------
    >>> model, frames, exact = GeneratorEigenfunctions.example()
    >>> model.setup(frames)
    >>> model.basis(torch.as_tensor(frames.positions)).shape, exact
    (torch.Size([512, 3]), 0.748681)
    """

    kind = "generalised"
    additive = False
    slack = 0.01
    minimum_batch = 256
    training_defaults: ClassVar[dict[str, Any]] = {
        "steps": 400, "batch_size": 8192, "validation": 0.2, "learning_rate": 0.1
    }  # fmt: skip
    citation = "Zhang, Li, Schütte, J. Comput. Phys. 465, 111377 (2022), doi:10.1016/j.jcp.2022.111377"
    lag = None

    def __init__(
        self,
        modes: int = 3,
        features: Features | None = None,
        system: System | None = None,
        diffusion: Any = None,
        hidden: Sequence[int] = (32, 32),
        sparsity: float = 0.002,
        dim: int | None = None,
    ):
        super().__init__()
        check_counts(modes=(modes, 1))
        self.modes, self.hidden = modes, widths(hidden)
        if not self.hidden or self.hidden[-1] < modes:
            raise ConfigError(f"hidden={hidden} must end with at least as many functions as modes={modes}")
        check_numbers(sparsity=(sparsity, "[0, 1)"))
        self.sparsity = float(sparsity)
        self.begin_diffusing(features, system, diffusion, dim)

    def build(self, size: int) -> None:
        """Make the functions, and a place for the solution in them."""
        self.forms = nets.DirichletForms(size, self.hidden)
        self.ritz = nets.RitzModes(self.hidden[-1], self.modes)

    def model(self, batch: Batch) -> None:
        """Weigh the frames of a batch by exp(-loss): one number for all of them, which they determine together."""
        assert batch.x is not None
        y, metric = self.split(batch.x)
        w = torch.ones_like(y[:, 0]) if batch.weight is None else batch.weight
        loss = self.loss(y, metric, w / w.sum())
        with batch.plate("frames"):
            pyro.factor("rayleigh", -loss.expand(len(batch)))

    def loss(self, y: Tensor, metric: Tensor | None, w: Tensor) -> Tensor:
        """Sum of the roots of the Ritz values, in units of a typical rate, and the prior on the first layer."""
        c = self.ritz.solve(*self.forms.sums(y, metric, w)[:2])
        energies, covariance = self.forms.of(y, metric, w, c)
        rates = self.ritz.quotients(energies, covariance.diagonal(), c) / self.ritz.rate
        return rates.sqrt().sum() + self.sparsity * self.forms.norms().log1p().sum()

    def guide(self, batch: Batch) -> None:
        """Nothing is local to a frame."""

    def finish(self, frames: Any, weight: Tensor) -> None:
        """Solve for the modes once more, over all frames (at most 200 000): what `cv` returns."""
        weights = np.ones(len(frames), np.float32) if frames.weights is None else frames.weights

        def read(index: np.ndarray) -> tuple[Tensor, Tensor | None, Tensor]:
            x = torch.as_tensor(frames.gather(index)).to(self.scale.mean)
            return *self.split(self.inputs(x)), torch.as_tensor(weights[index])

        self.ritz.keep(*self.forms.averages(read, evenly(frames, 200_000)))

    def doubts(self, x: Tensor, weight: Tensor) -> list[str]:
        """Modes that vary much faster over frames that were held out: they follow the noise of the others."""
        return nets.doubted_modes(self.forms, self.ritz, *self.split(x), (weight / weight.sum()).to(x))

    def basis(self, x: Tensor) -> Tensor:
        """Functions ``(n, functions)`` of positions ``(n, atoms, 3)`` or ``(n, dim)``: where modes are sought."""
        return self.forms(self.standardised(x))

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """Eigenfunctions, slowest first, of zero mean and unit variance: batch shape ``(n,)``, event shape ``(k,)``.

        They are functions of the configuration: the width of 1e-6 stands for none. Each increases with the coordinate
        or feature that it varies with most.
        """
        return nets.exactly(self.ritz(self.basis(x)))

    def network(self) -> list[nn.Module]:
        """What features pass on their way to the CVs; see :class:`bayescg.modelling.HasNetwork`."""
        return [self.scale, *self.forms.net.sequence(), self.ritz]

    def setup(self, frames: Any) -> None:
        """Take scales and diffusion, and from them the directions of the functions' slopes and a typical rate."""
        super().setup(frames)
        x = torch.as_tensor(frames.gather(evenly(frames)[:256]))
        root, rates = nets.diffusion_root(self.features, self.diffusion, x)
        self.forms.directions.copy_(root / self.scale.width)
        self.ritz.rate.copy_((rates / self.scale.width**2).mean())

    @classmethod
    def example(cls) -> tuple[GeneratorEigenfunctions, Any, float]:
        """Two equal wells on a line, and the slowest eigenvalue."""
        from bayescg.sampling import equilibrium

        return cls(modes=1, hidden=(8, 3), dim=1), equilibrium(QuarticDoubleWell(), 512), 0.748681
