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
# # From all-atom forces to a coarse-grained simulation with error bars
#
# A coarse-grained (CG) model keeps a few beads of a molecule. The potential that gives them the right distribution is
# the potential of mean force, and its slope is an average of forces on atoms: force matching is a regression on noisy
# forces. This notebook goes the whole way for alanine dipeptide: beads, the forces on them, a check that these are
# right, a potential with the uncertainty of its parameters, and a simulation that carries it. It ends with
# all atoms around the beads of that simulation. It takes some eight minutes on two CPU cores.

# %%
# %matplotlib inline
import os
from dataclasses import replace

import numpy as np
import torch

import bayescg as bcg
from bayescg.models import Backmapping, ForceMatchingPotential

QUICK = os.environ.get("BAYESCG_QUICK") == "1"  # everything small: how the test suite runs this notebook

# %% [markdown]
# ## Frames of all atoms, with their forces
#
# Flexible bonds give the best forces to learn from: constraints hide a part of them. Hydrogens of 3 dalton bear time
# steps of 2 fs without; averages do not depend on masses. All trajectories run in one batch, and `forces=True` keeps
# forces in full precision beside each frame: a stiff bond turns the 0.001 nm that an XTC file rounds to into forces.

# %%
system = bcg.systems.alanine_dipeptide(temperature=330.0, hydrogen_mass=3.0)
chains, steps, stride = (32, 500, 50) if QUICK else (256, 15_000, 100)
starts = bcg.sampling.parallel_tempering(
    system, 20 if QUICK else 200, dt=0.002, leapfrog=25, temperatures=[330.0, 450.0, 600.0], chains=chains, stride=20
)
starts = starts.positions.reshape(chains, -1, 22, 3)[:, -1]
frames = bcg.sampling.langevin(
    system, steps, dt=0.002, friction=5.0, starts=starts, stride=stride, equilibration=500, forces=True
)
frames

# %% [markdown]
# ## Beads
#
# Five atoms of the backbone, by name and residue. A mapping is a linear map with a topology: torsions of the beads are
# found by name, and neighbours along the chain are bonded. `beads(system, "CA")` would take one for each residue,
# `beads(system, "residues")` centres of mass, and a matrix is taken as it is.

# %%
mapping = bcg.features.beads(system, ["C ACE", "N ALA", "CA ALA", "C ALA", "N NME"])
mapping, mapping.topology, bcg.features.torsions(mapping.topology).names

# %% [markdown]
# ## Forces on the beads
#
# Many combinations of the forces on atoms have the same mean force on the beads, and differ in their noise. `"slice"`
# takes those on the beads' own atoms, `"basic"` adds the hydrogens that hang on them, `"optimal"` finds the combination
# of all atoms that is smallest in mean square. It is fitted on either half of the blocks of frames and used on the
# other, so that it does not profit from the noise of the frames it serves.

# %%
for aggregation in ("slice", "basic", "optimal"):
    forces = bcg.sampling.mapped_forces(frames, system, mapping, aggregation)
    square = np.mean(forces.provenance["mapped"]["mean_square_forces"])
    print(f"{aggregation:8} mean square {square / 1e6:.2f} · 10⁶ (kJ/mol/nm)²")
forces

# %% [markdown]
# ## Are these forces right?
#
# No model is needed to see. At equilibrium, forces and positions obey an identity, pair by pair, from which a
# temperature follows; it has to be that of the simulation. Right forces fail in one of a hundred data sets.

# %%
bcg.analysis.stein_check(forces)

# %% [markdown]
# What would have shown: forces in kcal/mol, and forces that stand with the next frame.

# %%
for spoilt in (forces.forces / 4.184, np.roll(forces.forces, 1, axis=0)):
    print(bcg.analysis.stein_check(replace(forces, forces=spoilt)).cause)

# %% [markdown]
# ## The potential
#
# U is a prior energy, springs along bonds and angles and a repulsion, plus a network of distances, angles and torsions.
# The forces are normal about minus its slope, with a width for each bead that is learned: most of it is not error, but
# what the atoms without a bead do. `"laplace"` gives the parameters a Gaussian posterior by the curvature of this
# likelihood.

# %%
train, test = forces.split(blocks=20, test=0.1, seed=0)
settings = {"steps": 3000, "batch_size": 512, "learning_rate": 3e-3}
if QUICK:
    settings = {"steps": 40, "batch_size": 64, "compile": "off"}
model = ForceMatchingPotential(mapping, prior="bonded", hidden=(8,) if QUICK else (32, 32))
fit = bcg.fit(model, train, uncertainty="laplace", seed=0, **settings)
fit.diagnostics["warnings"]

# %%
bcg.plot.loss(fit)

