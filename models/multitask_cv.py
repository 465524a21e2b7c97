"""Collective variables that several tasks share: where a configuration commits to, its energy, its basin, itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from bayescg import distributions, nets
from bayescg.arguments import check_counts, check_positive, names_of, widths
from bayescg.data import Frames, toy_shots
from bayescg.errors import ConfigError, DataError
from bayescg.features import Features
from bayescg.modelling import Batch, FeatureModel

_COLUMNS = {"commitments": "commitments", "energy": "energy", "labels": "labels", "features": "positions"}
"""The tasks, and what of Frames each learns from."""
NETS, WIDTHS = ("encoder", "profile", "basin", "decoder"), ("log_bath", "log_noise")


class MultitaskCV(FeatureModel):
    r"""Multitask collective variables as Bayesian likelihoods (after Sun et al. 2022).

    One encoder, z = encoder(y), of standardised features y serves several tasks, each a likelihood given z:

    - ``"commitments"``: of n shots from a configuration :math:`k_r` reach region r first,
      :math:`k \sim \mathrm{Multinomial}(n, \mathrm{softmax}(0, z_1, \dots, z_{R-1}))`. With two regions :math:`z_1` is
      the logit of the committor, which fixes its gauge: draws of it can be compared.
    - ``"energy"``: :math:`U \sim t_4(u(z), s)`, a Student t around a network u, its scale s learned.
    - ``"labels"``: a basin label, :math:`\mathrm{Categorical}(b(z))`, from a head of its own: where a quench ends is no
      committor.
    - ``"features"``: :math:`y \sim N(d(z), \sigma^2)`, a decoder with a width for each feature.

    The published loss weighs these tasks by hand; here noise that is learned does. Any label may be missing in any
    frame (no shots, energy NaN, label -1). Give it more latent variables than regions less one where it learns
    energies: a single one would have to be committor and energy at once.

    It is a model of labels given configurations, and generates none of the latter.

    Parameters
    ----------
    features : Features or None
        What of a configuration is read; None for its flat coordinates.
    latent_dim : int
        Number of CVs.
    tasks : sequence of str
        Of the above; each needs its column in the training frames.
    regions : sequence of str
        Names of the regions of the shots, in the order of their columns.
    basins : int
        Number of basin labels.
    hidden : sequence of int
        Widths of the hidden layers of the encoder, tanh; up to (24, 24) it runs natively in MD engines.
    heads : sequence of int
        Widths of the hidden layers of the other networks.
    prior : float
        Standard deviation of the weights, a priori.
    dim : int, optional
        Number of flat coordinates when `features` is None; taken from the frames when absent.

    References
    ----------
    L. Sun, J. Vandermause, S. Batzner, Y. Xie, D. Clark, W. Chen, B. Kozinsky, "Multitask machine learning of
    collective variables for enhanced sampling of rare events", J. Chem. Theory Comput. 18, 2341 (2022),
    arXiv:2012.03909. Likelihood of shots: Peters, Trout, J. Chem. Phys. 125, 054108 (2006), eq. (2).

    Examples
    --------
    >>> model, frames, _ = MultitaskCV.example()
    >>> model.setup(frames)
    >>> model.cv(torch.as_tensor(frames.positions)).mean.shape
    torch.Size([60, 2])
    """

    kind = "generalised"
    uncertainty = "ensemble"
    training_defaults: ClassVar[dict[str, Any]] = {"steps": 2000, "learning_rate": 1e-2}
    scale: nets.Standardise
    citation = "Sun et al., J. Chem. Theory Comput. 18, 2341 (2022), doi:10.1021/acs.jctc.1c00143"

    def __init__(
        self,
        features: Features | None = None,
        latent_dim: int = 2,
        tasks: Sequence[str] = ("commitments", "energy"),
        regions: Sequence[str] = ("A", "B"),
        basins: int = 2,
        hidden: Sequence[int] = (24, 24),
        heads: Sequence[int] = (24,),
        prior: float = 3.0,
        dim: int | None = None,
    ):
        super().__init__()
        check_counts(latent_dim=(latent_dim, 1), basins=(basins, 2))
        check_positive(prior=prior)
        self.latent_dim, self.basins = latent_dim, basins
        self.tasks, self.regions = names_of(tasks, "tasks"), names_of(regions, "regions")
        self.hidden, self.heads, self.prior = widths(hidden), widths(heads), float(prior)
        unknown = [task for task in self.tasks if task not in _COLUMNS]
        if unknown or not self.tasks:
            raise ConfigError(f"tasks={tasks!r} must be some of {', '.join(_COLUMNS)}")
        if "commitments" in self.tasks:
            if not 2 <= len(self.regions) <= latent_dim + 1:
                raise ConfigError(f"regions={regions!r} must be two or more, at most latent_dim + 1 = {latent_dim + 1}")
            self.fixed_cvs = len(self.regions) - 1
        self.begin(features, dim)

    def build(self, size: int) -> None:
        """Encoder, and a head for each task but that of shots, which reads z itself."""
        self.encoder = nets.MLP(size, self.latent_dim, self.hidden)
        if "energy" in self.tasks:
            self.energy_scale = nets.Standardise(1)
            self.profile = nets.MLP(self.latent_dim, 1, self.heads)
            self.log_bath = nn.Parameter(torch.zeros(()))
        if "labels" in self.tasks:
            self.basin = nets.MLP(self.latent_dim, self.basins, self.heads)
        if "features" in self.tasks:
            self.decoder = nets.MLP(self.latent_dim, size, self.heads)
            self.log_noise = nn.Parameter(torch.zeros(size))

    def setup(self, frames: Frames) -> None:
        """Standardise features and energies.

        Raises
        ------
        DataError
            A task's column is missing, or is of other regions or basins.
        """
        super().setup(frames)
        columns = {task: getattr(frames, _COLUMNS[task]) for task in self.tasks}
        for task in (task for task, column in columns.items() if column is None):
            raise DataError(
                f"the frames have no {_COLUMNS[task]}, which the task {task!r} learns from: leave it out of tasks="
            )
        if (shots := columns.get("commitments")) is not None:
            names = list(frames.provenance.get("regions", self.regions))
            if shots.shape[1] != len(self.regions) or names != list(self.regions):
                raise DataError(
                    f"shots of {shots.shape[1]} regions, {names}, for regions={list(self.regions)}: give theirs"
                )
        if (labels := columns.get("labels")) is not None and (most := labels.max()) >= self.basins:
            raise DataError(f"a label is {most}, but basins={self.basins}: give basins={most + 1}")
        if "energy" in self.tasks:
            energy = torch.as_tensor(columns["energy"][~np.isnan(columns["energy"])])
            self.energy_scale.set(energy.mean()[None], energy.std(correction=0)[None])

    def model(self, batch: Batch) -> None:
        """Weights ~ N(0, prior^2); each label given z = encoder(y)."""
        prior: Any = dict.fromkeys(("weight", "bias"), nets.gaussian(self.prior))
        nets_of = {name: nets.random_net(self, name, prior) for name in NETS if hasattr(self, name)}
        wide = nets.gaussian(3.0)
        widths_of = {name: pyro.sample(name, wide(getattr(self, name))) for name in WIDTHS if hasattr(self, name)}
        with batch.plate("frames"):
            y = self.scale(batch.x)
            z = nets_of["encoder"](y)
            if "commitments" in self.tasks and batch.commitments is not None:
                shots = distributions.ShotCounts(batch.commitments.sum(-1), self.logits(z))
                pyro.sample("commitments", shots, obs=batch.commitments)
            if "energy" in self.tasks and batch.energy is not None:
                finite, u = ~batch.energy.isnan(), self.energy_scale(batch.energy.nan_to_num()[:, None])[:, 0]
                bath = dist.StudentT(4.0, nets_of["profile"](z)[:, 0], widths_of["log_bath"].exp())
                pyro.sample("energy", bath.mask(finite), obs=u)
            if "labels" in self.tasks and batch.labels is not None:
                basin = dist.Categorical(logits=nets_of["basin"](z)).mask(batch.labels >= 0)
                pyro.sample("labels", basin, obs=batch.labels.clamp_min(0))
            if "features" in self.tasks:
                again = dist.Normal(nets_of["decoder"](z), widths_of["log_noise"].exp())
                pyro.sample("features", again.to_event(1), obs=y)

    def guide(self, batch: Batch) -> None:
        """Nothing is hidden: the CVs are a function of the frame."""

    def logits(self, z: Tensor) -> Tensor:
        """Logits of the regions, ``(..., regions)``, of CVs ``(..., latent_dim)``: 0 and the leading CVs."""
        return nn.functional.pad(z[..., : self.fixed_cvs], (1, 0))

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """The CVs of positions ``(n, atoms, 3)``, exactly: batch shape ``(n,)``, event shape ``(latent_dim,)``."""
        return nets.exactly(self.encoder(self.scale(self.inputs(x))))

    def network(self) -> list[nn.Module]:
        """What features pass on their way to the CVs; see :class:`bayescg.modelling.HasNetwork`."""
        return [self.scale, self.encoder]

    def reset(self) -> None:
        """Draw fresh weights; noise starts at half the spread of what it is of."""
        super().reset()
        for name in WIDTHS:
            if hasattr(self, name):
                nn.init.constant_(getattr(self, name), -0.7)

    @classmethod
    def example(cls) -> tuple[MultitaskCV, Any, None]:
        """Three tasks on frames in three dimensions, some labels missing."""
        return cls(tasks=("commitments", "energy", "labels"), hidden=(6,), heads=(), dim=3), toy_shots(), None
