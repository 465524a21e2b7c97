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
# # From short trajectories to a long one with a step of a sixth of the period
#
# A network that predicts where all particles are one long time step later is fast, and heats the system up or lets it
# freeze: nothing makes it conserve anything. `ActionMap` learns one number, the action of a step, and the step follows
# from it by differentiation. Whatever was learned, well or badly, the step is then exactly symplectic and reversible,
# and its energy does not drift. The posterior of the action is known in closed form, so that every step has an error
# bar, and every draw is such an integrator of its own. This notebook goes from short trajectories to a long one, and
# asks how far it is to be trusted. It takes two minutes on one CPU core.

# %%
# %matplotlib inline
import os

import numpy as np
import torch
from matplotlib.figure import Figure

import bayescg as bcg
from bayescg.models import ActionMap, DirectMap

QUICK = os.environ.get("BAYESCG_QUICK") == "1"  # everything small: how the test suite runs this notebook

# %% [markdown]
# ## Short trajectories
#
# Hénon and Heiles's oscillator: two coordinates, periods of about 6, orbits that are regular at low energy and chaotic
# at high. From each of 300 states one trajectory of length 1, accurate to rounding, gives pairs of states .25, .5 and 1
# apart. For a molecule, give its system and a number of starts, which are drawn from the canonical ensemble:
# `bcg.sampling.short_trajectories(system, 1000, lag=0.002)`.

# %%
system = bcg.systems.HenonHeiles()
lags = (0.25, 0.5, 1.0)
pairs = bcg.sampling.short_trajectories(system, system.shell(60 if QUICK else 300, seed=0), lag=lags, accuracy=1e-10)
pairs

# %% [markdown]
# ## The action
#
# The terms of the action to third order in the step are known from the energy; what is learned is the rest. There is no
# training to watch: the weights have a Gaussian posterior in closed form. Its width is set by pairs that were left out,
# so that intervals hold as often as they say. Are they right for states that the fit has not seen?

# %%
fit = bcg.fit(ActionMap(system, waves=60 if QUICK else 300), pairs, seed=0)
q, p = system.shell(200, seed=1)
later = bcg.sampling.short_trajectories(system, (q, p), lag=1.0, accuracy=1e-10)
step = fit.map()
off = step.step(q, p, 1e-12).q.numpy() - later.frames.gather(later.j)
sd = step.spread(q, p).q.numpy()
print(f"off by {np.sqrt((off**2).mean()):.1e}, said to be {np.sqrt((sd**2).mean()):.1e}")
print(f"{np.mean(np.abs(off) < 1.645 * sd):.0%} of {off.size} coordinates are in their 90 % intervals")

# %% [markdown]
# ## Long trajectories, with error bars
#
# `mapped_dynamics` follows states through thousands of such steps. The equation for a step is implicit, and solved by
# iteration to the tolerance that is asked for, to which the structure is exact. Five draws of the posterior are five
# integrators, all of which start from the same states: where they part, the data no longer tell.

# %%
starts, steps = system.shell(2 if QUICK else 12, (0.01, 0.12), seed=2), 10 if QUICK else 2000
path = bcg.sampling.mapped_dynamics(fit, starts, steps=steps, stride=2, tolerance=1e-11, seed=0, progress=False)
few = bcg.sampling.mapped_dynamics(fit, starts, steps=60, draws=5, tolerance=1e-11, seed=0, progress=False)
apart = np.asarray(few.positions).reshape(5, len(starts[0]), -1, 2).std(0)
print("draws are apart by", *(f"{apart[:, t].mean():.1e} after {t} steps," for t in (1, 10, 59)))
bcg.plot.phase_portrait(path)

# %% [markdown]
# ## Beside others
#
# The same pairs teach `DirectMap` to predict the next state outright. With so long a step velocity Verlet loses some of
# these orbits to infinity; it is given as many shorter steps as the iterations of the learned one cost.

# %%
direct = bcg.fit(DirectMap(), pairs.frames.lagged(1.0), seed=0, steps=50 if QUICK else 3000, progress=False)
others = {"DirectMap": bcg.sampling.mapped_dynamics(direct, starts, steps=steps, stride=2, lost="end", progress=False)}
cost = round(path.provenance["solver"]["iterations"])
others["velocity Verlet at equal cost"] = bcg.sampling.newtonian(
    system, steps * cost, dt=1 / cost, starts=starts, stride=2 * cost, progress=False
)
checks = {"ActionMap": bcg.analysis.integrator_check(fit, path, system, canonical=False)}
checks |= {name: bcg.analysis.integrator_check(None, run, system, canonical=False) for name, run in others.items()}
bcg.plot.energy_errors(checks)

# %% [markdown]
# The energy of the direct map wanders off; that of the other two stays where it was, and the learned action has by far
# the smaller error. A force as cheap as this one is better spent on Verlet's steps all the same: some twelve times as
# many reach the same error, and sooner. A learned step pays where a force costs more than an evaluation of the action.

# %%
print(checks["ActionMap"])
bcg.plot.equipartition(checks)

# %% [markdown]
# ## How long may a step be?
#
# The fit has learned a range of steps. `recommended_step` lets draws of the posterior take steps of several lengths,
# and asks how often the energy is off by more than you allow. From fewer pairs draws differ more, and the step is
# shorter.

# %%
for tolerance in (1e-5, 1e-7):
    print(bcg.analysis.recommended_step(fit, tolerance, draws=3, time=0.5 if QUICK else 10.0, seed=0))

# %% [markdown]
# ## Where it ends
#
# Far from the states that it has learned from, a map knows little, and says so: here of states at rest, further and
# further out along the second coordinate. Nothing below the energy of .13, up to .53, was missing from the pairs.

# %%
out = torch.linspace(0.05, 0.9, 60, dtype=torch.float64)
q, p = torch.stack([torch.zeros_like(out), out], 1), torch.zeros(60, 2, dtype=torch.float64)
later = bcg.sampling.short_trajectories(system, (q, p), lag=1.0, accuracy=1e-10)
off = np.abs(step.step(q, p, 1e-12).q.numpy() - later.frames.gather(later.j))[:, 1]
figure = Figure(figsize=(4.5, 2.8), layout="constrained")
ax = figure.subplots()
ax.semilogy(out, off, ".", color="#D55E00", label="error of a step")
ax.semilogy(out, step.spread(q, p).q[:, 1], color="#0072B2", label="its standard deviation, as the fit says")
ax.axvline(0.53, color="#222222", ls=":")
ax.set(xlabel="second coordinate, at rest", ylabel="second coordinate, one step later")
ax.legend(frameon=False)
figure

# %% [markdown]
# Beyond half a period of the fastest vibration no action of this form exists, however well it is learned: pairs that
# far apart are refused, with the mode and the longest step. For bonds to hydrogen that is some 5 fs; heavier hydrogens
# (`hydrogen_mass=`) make it longer.
