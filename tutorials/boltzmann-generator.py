# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Boltzmann generators: independent draws, from energies and from data
#
# A Boltzmann generator is an invertible network, a flow, that turns Gaussian noise into configurations. Its density is
# known exactly, so that every draw has an exact weight, and averages with these weights are averages over the system.
# This notebook trains one on three wells around a ring: from energies alone, and from a trajectory that has seen one
# well. It takes two minutes on two CPU cores.

# %%
# %matplotlib inline
import os

import numpy as np
import torch
from matplotlib.figure import Figure

import bayescg as bcg
from bayescg.models import BoltzmannGenerator

QUICK = os.environ.get("BAYESCG_QUICK") == "1"  # everything small: how the test suite runs this notebook

# %% [markdown]
# ## Three wells
#
# Two deep wells, 120 degrees apart, and a shallow one between them. At this temperature the system spends most of its
# time in the deep ones.

# %%
system = bcg.systems.ThreeWellRing(dim=2, temperature_kT=0.15)
grid = np.stack(np.meshgrid(np.linspace(-1.8, 1.8, 120), np.linspace(-1.8, 1.8, 120)), -1)
energy = system.energy(torch.tensor(grid)).numpy() / system.kT


def draw(*clouds):
    """The energy, and configurations on it: title, x and colour of each panel."""
    figure = Figure(figsize=(3.4 * len(clouds), 3.2), layout="constrained")
    axes = np.ravel(figure.subplots(1, len(clouds), sharey=True))
    for ax, (title, x, colour) in zip(axes, clouds, strict=True):
        lines = ax.contourf(
            *grid.T, (energy - energy.min()).T, levels=np.arange(0, 16, 1.5), cmap="Greys_r", extend="max"
        )
        ax.plot(*np.asarray(x)[:1500].T, ".", ms=2.5, color=colour)
        ax.set(title=title, xlabel="x1", xlim=(-1.8, 1.8), ylim=(-1.8, 1.8), aspect="equal")
    axes[0].set_ylabel("x2")
    figure.colorbar(lines, ax=axes, label="energy (kT)")
    return figure


exact = bcg.sampling.equilibrium(system, 5_000 if QUICK else 20_000)
draw(("exact draws", exact.positions, "#E69F00"))

# %%
log_z = bcg.truth.log_partition(system)
log_z

# %% [markdown]
# ## From energies alone
#
# At first, hot, the flow is trained by the divergence from itself to the Boltzmann distribution, for which draws of its
# own are enough. That divergence would lose wells if it went on while the system cools. So each lower temperature is
# learned from a buffer of draws, weighted from one temperature to the next: what was found stays found.

# %%
small = {"layers": 3, "hidden": (16,), "buffer": 2_000, "cess": 0.7} if QUICK else {"layers": 6, "buffer": 20_000}
settings = {"steps": 100, "batch_size": 128, "compile": "off"} if QUICK else {"steps": 1500, "batch_size": 512}
settings |= {"learning_rate": 5e-3, "seed": 0}
fit = bcg.fit(BoltzmannGenerator(system, beta_start=0.05, **small), **settings)
print("temperatures:", *(f"{stage['beta']:.2f}" for stage in fit.diagnostics["tempering"]))
print("warnings:", *fit.diagnostics["warnings"] or ["none"])

# %%
bcg.plot.loss(fit)

# %% [markdown]
# What the flow draws, before any weight, and what remains of it when each draw is kept as often as its weight says.

# %%
samples = 20_000 if QUICK else 200_000
frames = bcg.analysis.reweighted(fit, samples)
weights = np.asarray(frames.weights)
kept = np.random.default_rng(0).choice(len(frames), 1500, p=weights / weights.sum())
draw(
    ("generated", fit.generate(1500, seed=1)[0].numpy(), "#56B4E9"),
    ("reweighted", frames.positions[kept], "#009E73"),
)

# %% [markdown]
# The weights give the partition function, and their own quality: how many draws they are worth, and Pareto k, which
# should be below 0.7. The audit compares with a sample that the fit did not make, here the exact one; without any, it
# would anneal particles from a broad density.

# %%
told = bcg.analysis.audit(fit, exact, samples=samples)
print(f"log Z                 {told.log_z:.4f} ± {told.log_z_sd:.4f}, exactly {log_z.value:.4f}")
print(f"effective fraction    {told.ess_fraction:.2f}, Pareto k {told.pareto_k:.2f}")
print(f"missing probability   {told.missing_mass:.1e}, at most {told.missing_mass_ci90[1]:.1e}")
print("warnings:", *told.warnings or ["none"])

# %% [markdown]
# Free energies have intervals, from the scatter of blocks of draws. Here, of the angle on the ring:


# %%
def angle(x):
    """Angle on the ring, rad."""
    return torch.atan2(x[:, 1], x[:, 0])


angle.unit = "rad"
landscape = bcg.analysis.free_energy(fit, frames, cv=angle, bins=40)
deep, shallow = (np.pi / 3, np.pi), (-np.pi / 3, np.pi / 3)
print(landscape.difference(deep, shallow))
print("exact:", bcg.truth.free_energy(system, cv=angle, bins=80).difference(deep, shallow))
bcg.plot.free_energy(landscape)

# %% [markdown]
# ## From data
#
# The other way to train a flow is maximum likelihood, from frames. Suppose that a trajectory has seen one well only.

# %%
start = np.tile([[-0.5, 0.87]], (20, 1))
trajectory = bcg.sampling.langevin(
    system, 200 if QUICK else 2000, chains=20, dt=0.002, starts=start, stride=10, seed=0, progress=False
)
by_data = bcg.fit(BoltzmannGenerator(system, **small), trajectory, **settings)
draw(
    ("frames", trajectory.positions, "#E69F00"),
    ("generated", by_data.generate(1500, seed=1)[0].numpy(), "#56B4E9"),
)

# %% [markdown]
# The generator repeats the well that it was shown. Weights cannot bring back what is never drawn; the audit says what
# is missing.

# %%
told = bcg.analysis.audit(by_data, exact, samples=samples)
print(f"effective fraction    {told.ess_fraction:.2f}")
print(f"missing probability   {told.missing_mass:.2f}")
for warning in told.warnings:
    print("warning:", warning)

# %% [markdown]
# So data of all wells may be used alone, or together with energies (`energy_weight=`); data of some wells call for
# annealing from a temperature at which there are none.
#
# Of a molecule, the flow makes bonds, angles and torsions, the latter on circles:
# `bayescg run alanine-dipeptide-boltzmann`.
