"""A CV or a potential as a force of OpenMM: native where a CV has a short expression, a function in Python else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch

from bayescg.errors import ConfigError, ModelError
from bayescg.export.atoms import checked_atoms
from bayescg.export.cv_network import CVNetwork
from bayescg.export.elementary import Term, elementary
from bayescg.export.fitted_network import agreeing, features_of, network_of
from bayescg.export.lepton import expression
from bayescg.export.potential_force import potential_force
from bayescg.export.python_force import python_force
from bayescg.inference import Fit
from bayescg.inference.fitted_system import FittedSystem
from bayescg.modelling import HasPotential

__all__ = ["to_openmm"]

_VARIABLES = 32
"""What a CustomCVForce can have."""
_FEW = 4
"""Features up to which two hidden layers are quicker to differentiate by these than by what enters the first layer."""
_PRODUCT = 24 * 24
"""Of the widths of two hidden layers: OpenMM takes some 10 s to differentiate them, which grows with its square."""


def to_openmm(
    fit: Fit | FittedSystem,
    output: str = "z1",
    *,
    top: Any = None,
    atoms: Sequence[int] | None = None,
    refits: bool = True,
    native: bool | None = None,
) -> Any:
    """A force whose energy is a CV of a fit, 1 kJ/mol standing for 1; or the potential energy that a fit has learned.

    The force of a potential is an ``openmm.PythonForce`` in double precision: add it to a system of masses alone. A
    CV's is meant to be the variable of a bias: of an ``openmm.CustomCVForce("0.5*k*(z-z0)^2")``, of a
    ``openmm.app.BiasVariable`` of metadynamics, or of OPES (the package `openmm-opes`). Added to a system as it is, it
    pushes the CV down.

    It is a native expression, exact, fast on every platform and plain text in an XML file, where the features are
    torsions, distances and contacts and the network is small: one hidden layer, or two of at most 24 units, of a fit
    without refits or of its trained values (``refits=False``). Making a Context then takes some 10 s at most. All else
    is an ``openmm.PythonForce``: any features of bayescg, any network, any number of refits, at the cost of a call of
    torch in every step. It needs OpenMM 8.6, and bayescg wherever it runs; an XML file of it is a pickle, which can
    execute anything when it is read.

    Distances that were fitted in a periodic box are natively those to the nearest image in the box of the simulation,
    in a PythonForce in the box of the fit.

    Parameters
    ----------
    fit : Fit
        Of a model whose CVs are a network of features, `bayescg.modelling.HasNetwork`, or that has a potential,
        `HasPotential`; of which ``fit.system(draw=3)`` is one draw of the posterior. What follows is about CVs.
    output : str
        ``"z1"``, ``"z2"``, ..., the means of ``fit.cv``; or ``"sd1"``, ..., the standard deviations, where the CVs have
        any that are not zero.
    top : topology, optional
        That of the simulation, to check that the atoms of the features are the same there.
    atoms : sequence of int, optional
        The number in the simulation of each atom that the fit knows, where it knows only some: the atoms of
        ``load(select=...)``, say. Default: the same numbers.
    refits : bool
        Whether the CV is the mean over the refits of an ensemble or bootstrap, as ``fit.cv`` is; or that of the trained
        values alone, which is as good a CV to bias, and cheaper.
    native : bool, optional
        Insist on a native expression (True), however long it takes, or on a PythonForce (False).

    Returns
    -------
    openmm.CustomCVForce or openmm.PythonForce

    Raises
    ------
    ModelError
        The fit has no CVs that can be exported, or not natively, and this was asked for.
    ConfigError
        There is no such output, this OpenMM has no PythonForce and one is needed, or `atoms` do not fit.
    TopologyError
        The atoms of the simulation are others.

    Examples
    --------
    >>> import openmm, numpy as np, bayescg as bcg
    >>> from bayescg.models import PredictiveCV
    >>> system = bcg.systems.alanine_dipeptide()
    >>> frames = bcg.data.Frames.from_numpy(
    ...     system.start + 0.01 * np.random.default_rng(0).normal(size=(100, 22, 3)), unit="nm", temperature=300.0
    ... )
    >>> model = PredictiveCV(bcg.features.torsions(system), latent_dim=1, hidden=(8,))
    >>> fit = bcg.fit(model, frames, steps=2, uncertainty="none", progress=False)
    >>> variable = to_openmm(fit, top=system)
    >>> bias = openmm.CustomCVForce("0.5*k*(z-z0)^2")
    >>> bias.addCollectiveVariable("z", variable)
    0
    >>> [bias.addGlobalParameter(name, value) for name, value in (("k", 10.0), ("z0", 0.0))]
    [0, 1]
    """
    if isinstance(fit, FittedSystem):
        return potential_force(fit, None, top, atoms)
    if isinstance(getattr(fit, "model", None), HasPotential):
        return potential_force(fit.system(), fit.frames, top, atoms)
    features, network = features_of(fit), network_of(fit, refits)
    if output not in network.outputs:
        raise ConfigError(f"this fit has no output {output!r}; there are {', '.join(network.outputs)}")
    numbers = checked_atoms(int(features.atoms or 0), fit.frames, top, atoms)
    if fit.frames is not None:
        agreeing(fit, network, torch.as_tensor(fit.frames.gather(slice(0, 20))), refits)
    try:
        terms, reason = elementary(features), _too_long(network)
    except ModelError as error:
        terms, reason = None, str(error)
    if native and terms is None:
        raise ModelError(reason)
    if native and network.refits > 1:
        raise ModelError(
            f"the CVs of {network.refits} refits have no native expression; those of the trained values have, "
            "refits=False"
        )
    if terms is not None and (native or (native is None and not reason)):
        return _native(network, terms, network.outputs.index(output), numbers)
    return python_force(features, network, output, numbers, reason)


def _too_long(network: CVNetwork) -> str:
    """Why a native expression is too long, if it is."""
    hidden = network.hidden
    if network.refits > 1:
        return f"{network.refits} refits are too much for a native expression (refits=False: the trained values alone)"
    if len(hidden) > 2 or (len(hidden) == 2 and hidden[0] * hidden[1] > _PRODUCT) or max(hidden, default=0) > 256:
        return f"hidden layers of {', '.join(map(str, hidden))} units are too much for a native expression"
    return ""


def _native(network: CVNetwork, features: list[list[Term]], output: int, numbers: list[int]) -> Any:
    import openmm

    layers = [(w[0], b[0], a) for w, b, a in network.layers]
    weight, bias, _ = layers[-1]
    layers[-1] = weight[output : output + 1], bias[output : output + 1], "linear"  # means, then logarithms of widths
    variables = [[(1.0, feature)] for feature in features]
    entering = len(layers[0][1])
    if len(features) > _VARIABLES or (len(layers) > 2 and len(features) > _FEW and entering <= _VARIABLES):
        if entering > _VARIABLES:
            raise ModelError(
                f"{len(features)} features and a first layer of {entering} units are too many for a native expression, "
                f"which takes {_VARIABLES} of either; use native=False, or fewer features or units"
            )
        variables = [list(zip(row, features, strict=True)) for row in layers[0][0].tolist()]
        layers[0] = torch.eye(entering, dtype=torch.float64), *layers[0][1:]
    names = [f"f{i + 1}" for i in range(len(variables))]
    text = expression(layers, names, 0)
    force = openmm.CustomCVForce(text if output < network.latent_dim else f"exp(8*tanh(raw/8));raw={text}")
    for name, parts in zip(names, variables, strict=True):
        force.addCollectiveVariable(name, _summed([(w / len(f), term) for w, f in parts for term in f], numbers))
    force.setName("bayescg CV")
    return force


def _summed(weighted: list[tuple[float, Term]], numbers: list[int]) -> Any:
    """One force whose energy is a weighted sum of elementary terms."""
    import openmm

    quadruples: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
    pairs: dict[tuple[str, bool], list[tuple[float, Term]]] = defaultdict(list)
    for weight, term in weighted:
        if len(term.atoms) == 4:
            quadruples[term.atoms][term.function == "cos(x)"] += weight
        else:
            pairs[term.function, term.periodic].append((weight, term))
    forces: list[Any] = []
    if quadruples:
        forces.append(openmm.CustomTorsionForce("sine*sin(theta)+cosine*cos(theta)"))
        for name in ("sine", "cosine"):
            forces[-1].addPerTorsionParameter(name)
        for row, factors in quadruples.items():
            forces[-1].addTorsion(*(numbers[i] for i in row), factors)
    for (function, periodic), terms in pairs.items():
        forces.append(openmm.CustomBondForce(f"weight*({function});x=r"))
        forces[-1].setUsesPeriodicBoundaryConditions(periodic)
        for name in ("weight", *terms[0][1].parameters):
            forces[-1].addPerBondParameter(name)
        for weight, term in terms:
            forces[-1].addBond(*(numbers[i] for i in term.atoms), [weight, *term.parameters.values()])
    if len(forces) == 1:
        return forces[0]
    total = openmm.CustomCVForce("+".join(f"part{i}" for i in range(len(forces))))
    for i, force in enumerate(forces):
        total.addCollectiveVariable(f"part{i}", force)
    return total
