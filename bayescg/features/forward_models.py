"""Forward models: what an experiment sees of a conformation, and how it averages over an ensemble."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from bayescg.arguments import check_positive
from bayescg.errors import ConfigError, TopologyError
from bayescg.features.distances import Distances, distances
from bayescg.features.interface import Features, atom_groups, register
from bayescg.features.torsions import find_torsions, torsion_sin_cos
from bayescg.topologies import read_topology

__all__ = ["KARPLUS", "Couplings", "ForwardModel", "InverseSixth", "karplus", "noe", "pre"]

KARPLUS: dict[str, dict[str, tuple[float, float, float, float, float]]] = {
    "HN,HA": {
        "bax2007": (8.40, -1.36, 0.33, -60.0, 0.36),
        "bax1997": (7.09, -1.42, 1.55, -60.0, 0.39),
        "rueterjans1999": (7.90, -1.05, 0.65, -60.0, 0.25),
    },
    "HN,C": {"bax2007": (4.36, -1.08, -0.01, 180.0, 0.30)},
    "HN,CB": {"bax2007": (3.71, -0.59, 0.08, 60.0, 0.22)},
}
"""A, B, C (Hz), the phase (degrees) and the standard deviation (Hz) of couplings across phi, by kind and author."""

_WITHOUT = {"HN,HA": ("PRO", "GLY"), "HN,C": ("PRO",), "HN,CB": ("PRO", "GLY")}
"""Residues that have no such coupling: proline has no HN, glycine two HA and no CB."""

_SPIN_LABEL = 1.23e10
"""nm^6 / s^2, of a nitroxide."""


class ForwardModel(Features):
    """Base class: what of each frame is averaged, and what is measured of the average.

    Attributes
    ----------
    unit : str
        Of what is measured.
    error : float
        Standard deviation of the forward model, in this unit: what it would be off by if the ensemble were right.
    """

    unit: str
    error: float

    def measured(self, average: Tensor) -> Tensor:
        """What an experiment sees of averages ``(..., size)`` over frames."""
        return average


@register
class Couplings(ForwardModel):
    r"""Scalar couplings by Karplus' relation, :math:`A \cos^2(\phi + \delta) + B \cos(\phi + \delta) + C`, in Hz.

    Parameters
    ----------
    atoms : int
    quadruples : sequence of (int, int, int, int)
        Of the torsions.
    labels : sequence of str
    parameters : (float, float, float, float, float)
        A, B, C in Hz, the phase in degrees and the standard deviation in Hz.
    """

    unit = "Hz"
    quadruples: Tensor

    def __init__(
        self, atoms: int, quadruples: Sequence[Sequence[int]], labels: Sequence[str], parameters: Sequence[float]
    ):
        super().__init__(len(quadruples), atoms)
        self.register_buffer("quadruples", atom_groups(quadruples, 4, atoms), persistent=False)
        self.labels, self.parameters_ = list(labels), tuple(float(p) for p in parameters)
        self.error = self.parameters_[-1]

    @property
    def names(self) -> list[str]:
        """``3J(HN,HA) ALA-2, ...``."""
        return self.labels

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds this."""
        rows = self.quadruples.tolist()
        parameters = list(self.parameters_)
        return {
            "type": "Couplings", "atoms": self.atoms, "quadruples": rows, "labels": self.labels,
            "parameters": parameters,
        }  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` to couplings ``(..., size)`` in Hz."""
        sine, cosine = torsion_sin_cos(self.checked(x), self.quadruples)
        a, b, c, phase, _ = self.parameters_
        turned = cosine * math.cos(math.radians(phase)) - sine * math.sin(math.radians(phase))
        return a * turned.square() + b * turned + c


@register
class InverseSixth(ForwardModel):
    r"""Averages of :math:`r^{-6}`, as the distance :math:`\langle r^{-6} \rangle^{-1/6}` or as a relaxation rate.

    Parameters
    ----------
    distances : dict
        Configuration of the distances.
    error : float
        In nm, or 1/s.
    rate : float, optional
        The relaxation rate over the average, in nm^6 / s. None: distances.
    """

    def __init__(self, distances: dict[str, Any], error: float, rate: float | None = None):
        lengths = Distances(**{k: v for k, v in distances.items() if k != "type"})
        super().__init__(lengths.size, lengths.atoms)
        self.distances, self.error, self.rate = lengths, float(error), rate
        self.unit = "nm" if rate is None else "1/s"

    @property
    def names(self) -> list[str]:
        """``NOE(H 8, HA 10)`` or ``PRE(...)``, with serial numbers from 1."""
        kind = "NOE" if self.rate is None else "PRE"
        return [f"{kind}({label})" for label in self.distances.labels]

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds this."""
        lengths = self.distances.config()
        return {"type": "InverseSixth", "distances": lengths, "error": self.error, "rate": self.rate}

    def forward(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` to ``r^-6``, ``(..., size)``, in 1/nm^6."""
        return self.distances(x).clamp_min(0.05) ** -6

    def measured(self, average: Tensor) -> Tensor:
        """Distances in nm, or rates in 1/s."""
        return average ** (-1 / 6) if self.rate is None else self.rate * average

    def check_frames(self, frames: Any) -> None:
        """See `Features.check_frames`."""
        self.distances.check_frames(frames)


def karplus(top: Any, kind: str = "HN,HA", parameters: str | Sequence[float] = "bax2007") -> Couplings:
    """Three-bond couplings across phi of every residue that has them.

    Parameters
    ----------
    top : topology
        path, topology of mdtraj or OpenMM, mdtraj trajectory or Frames.
    kind : str
        ``"HN,HA"``, ``"HN,C"`` or ``"HN,CB"``.
    parameters : str or five floats
        An author out of `KARPLUS`; or A, B, C in Hz, the phase in degrees and the standard deviation in Hz.

    Raises
    ------
    ConfigError
        There is no such kind or no such set of parameters.
    TopologyError
        No residue has this coupling.

    References
    ----------
    Vögeli, Ying, Grishaev, Bax, J. Am. Chem. Soc. 129, 9377 (2007); Hu, Bax, J. Am. Chem. Soc. 119, 6360 (1997);
    Schmidt, Blümel, Löhr, Rüterjans, J. Biomol. NMR 14, 1 (1999).

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> couplings = karplus(peptide("ACE-ALA-GLY-NME")[0], "HN,C")
    >>> couplings.names, couplings.unit, couplings.error
    (['3J(HN,C) ALA-2', '3J(HN,C) GLY-3'], 'Hz', 0.3)
    """
    if kind not in KARPLUS:
        raise ConfigError(f"no couplings are called {kind!r}; there are {', '.join(map(repr, KARPLUS))}")
    if isinstance(parameters, str):
        if parameters not in KARPLUS[kind]:
            raise ConfigError(
                f"no parameters of {kind} are called {parameters!r}; there are {', '.join(map(repr, KARPLUS[kind]))}, "
                "or give A, B, C (Hz), the phase (degrees) and the standard deviation (Hz)"
            )
        numbers: Sequence[float] = KARPLUS[kind][parameters]
    else:
        numbers = tuple(parameters)
        if len(numbers) != 5:
            raise ConfigError(f"parameters={numbers}: five numbers are A, B, C, the phase and the standard deviation")
        check_positive(**{"the standard deviation of the couplings": numbers[4]})
    topology, _ = read_topology(top)
    rows = [
        (row, f"3J({kind}) {label.partition(' ')[2]}")
        for row, label in find_torsions(topology, "phi")
        if topology.atom(row[2]).residue.name not in _WITHOUT[kind]
    ]
    if not rows:
        raise TopologyError(f"no residue of this molecule has a coupling {kind}")
    return Couplings(topology.n_atoms, [row for row, _ in rows], [label for _, label in rows], numbers)


def noe(
    top: Any, pairs: Sequence[Sequence[int]], error: float = 0.05, box: Literal[False] | None = None
) -> InverseSixth:
    r"""Distances of nuclear Overhauser effects, :math:`\langle r^{-6} \rangle^{-1/6}`, of pairs of atoms, in nm.

    The few frames in which two atoms are nearest make the average; :func:`bayescg.analysis.experiments` says how many
    they are worth.

    Parameters
    ----------
    top : topology
    pairs : sequence of (int, int)
        Atom indices, from 0.
    error : float
        Standard deviation of the forward model, nm.
    box : False, optional
        As of :func:`bayescg.features.distances`.

    Examples
    --------
    >>> import torch
    >>> from bayescg.systems import peptide
    >>> model = noe(peptide("ACE-ALA-NME")[0], [(7, 9)])
    >>> two = torch.tensor([0.2, 0.4]) ** -6
    >>> model.names, round(float(model.measured(two.mean())), 4)
    (['NOE(H 8, HA 10)'], 0.2239)
    """
    check_positive(error=error)
    return InverseSixth(distances(top, pairs=pairs, box=box).config(), error)


def pre(
    top: Any, pairs: Sequence[Sequence[int]], correlation_time: float, larmor: float = 600.0, error: float = 5.0
) -> InverseSixth:
    r"""Transverse relaxation of protons by a nitroxide's electron, 1/s.

    .. math:: \Gamma_2 = K \langle r^{-6} \rangle \left(4 \tau_c + \frac{3 \tau_c}{1 + \omega_H^2 \tau_c^2}\right)

    Parameters
    ----------
    top : topology
        With the atom that stands for the label's electron; rotamers of the label are not made here.
    pairs : sequence of (int, int)
        The label's atom and the proton, from 0.
    correlation_time : float
        Of the electron's and proton's vector, ps.
    larmor : float
        Frequency of protons, MHz.
    error : float
        Standard deviation of the forward model, 1/s.

    References
    ----------
    Battiste, Wagner, Biochemistry 39, 5355 (2000), eq. 1, with K = 1.23e-32 cm^6 / s^2.

    Examples
    --------
    >>> import torch
    >>> from bayescg.systems import peptide
    >>> model = pre(peptide("ACE-ALA-NME")[0], [(7, 9)], correlation_time=4000.0)
    >>> round(float(model.measured(torch.tensor(1.5**-6))), 1), model.unit
    (17.3, '1/s')
    """
    check_positive(correlation_time=correlation_time, larmor=larmor, error=error)
    tau, omega = correlation_time * 1e-12, 2 * math.pi * larmor * 1e6
    rate = _SPIN_LABEL * (4 * tau + 3 * tau / (1 + (omega * tau) ** 2))
    return InverseSixth(distances(top, pairs=pairs, box=False).config(), error, rate)
