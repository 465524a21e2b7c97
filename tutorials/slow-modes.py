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
# # Slow modes with honest error bars
#
# You have trajectories at equilibrium and ask: how slow are the slowest motions, what are they, how sure can I be? This
# notebook goes from frames to timescales, eigenfunctions and a committor with error bars, shows how to choose the lag
# time, the functions and the number of modes, and what goes wrong when correlated frames are counted as independent.
# The system is small enough that the exact answers are known. It takes a minute on one CPU core.

# %%
# %matplotlib inline
import os

import numpy as np
import torch
from matplotlib.figure import Figure

import bayescg as bcg
from bayescg.models import GeneratorEigenfunctions, ReversibleDeepMSM

QUICK = os.environ.get("BAYESCG_QUICK") == "1"  # everything small: how the test suite runs this notebook

# %% [markdown]
# ## Frames
#
# Twenty trajectories of a particle on a ring with three wells. Yours come from
# `bcg.data.load(["a.xtc", "b.xtc"], top="molecule.pdb", temperature=300.0)`; nothing else changes. No pair of frames
# is ever formed across the end of a trajectory.

# %%
system = bcg.systems.ThreeWellRing()
steps = 1_500 if QUICK else 50_000
frames = bcg.sampling.overdamped(system, steps, dt=0.002, chains=20, stride=5, seed=1)  # a frame each 0.01
exact = bcg.truth.spectrum(system, modes=3)
exact_timescales = 1 / exact.eigenvalues
frames, exact_timescales.round(3)

# %% [markdown]
# ## Functions
#
# Slow modes are sought as combinations of functions of a frame. A network learns good ones. `GeneratorEigenfunctions`
# needs no pairs of frames: it minimises how fast functions change in space, and takes the dynamics to be overdamped,
# which is exact here. `ReversibleDeepMSM` learns soft states from pairs of frames a lag apart, and assumes no dynamics
# but that it is reversible: for molecular dynamics, this is the one to trust for times.
#
# A quarter of the frames, in contiguous blocks, is kept for choices between fits.

# %%
train, test = frames.split(blocks=20, test=0.25, seed=0)
training = {"steps": 30, "compile": "off"} if QUICK else {"compile": "trace"}
generator = bcg.fit(GeneratorEigenfunctions(modes=3, system=system), train, seed=0, **training)

# %%
settings = {"steps": 30 if QUICK else 300, "batch_size": 1024, "learning_rate": 0.02, "validation": 0.0}
fits = {}
for count in (3, 4) if QUICK else (2, 3, 4, 6):
    model, pairs = ReversibleDeepMSM(states=count), train.lagged(0.2)
    fits[count] = bcg.fit(model, pairs, uncertainty="none", compile="trace", seed=0, **settings)

# %% [markdown]
# ## Timescales
#
# `spectrum` solves the eigenproblem in the functions of a fit, on all frames, and again on many random weightings of
# *blocks* of frames that are long against the memory of the modes. Every answer is a set of draws.

# %%
draws = 100 if QUICK else 1000
modes = bcg.analysis.spectrum(generator, frames, modes=3, draws=draws)
lagged = bcg.analysis.spectrum(generator, frames, lag=0.2, modes=3, draws=draws)
for name, found in (("generator", modes), ("lag 0.2", lagged)):
    for k, true in enumerate(exact_timescales, start=1):
        print(f"{name}: timescale {k}, exactly {true:.3f}: {found.quantities[f'timescale_{k}']}")
modes.warnings, lagged.warnings

# %%
bcg.plot.spectrum(modes, truth=exact.eigenvalues)

# %% [markdown]
# The same functions serve both routes. The lagged one does not know the diffusion constant, and its intervals are often
# wider for that. If the two disagree by more than their error bars, the dynamics is not the assumed one, as for a
# molecule with inertia and solvent; then the lagged one counts.
#
# ## Which lag?
#
# Timescales that are well resolved do not depend on the lag. Where functions are poor, they rise with it and become
# flat; take the shortest lag from where on they are. In the grey region a mode has decayed within a lag, and nothing
# can be said. No score can choose the lag: scores at different lags are of different things. First the learned
# functions, then poor ones, the two coordinates (dashed: exact).

# %%
lags = [0.05, 0.2, 0.6] if QUICK else [0.05, 0.1, 0.2, 0.4, 0.8, 1.2]
against = bcg.analysis.implied_timescales(generator, frames, lags, modes=2, draws=50 if QUICK else 200)
bcg.plot.timescales(against, truth=exact_timescales[:2])