# %% [markdown]
# ## A simulation that carries the uncertainty
#
# What is fitted is a system: every sampler takes it. `fit.system()` has the trained parameters, `fit.system(draw=3)`
# those of one draw of the posterior, and `fit.system(draws=10)` ten draws at once, among which chains are divided.
# A bead weighs 1 dalton, which is fast; averages do not depend on it.

# %%
draws, replicas = (4, 16) if QUICK else (10, 200)
coarse = bcg.sampling.langevin(
    fit.system(draws=draws),
    200 if QUICK else 6_000,
    dt=0.001,
    friction=5.0,
    starts=train.gather(bcg.data.evenly(train, replicas)),
    stride=20 if QUICK else 200,
    equilibration=20 if QUICK else 1_000,
)
coarse

# %% [markdown]
# ## Beside all atoms
#
# The question that `bayescg run alanine-dipeptide-cg` asks: do Ramachandran plots and populations agree within their
# errors? The error of the coarse-grained numbers is the spread over the draws of the potential; the difference has
# intervals that hold for all basins at once. The run also says where forces are less certain than training ever saw.

# %%
basins = {
    "beta": {"phi": [120.0, 0.0], "psi": [60.0, -120.0]},
    "alpha": {"phi": [120.0, 0.0], "psi": [-120.0, 60.0]},
}
finding = bcg.questions.ask(
    fit, forces, "coarse_against_all_atom", train=train, simulated=coarse, torsions=["phi", "psi"], basins=basins,
    plane_bins=12 if QUICK else 36,
)  # fmt: skip
finding

# %%
finding.figures["coarse_grained"].draw()

# %%
for row in finding.tables["Populations"].rows:
    print(*row, sep="  |  ")
print(*finding.remarks["Coarse-grained against all-atom"])

# %% [markdown]
# Read it with suspicion. Where a difference is larger than the parameters and the length of the simulation explain, the
# last column says NO: of 8 ns of frames and a short training, the fit's own warning above says that it stopped short of
# its optimum, and 7 ps of beads hardly cross between basins. The experiment learns from 205 ns: there the plots differ
# by 0.004 nats, and the two populations agree; that of the rare basin on the right, which hardly a frame leads to, does
# not, as its last column says.
#
# ## Where it does not know
#
# Force matching cannot know about regions that no frame visited. Bands of the forces show it: here with the beads
# pulled apart, frame by frame, until the potential is out of its depth.

# %%
stretched = [replace(forces[:20], positions=(1 + s) * forces.positions[:20]) for s in (0.0, 0.05, 0.1, 0.2)]
for s, part in zip((0, 5, 10, 20), stretched, strict=True):
    bands = bcg.analysis.force_bands(fit, part, draws=20)
    print(f"{s:3d} % larger: forces uncertain by {np.median(bands.forces_sd):.0f} kJ/mol/nm, "
          f"{bands.beyond.mean():.0%} of the frames beyond what training saw")  # fmt: skip

# %% [markdown]
# ## Free energies with bands
#
# Any analysis takes the coarse-grained frames. Along ψ, of all atoms and of the beads:

# %%
bcg.plot.free_energy(bcg.analysis.free_energy(None, forces, cv="psi", bins=24))

# %%
bcg.plot.free_energy(bcg.analysis.free_energy(None, coarse, cv="psi", bins=24))

# %% [markdown]
# ## Back to all atoms
#
# Beads say nothing of hydrogen bonds. `Backmapping` learns where the other atoms are, given the beads: a density, as
# many conformations have the same beads. Atoms drawn from it around the beads of the coarse-grained simulation make
# frames of all atoms, of which each draw of the potential has its share. Of beads that lie far from all that it was
# trained on it says so.

# %%
settings = {"steps": 10, "batch_size": 64, "compile": "off"} if QUICK else {"steps": 1000, "batch_size": 256}
sizes = {"layers": 1, "bins": 4, "hidden": (8,)} if QUICK else {}
back = bcg.fit(Backmapping(mapping, **sizes), frames, uncertainty="none", seed=0, **settings)
beads = train if QUICK else coarse  # a potential that hardly learned takes beads to where no atoms were seen
atoms = bcg.sampling.backmapped(back, beads)
atoms

# %%
bcg.plot.backmapped(atoms, frames)

# %%
hydrogen_bond = bcg.features.distances(atoms, [[5, 17]])  # O of the acetyl group, H of the methylamide
for name, run in (("all atoms", frames), ("placed around beads", atoms)):
    bonded = hydrogen_bond(torch.as_tensor(run.gather(slice(None)))) < 0.25
    print(f"{name:20} {float(bonded.double().mean()):.1%} with a hydrogen bond of C7")
