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
# # Collective variables and free energies without data
#
# You have a force field and no trajectory. `EmbeddedPhysics` learns a generator of configurations from energies alone:
# it draws latent variables z, the collective variables, and configurations x given z, and is trained until its draws
# are those of the Boltzmann distribution. This notebook shows on two wells how that goes wrong, how to see it, and how
# it goes right. It takes two minutes on two CPU cores.

# %%
# %matplotlib inline
import os

import numpy as np
import torch
from matplotlib.figure import Figure

import bayescg as bcg
from bayescg.models import EmbeddedPhysics

QUICK = os.environ.get("BAYESCG_QUICK") == "1"  # everything small: how the test suite runs this notebook

# %% [markdown]
# ## Two wells
#
# A potential in the plane, energies in kT. The right well is 4.78 kT above the left one and holds less than a hundredth
# of the probability; 6.7 kT lie between it and the top of the barrier. Anything that torch can differentiate would do
# in its place: `bcg.systems.from_function(energy, dim=...)`, or `bcg.systems.alanine_dipeptide("amber96", "obc1")`.

# %%
system = bcg.systems.DoubleWell()
x1, x2 = np.meshgrid(np.linspace(-4, 4, 120), np.linspace(-3, 3, 90))
energy = system.energy(torch.tensor(np.stack([x1, x2], -1))).numpy()
figure = Figure(figsize=(5.2, 3.0), layout="constrained")
ax = figure.subplots()
lines = ax.contourf(x1, x2, energy - energy.min(), levels=np.arange(0, 21, 2), cmap="cividis", extend="max")
figure.colorbar(lines, label="energy (kT)")
ax.set(xlabel="x1", ylabel="x2")
figure

# %% [markdown]
# In two dimensions the answers are known: `bcg.truth` integrates.

# %%
left, right = (-10.0, 0.16745), (0.16745, 10.0)  # the barrier lies between them


def position(x):
    """The first coordinate, which tells the wells apart."""
    return x[:, 0]


exact = bcg.truth.free_energy(system, cv=position, bins=80).difference(left, right)
exact

# %% [markdown]
# ## How it goes wrong
#
# The loss is minus a bound on log Z, and the gap is the Kullback-Leibler divergence from the generator to the Boltzmann
# distribution. Leaving out a well that holds the fraction m of the probability costs m nats: here 0.008, next to
# nothing. Trained at the system's own temperature, with one Gaussian for z, the generator finds one well and stays.

# %%
settings = {"steps": 250, "batch_size": 100, "compile": "trace"} if QUICK else {"steps": 3000, "batch_size": 1000}
settings |= {"learning_rate": 5e-3, "seed": 0}
hidden = (16,) if QUICK else (32, 32)
cold = bcg.fit(EmbeddedPhysics(system, hidden=hidden, components=1, wake=0.0, beta_start=1.0), **settings)
samples = 20_000 if QUICK else 200_000
frames = bcg.analysis.reweighted(cold, samples)
bcg.analysis.free_energy(cold, frames, cv=position).difference(left, right)

# %% [markdown]
# No draw is in the right well. Nothing in the draws says that something is amiss: the importance weights, which turn
# averages over the generator into averages over the system, are nearly equal.

# %%
frames.provenance["pareto_k"]

# %% [markdown]
# ## How to see it
#
# Somebody else must look. The audit anneals particles from a broad density to the system, without knowing the fit, and
# asks how dense the generator is where they end.

# %%
reference = bcg.sampling.smc(system, islands=50, particles=50) if QUICK else None  # None: it makes its own
told = bcg.analysis.audit(cold, reference, samples=samples)
print(f"effective fraction of the draws   {told.ess_fraction:.3f}   (sees nothing)")
print(f"forward effective fraction        {told.forward_ess_fraction:.1e}")
low, high = told.missing_mass_ci90
print(f"missing probability               {told.missing_mass:.4f}, 90 % interval {low:.4f} to {high:.4f}")
for warning in told.warnings:
    print("warning:", warning)

# %% [markdown]
# ## How it goes right
#
# Three things keep the well. Training begins hot, where there are no wells, and cools in steps that the draws allow.
# z has a mixture of eight Gaussians, each with draws in every batch, so that one of them can hold a hundredth of the
# probability. And a part of the loss is the opposite divergence, which a lost well makes large.

# %%
fit = bcg.fit(EmbeddedPhysics(system, hidden=hidden), **settings)
fit.diagnostics["warnings"]

# %%
bcg.plot.loss(fit)

# %% [markdown]
# Every temperature was left when the loss had stopped falling, or, which the fit would tell above, when its share of
# the steps was used up.

# %%
stages = fit.diagnostics["tempering"]
figure = Figure(figsize=(4.6, 2.6), layout="constrained")
ax = figure.subplots()
ax.step([0, *(s["step"] for s in stages)], [*(s["beta"] for s in stages), 1.0], where="post", color="#0072B2")
ax.set(xlabel="step", ylabel="inverse temperature", yscale="log")
ax.spines[["top", "right"]].set_visible(False)
figure

# %% [markdown]
# The free energy comes from fresh draws with their weights. The interval is about these draws; the exact value is
# printed beside it.

# %%
frames = bcg.analysis.reweighted(fit, samples)
landscape = bcg.analysis.free_energy(fit, frames, cv=position)
print(landscape.difference(left, right), "exact:", exact)
bcg.plot.free_energy(landscape)

# %%
told = bcg.analysis.audit(fit, reference, samples=samples)
print(f"missing probability {told.missing_mass:.1e}, at most {told.missing_mass_ci90[1]:.1e}")
print("warnings:", *told.warnings or ["none"])

# %% [markdown]
# ## The collective variable
#
# The CV of a configuration is a distribution, read off by a reverse map that was trained with the generator. Here one
# number is enough, and it is a function of x1, as it should be: x2 only vibrates.

# %%
bcg.plot.cv(fit, frames, color=position)

# %% [markdown]
# ## How sure is the training?
#
# There are no data, so there is no posterior in the usual sense. What can be had is an ensemble: refits from fresh
# weights, trained side by side. Each gives an estimate of its own, and their spread holds the chance of its draws
# (sampling) as well as that of its training (parameter), which is next to nothing where the weights correct the
# generator as well as they do here. What all refits leave out, only the audit can tell.

# %%
few = (
    {"steps": 40, "batch_size": 32, "members": 3, "compile": "off"}
    if QUICK
    else {"steps": 1500, "batch_size": 500, "members": 8}
)
several = bcg.fit(EmbeddedPhysics(system, hidden=(16,)), uncertainty="ensemble", learning_rate=5e-3, seed=1, **few)
found = bcg.analysis.free_energy(several, bcg.analysis.reweighted(several, samples), cv=position).difference(
    left, right
)
print(found)
print({source: f"{sd:.5f} kT" for source, sd in found.sd_by_source.items()})

# %% [markdown]
# ## A molecule
#
# Of a molecule the generator makes bonds, angles and torsions, and the density of the physics has their volume element.
# `bayescg run alanine-dipeptide-embedded` does all of the above for alanine dipeptide in implicit water, and holds the
# populations that it finds to those of a long simulation; `bayescg run double-well` is this notebook.
