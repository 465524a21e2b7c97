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
# # From fifty short trajectories to a rate you can trust
#
# You have many trajectories, each shorter than the process you care about, and all begin in one state, since that is
# the structure there was. What do they say of populations and rates? Taken as they are, something wrong with small
# error bars. This notebook weighs them to equilibrium, asks them for timescales, lets them say where to simulate next,
# and ends with a timescale whose interval has earned its name. The system is small enough that the exact answers are
# known. It takes a minute on one CPU core.

# %%
# %matplotlib inline
import os
import tempfile

import numpy as np
import torch
from matplotlib.figure import Figure

import bayescg as bcg
from bayescg.models import ReversibleDeepMSM

QUICK = os.environ.get("BAYESCG_QUICK") == "1"  # everything small: how the test suite runs this notebook

# %% [markdown]
# ## Fifty short trajectories
#
# A particle in Prinz's four wells. Every trajectory begins in the fourth well and is 0.5 long; the slowest timescale is
# 0.83. Yours come from `bcg.data.load(["a.xtc", "b.xtc"], top="molecule.pdb", temperature=300.0)`.

# %%
system = bcg.systems.Prinz()
exact = bcg.truth.spectrum(system, modes=3)
starts, every, length, dt = np.full((50, 1), 0.67, np.float32), 0.01, 0.5, 0.0005
stride = round(every / dt)
settings = {"dt": dt, "starts": starts, "stride": stride, "compile": "trace", "progress": False}
frames = bcg.sampling.overdamped(system, round(length / dt), seed=1, **settings)
frames, (1 / exact.eigenvalues).round(3)

# %% [markdown]
# ## Populations, weighed
#
# A plain histogram shows where trajectories were put, not where the particle lives. Which weights lead to equilibrium
# is in the pairs of frames a lag apart: learn soft states from them, and ask for the weights that these leave unchanged
# (Koopman reweighting). It takes at least ten states, and a lag much shorter than the trajectories.

# %%
lag = 0.05
training = {
    "steps": 40 if QUICK else 600,
    "batch_size": 512,
    "learning_rate": 0.005,
    "validation": 0.0,
    "progress": False,
}
pairs = frames.lagged(lag)
fit = bcg.fit(ReversibleDeepMSM(states=16), pairs, uncertainty="none", compile="trace", seed=0, **training)
weighed = frames.equilibrium(fit, lag)
weighed


# %%
def x1(x):
    return x[:, 0]


draws, sides = 100 if QUICK else 500, ((-2.0, 0.0), (0.0, 2.0))
true = bcg.truth.free_energy(system, x1, bins=np.array([-2.0, 0.0, 2.0])).difference(*sides).value
for name, of in (("as they are", frames), ("weighed", weighed)):
    fes = bcg.analysis.free_energy(None, of, cv=x1, bins=30, draws=draws)
    print(f"{name}: right less left {fes.difference(*sides)}, exact {true:.2f}")
bcg.plot.free_energy(fes)

# %% [markdown]
# ## Timescales
#
# The same weights go into `spectrum`. Without them it notices that the trajectories drift, and gives no interval.

# %%
for name, of in (("as they are", frames), ("weighed", weighed)):
    modes = bcg.analysis.spectrum(fit, of, lag, modes=3, draws=draws)
    print(f"{name}: {modes.quantities['timescale_1']}")
    print(*modes.warnings, sep="\n")
bcg.plot.spectrum(modes, truth=exact.eigenvalues)

# %% [markdown]
# ## Where next?
#
# `next_seeds` counts how states follow each other, and asks from which frames another trajectory is expected to tell
# most of a quantity. Half of the seeds go to the states with the fewest counts, which finds what was not seen yet.
# Counts of transitions are right however their starts were chosen, if each row of probabilities has a posterior of its
# own.

# %%
seeds = bcg.analysis.next_seeds(fit, frames, "log t1", n=20, length=length, lag=lag)
print(f"log t1 = {seeds.value:.2f} ± {seeds.sd:.2f}, expected after 20 more: ± {seeds.expected_sd:.2f}")
print(f"{seeds.states} states, crossed {seeds.crossings[0]} times one way and {seeds.crossings[1]} the other")
grid = np.linspace(-1.05, 1.05, 300)
figure = Figure(figsize=(4.5, 2.8), layout="constrained")
ax = figure.subplots()
ax.plot(grid, system.energy(torch.tensor(grid)[:, None]), color="#222222")
ax.hist(np.asarray(frames.positions)[:, 0], 60, color="#d9d9d9", density=True, label="frames so far")
at = np.asarray(frames.positions)[seeds.index, 0]
ax.plot(at, system.energy(torch.tensor(at)[:, None]), "o", color="#D55E00", label="next seeds")
ax.set(xlabel="x", ylabel="U / kT")
ax.legend(frameon=False)
figure

# %% [markdown]
# ## Until it is sure
#
# `bcg.experiments.active` does this in a loop: simulate, learn, choose, again. It stops when the standard deviation is
# small enough **and** the process was crossed ten times each way **and** three rounds brought no new state. The
# standard deviation alone is a trap: walkers that have not found a well yet are sure of the others. Of a double well,
# intervals of walkers stopped by it held the truth in 138 of 200 cases. Every round is complete on the disk or not
# there; the same call goes on. For an engine of your own, OpenMM say, give `simulate=`, a function of a start and a
# seed. What is left of the memory within states makes times too short, the less the longer the lag: here it is twice
# that of the weights.

# %%
folder = tempfile.mkdtemp()
loop = {"starts": starts, "length": length, "frame_every": every, "dt": dt, "lag": 0.1, "n": 20, "compile": "trace"}
until = {"sd": 0.12, "rounds": 2 if QUICK else 15}
learning = {**training, "steps": 20 if QUICK else 300, "compile": "trace"}
run = bcg.experiments.active(
    system, ReversibleDeepMSM(states=16), "seeds", until=until, out=folder, seed=0, fit=learning, **loop
)
run

# %%
finding = bcg.questions.ask(run.fit, run.frames, "seeded_rounds", system=system)
print(finding)
finding.figures["seeded-rounds"].draw()

# %% [markdown]
# ## The rate
#
# Draws of the logarithm are draws of the rate. Where the loop ended before its rule was met, there is no interval, and
# the quantity says what is missing.

# %%
quantity = run.quantity
rate = np.exp(-quantity.draws)
low, high = np.quantile(rate, [0.05, 0.95])
print(f"rate {rate.mean():.2f}, 90 % in [{low:.2f}, {high:.2f}], exact {exact.eigenvalues[0]:.2f}")
print(quantity.warning or f"crossed {quantity.visits[0]} times one way and {quantity.visits[1]} the other")
figure = Figure(figsize=(4.0, 2.6), layout="constrained")
ax = figure.subplots()
ax.hist(rate, 30, color="#0072B2")
ax.axvline(exact.eigenvalues[0], color="#222222", ls=":", label="exact")
ax.set(xlabel="rate of the slowest process", ylabel="draws")
ax.legend(frameon=False)
figure

# %% [markdown]
# ## What these intervals are worth
#
# Counted over 200 repetitions each (`docs/calibration.md`): free energies of weighed short trajectories, timescales
# after ten rounds of seeds, and timescales at which the loop stopped itself hold the truth as often as they say. What
# no interval knows is a state that nothing has visited: `Seeds.counts` says which ones were, and how long.
