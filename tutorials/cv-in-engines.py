# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A learned CV inside OpenMM and PLUMED
#
# A collective variable is of use where it can be biased, in the engine that you simulate with. This notebook learns the
# committor of a reaction of alanine dipeptide in vacuum, hands it to OpenMM as a formula that needs no Python while it
# runs, looks whether it is the same CV to the last digit, runs well-tempered metadynamics along it, and writes it as a
# folder for PLUMED. It takes some minutes on one CPU core.

# %%
# %matplotlib inline
import os
import tempfile
from pathlib import Path

import numpy as np
import openmm
import torch
from matplotlib.figure import Figure
from openmm import app, unit

import bayescg as bcg
from bayescg.models import MultitaskCV

QUICK = os.environ.get("BAYESCG_QUICK") == "1"  # everything small: how the test suite runs this notebook

# %% [markdown]
# ## What is learned
#
# In vacuum the molecule lives in two basins, C7eq and C7ax, which differ in the torsion $\varphi$. Hot dynamics visits
# what lies between them; thinned, its frames cover the plane of $\varphi$ and $\psi$ evenly. From each of them some
# trajectories are shot at 300 K, and the basin that each reaches first is counted.

# %%
system = bcg.systems.alanine_dipeptide("amber14", solvent=None, temperature=300.0, hydrogen_mass=3.0)
plane = bcg.features.torsions(system)  # sines and cosines of phi and psi


def angles(x):
    """Phi and psi in degrees, (n, 2)."""
    y = plane(torch.as_tensor(x))
    return torch.rad2deg(torch.atan2(y[:, 0::2], y[:, 1::2]))


def basin(phi, psi, radius):
    """Whether positions lie in a disc around a minimum."""
    centre = torch.tensor([phi, psi])
    return lambda x: ((angles(x) - centre + 180.0) % 360.0 - 180.0).square().sum(1) < radius**2


regions = {"C7eq": basin(-100.0, 100.0, 70.0), "C7ax": basin(63.0, -55.0, 40.0)}
hot = {"chains": 64, "steps": 1500} if QUICK else {"chains": 192, "steps": 6000}
dynamics = {"dynamics": "langevin", "friction": 5.0, "compile": "trace", "progress": False}
starts = bcg.sampling.flattened(
    system, 60 if QUICK else 600, cv=angles, bins=18, heat=1000 / 300, dt=0.001, stride=25, seed=0, **hot, **dynamics
)
shots = bcg.sampling.commitment(system, starts, regions, shots=2 if QUICK else 8, dt=0.002, seed=1, **dynamics)
shots

# %% [markdown]
# The model reads four torsions through a small network: two hidden layers of 16. Up to (24, 24) an engine can take it
# as a formula. `uncertainty="none"` fits once; of an ensemble of refits, `refits=False` exports the trained values
# alone. As something to bias along they are as good, and much cheaper: reweighting mends what the CV lacks.

# %%
features = bcg.features.chain(plane, bcg.features.torsions(system, [(1, 4, 6, 8), (8, 14, 16, 18)]))
width = 4 if QUICK else 16
model = MultitaskCV(features, latent_dim=1, tasks=("commitments",), regions=tuple(regions), hidden=(width, width))
settings = {"steps": 100 if QUICK else 2000, "uncertainty": "none", "compile": "trace", "progress": False}
fit = bcg.fit(model, shots, seed=0, **settings)
z, where = fit.cv(shots).mean[:, 0].numpy(), angles(shots.positions).numpy()

figure = Figure(figsize=(5, 4), layout="constrained")
axes = figure.subplots()
points = axes.scatter(*where.T, c=1 / (1 + np.exp(-z)), cmap="coolwarm", s=12, vmin=0, vmax=1)
figure.colorbar(points, label="probability to reach C7ax first")
axes.set(xlabel=r"$\varphi$ / degrees", ylabel=r"$\psi$ / degrees", title="The learned committor")
figure

# %% [markdown]
# ## In OpenMM
#
# `to_openmm` gives a force whose energy is the CV, for OpenMM to differentiate. Torsions and distances are OpenMM's
# own; the network is text. `top=` checks that the atoms of your simulation are those of the fit; where the fit knows
# only some of them, `atoms=` says which. If features or network are too much for a formula, it is a `PythonForce`
# (OpenMM 8.6) that calls torch in every step: the same numbers, tens of times slower.

# %%
variable = bcg.export.to_openmm(fit, "z1", top=system)
text = variable.getEnergyFunction()
type(variable).__name__, variable.getNumCollectiveVariables(), f"{len(text):,} characters: {text[:60]}..."

# %% [markdown]
# The check that matters: values and gradients over all frames, against the fit itself in double precision.

# %%
reference = openmm.Platform.getPlatform("Reference")
alone = openmm.System()
for _ in range(22):
    alone.addParticle(12.0)
alone.addForce(variable)
context = openmm.Context(alone, openmm.VerletIntegrator(0.001), reference)

values, slopes = [], []
for x in shots.positions.astype(float):
    context.setPositions(x)
    state = context.getState(energy=True, forces=True)
    values.append(state.getPotentialEnergy()._value)
    slopes.append(-state.getForces(asNumpy=True)._value)