# %%
plain = bcg.analysis.implied_timescales(lambda x: x, frames, lags, modes=2, draws=50 if QUICK else 200)
bcg.plot.timescales(plain, truth=exact_timescales[:2])

# %% [markdown]
# The test of Chapman and Kolmogorov asks the same of correlations: those at the lag, to the n-th power, should be those
# at n lags. Prediction and measurement have bands, and so has their difference, which is smaller, as both are of the
# same frames. Lags share their frames, so that one chance event shows at several of them.

# %%
check = bcg.analysis.chapman_kolmogorov(generator, frames, 0.2, modes=2, draws=50 if QUICK else 200)
apart, spread = check.difference[:, 1:].mean("draw"), check.difference[:, 1:].std("draw")
for k in range(2):
    told = [f"{float(d):+.3f} ± {float(s):.3f}" for d, s in zip(apart[:, k, k], spread[:, k, k], strict=True)]
    print(f"mode {k + 1}, measured - predicted at 2 to 5 lags:", ", ".join(told))
bcg.plot.chapman_kolmogorov(check)

# %% [markdown]
# ## Which functions, how many states, how many modes?
#
# On the frames they were found on, more functions always look better. So `compare` scores frames that no fit was
# trained on, block by block. Each score has a standard error, and so has its difference to the best, which is smaller,
# since all are scored on the same blocks. `tied` are those that the data cannot tell from the best: take the simplest.

# %%
candidates = {"generator": generator, "coordinates": lambda x: x}
candidates |= {f"{count} soft states": fit for count, fit in fits.items() if count > 2}
bcg.analysis.compare(candidates, test, "vampe", lag=0.2, modes=2)

# %% [markdown]
# The network's functions are the best here, six soft states follow, and two coordinates are far behind. Soft states are
# also a density of the later frame given the first, whose log score needs no number of modes:

# %%
by_states = bcg.analysis.compare({f"{count} soft states": fit for count, fit in fits.items()}, test.lagged(0.2))
print(by_states)
print("tied:", by_states.tied)

# %% [markdown]
# How many modes are there to see at this lag? One that exists raises the held-out score by the square of its
# correlation at the lag; one that is noise does not.

# %%
numbers = {f"{count} modes": count for count in range(1, 4 if QUICK else 6)}
bcg.analysis.compare(dict.fromkeys(numbers, generator), test, "vampe", lag=0.2, modes=numbers)

# %% [markdown]
# ## What are the modes?
#
# Eigenfunctions, and below them their standard deviation. The first goes from one deep well to the other, the second
# tells the shallow well from both. The first is least certain in the deep wells: how frames are shared between them is
# what these trajectories know least.

# %%
few = frames[::100]
bcg.plot.eigenfunctions(modes, few, few.positions)

# %%
x = torch.as_tensor(frames.positions[::10])
mean = modes.eigenfunction_moments(x)[0]
truth = exact.eigenfunctions(x).numpy()
print("R^2 with the exact ones:", [round(float(np.corrcoef(mean[:, k], truth[:, k])[0, 1] ** 2), 4) for k in range(3)])

# %% [markdown]
# ## What goes wrong when frames are counted as independent
#
# Frames that follow each other are alike, and ten times as many of them are not ten times the knowledge. To see what
# that does to error bars, take thirty small data sets and ask of each for a 90 % interval: how many hold the truth?
# Once with the trajectory as it is, so that blocks can be formed, and once with its pairs of frames shuffled, as every
# method does that adds up a likelihood or a loss over pairs as if each were news. The pairs, and so the estimates, are
# the same. The functions are given ones here, so that no training is in question.

# %%
count, length = (4, 6) if QUICK else (30, 400)
small = bcg.sampling.overdamped(system, 500 * length, dt=0.002, chains=count, stride=25, seed=2)
sets = np.asarray(small.positions).reshape(count, -1, 2)


def functions(x):
    angle = torch.atan2(x[:, 1], x[:, 0])[:, None]
    square = (x**2).sum(1, keepdim=True)
    inner = 1 - torch.exp(-square / 0.1)
    around = torch.tanh((angle - torch.linspace(-2.7, 2.7, 9)) / 0.5)
    return torch.cat([around * inner, around * (1 - torch.exp(-square / 0.4)), inner, square, x], 1)