fit.model.double()
x = torch.tensor(shots.positions, dtype=torch.float64, requires_grad=True)
exact = fit.model.cv(x).mean[:, 0]
(exact_slopes,) = torch.autograd.grad(exact.sum(), x)
fit.model.float()
errors = np.abs(values - exact.detach().numpy()), np.abs(slopes - exact_slopes.numpy()).max((1, 2))

figure = Figure(figsize=(5, 3.5), layout="constrained")
axes = figure.subplots()
for error, label in zip(errors, ("value", "gradient, 1/nm"), strict=True):
    axes.plot(exact.detach(), np.maximum(error, 1e-17), ".", label=label)
axes.set(yscale="log", xlabel="the CV, the logit of the committor", ylabel="OpenMM against torch")
axes.legend()
figure

# %% [markdown]
# ## Metadynamics along it
#
# The force is a variable like any other of OpenMM: here of `app.Metadynamics`, as well of an umbrella
# (`CustomCVForce("0.5*k*(z-z0)^2")`) or of OPES (the package `openmm-opes`). Beyond the ends of the grid there is no
# bias; they are taken from the frames, with a margin.

# %%
low, high = np.quantile(z, (0.01, 0.99)) + np.array([-3.0, 3.0])
biased = openmm.XmlSerializer.deserialize(openmm.XmlSerializer.serialize(system.openmm_system))
along = app.BiasVariable(bcg.export.to_openmm(fit, "z1", top=system), low, high, 0.5, False, gridWidth=300)
metadynamics = app.Metadynamics(biased, [along], 300 * unit.kelvin, 8.0, 1.0, 250)
integrator = openmm.LangevinMiddleIntegrator(300, 5.0, 0.002)
integrator.setRandomNumberSeed(1)
simulation = app.Simulation(system.topology, biased, integrator, reference)
simulation.context.setPositions(system.start)
trajectory, visited = [], []
for _ in range(20 if QUICK else 2400):
    metadynamics.step(simulation, 125)
    trajectory.append(metadynamics.getCollectiveVariables(simulation)[0])
    visited.append(simulation.context.getState(positions=True).getPositions(asNumpy=True)._value)
visited = np.array(visited)
times = 0.25e-3 * np.arange(1, len(visited) + 1)

basins = np.select([regions["C7eq"](torch.tensor(visited)), regions["C7ax"](torch.tensor(visited))], [-1, 1])
crossings = int((np.diff(basins[basins != 0]) != 0).sum())

figure = Figure(figsize=(7, 3), layout="constrained")
axes = figure.subplots()
axes.plot(times, trajectory, lw=0.4)
axes.set(xlabel="time / ns", ylabel="the CV", title=f"{crossings} passages between the basins")
figure

# %% [markdown]
# What the bias has filled is the free energy along the CV; the
# plane of the torsions, visited on both sides, shows that the CV left no gap.

# %%
grid = np.linspace(low, high, 300)
profile = metadynamics.getFreeEnergy().value_in_unit(unit.kilojoule_per_mole) / 2.494

figure = Figure(figsize=(8, 3.2), layout="constrained")
left, right = figure.subplots(1, 2)
left.plot(grid, profile - profile.min())
left.set(xlabel="the CV", ylabel="free energy / kT")
right.scatter(*angles(visited).numpy().T, c=times, s=3)
right.set(xlabel=r"$\varphi$ / degrees", ylabel=r"$\psi$ / degrees", xlim=(-180, 180), ylim=(-180, 180))
figure

# %% [markdown]
# ## In PLUMED
#
# `to_plumed` writes a folder. `plumed.dat` has the CV in PLUMED's own actions (`TORSION`, `CUSTOM`, and `ANN` for the
# network), so that neither torch nor bayescg is needed where it runs, nor a PLUMED that was built with libtorch. For
# one that was, `cv.pt` is the same network as TorchScript.

# %%
folder = bcg.export.to_plumed(fit, Path(tempfile.mkdtemp()) / "cv", top=system, frames=shots)
print(*sorted(path.name for path in folder.iterdir()), sep="\n")
print()
print("\n".join(line[:100] for line in (folder / "plumed.dat").read_text().splitlines()[:12]))

# %% [markdown]
# Before a long run, let your PLUMED show that it computes the same CV: the command is in the head of `plumed.dat`, and
# what it prints must be what is in `COLVAR.expected`. Then bias: one more line is enough,
# `OPES_METAD ARG=z1 PACE=500 BARRIER=40 TEMP=300`.

# %% [markdown]
# ## What to keep in mind
#
# - An exported CV is frozen. Reweight what it biased, and look whether passages go both ways; a CV that has missed a
#   slow motion gives a smooth, wrong profile (`bcg.analysis.mixing` of an umbrella run tells).
# - Values of a CV mean nothing across fits, but for the logit of a committor. Compare free energies of basins, not
#   heights along z.
# - A `PythonForce` in an XML file is a pickle, and TorchScript is a program: read neither from strangers. Native XML
#   and `plumed.dat` are text.
# - Of a run of the command line: `bayescg export DIR --to plumed`.