def shuffled(positions, rng):
    """The pairs of frames 0.2 apart, each as a trajectory of its own, in any order."""
    pairs = rng.permutation(np.stack([positions[:-4], positions[4:]], 1))
    toy = {"unit": "reduced", "temperature_kT": 1.0, "dt": 0.2}
    return bcg.data.Frames.from_numpy(pairs.reshape(-1, 2), trajectory=np.repeat(np.arange(len(pairs)), 2), **toy)


rng = np.random.default_rng(0)
intervals = {"in order": [], "shuffled": []}
for positions in sets:
    data = bcg.data.Frames.from_numpy(positions, unit="reduced", temperature_kT=1.0, dt=0.05)
    for name, given in (("in order", data), ("shuffled", shuffled(positions, rng))):
        found = bcg.analysis.spectrum(functions, given, lag=0.2, modes=1, draws=200)
        intervals[name].append(found.quantities["timescale_1"].ci90)
given = {name: [ends for ends in found if ends is not None] for name, found in intervals.items()}
held = {name: int(sum(low <= exact_timescales[0] <= high for low, high in found)) for name, found in given.items()}
held

# %%
made = Figure(figsize=(7.2, 3.0), layout="constrained")
for ax, (name, found) in zip(made.subplots(1, 2, sharey=True), given.items(), strict=True):
    for k, (low, high) in enumerate(found):
        ax.plot([k, k], [low, high], color="#0072B2" if low <= exact_timescales[0] <= high else "#D55E00", lw=2)
    ax.axhline(exact_timescales[0], color="#222222", lw=0.8, ls="--")
    ax.set_title(f"{name}: {held[name]} of {len(found)} hold the truth", fontsize=10)
    ax.set_xlabel("data set")
    ax.spines[["top", "right"]].set_visible(False)
made.axes[0].set_ylabel("slowest timescale, 90 % interval")
made

# %% [markdown]
# A right 90 % interval holds the truth in 27 of 30, give or take three. Those of shuffled pairs are some three times
# too narrow, and nothing in the data then says so.
#
# ## The committor
#
# From a point between two sets, how probable is it to reach the second before the first? `committor` answers by what q
# changes along trajectories, which for reversible dynamics is least for the right one, and gives it a band from the
# same kind of blocks. The sets are sectors around the deep wells. A visit between two frames is not seen, so frames
# should be close.


# %%
def angle(x):
    return torch.atan2(x[:, 1], x[:, 0])


def first(x):
    return (angle(x) - 2 * np.pi / 3).abs() < 0.5


def second(x):
    return (angle(x) + 2 * np.pi / 3).abs() < 0.5


q = bcg.analysis.committor(functions, frames, first, second, lag=0.2, draws=draws)
q

# %%
bcg.plot.committor(q, few, few.positions)

# %%
exact_q = bcg.truth.committor(system, first, second)
x = torch.as_tensor(frames.positions[::100])
table, true = q.summary(x), exact_q(x).numpy()
between = (true > 0) & (true < 1)
inside = (table["low"].values <= true) & (true <= table["high"].values)
error = float(np.sqrt(np.mean((table["mean"].values - true)[between] ** 2)))
print(f"error of q {error:.3f} (root mean square), its sd {float(table['sd'].values[between].mean()):.3f}")
print(f"inside the 90 % band: {inside[between].mean():.0%} of the frames between the sets, whose errors go together")
for name, rate in q.quantities.items():
    print(name, rate)

# %% [markdown]
# `held_out` of the result is the number of reactions per time that q leaves on blocks that it was not found on: the
# better the functions, the lower. The eigenfunctions of the fit can be used in the same way.

# %%
for name, of in (("given functions", functions), ("learned functions", generator), ("coordinates", lambda x: x)):
    left = bcg.analysis.committor(of, frames, first, second, lag=0.2, draws=50).held_out
    print(f"{name}: {left.mean():.4f} ± {left.std(ddof=1) / len(left) ** 0.5:.4f}")

# %% [markdown]
# ## A molecule
#
# All of this takes frames of a molecule as it takes those of a ring: give the models `features`, such as
# `bcg.features.torsions(frames)`, and the lag in ps. The experiment
#
# ```
# bayescg run alanine-dipeptide-eigenfunctions
# ```
#
# does it for alanine dipeptide and writes a report.
