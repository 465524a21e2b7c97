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
# # From your own trajectory to a collective variable with error bars
#
# You have a few trajectory files and want to know: which collective variables (CVs) describe the motion, how well,
# and how sure can I be with the frames I have? This notebook answers with a Bayesian model of the frames,
# `PredictiveCV`. It takes a few minutes on two CPU cores.

# %%
# %matplotlib inline
import os

import numpy as np
import torch

import bayescg as bcg
from bayescg.models import PredictiveCV

QUICK = os.environ.get("BAYESCG_QUICK") == "1"  # everything small: how the test suite runs this notebook

# %% [markdown]
# ## The files
#
# We make a trajectory here and then pretend that it is yours: alanine dipeptide in implicit water, four short
# simulations. With files of your own, skip this cell and put their names into the next one.

# %%
length, every = (20.0, 0.05) if QUICK else (3000.0, 1.0)  # ps
bcg.sampling.molecular_dynamics(
    bcg.systems.alanine_dipeptide(temperature=330.0), length, out="simulation", frame_every=every, seed=1
)
sorted(os.listdir("simulation"))

# %% [markdown]
# ## Read
#
# `load` takes what mdtraj reads (xtc, dcd, trr, h5, pdb, ...). Each file is one trajectory: no pair of frames is ever
# formed across its end. Inside, lengths are nm and times ps. We keep the heavy atoms: methyl groups turn slowly, are
# not what we ask about, and would use up what the frames know.

# %%
files = [f"simulation/trajectory-0{i}.xtc" for i in range(4)]
frames = bcg.data.load(files, top="simulation/topology.pdb", temperature=330.0, select="not element H")
frames

# %% [markdown]
# Frames that cannot be right are refused, with the reason. Here the numbers in the files are said to be angstrom:

# %%
try:
    bcg.data.load(files, top="simulation/topology.pdb", temperature=330.0, unit="angstrom")
except bcg.errors.UnitError as error:
    print(error)

# %% [markdown]
# ## How much do these frames know?
#
# Frames that follow each other are alike. The statistical inefficiency g says how many frames are worth one
# independent draw; the number that error bars depend on is n / g. It differs from one observable to another, and the
# slowest counts.

# %%
phi, psi = bcg.features.observables.from_names(["phi", "psi"], frames)
positions = torch.as_tensor(frames.gather(slice(None)))
for angle in (phi, psi):
    value = angle(positions).numpy()
    g = bcg.data.statistical_inefficiency(np.stack([np.cos(value), np.sin(value)], 1), frames.trajectory)
    print(f"{angle.name}: g = {g:.0f} frames; {len(frames)} frames are worth {len(frames) / g:.0f}")

# %% [markdown]
# ## Features, and a part to test on
#
# The model sees the molecule through features. `aligned` are Cartesian coordinates with rotation and translation
# taken out; because they determine the conformation, the model can generate molecules. Frames to test on are held out
# as contiguous blocks: the neighbours of a single frame would give it away.

# %%
train, test = frames.split(blocks=20, test=0.2, seed=0)
features = bcg.features.aligned(train)
train, test, features

# %% [markdown]
# ## Fit
#
# The model says how a frame comes about: z ~ N(0, I), and the features are a network of z plus noise. The latent
# variables z are the CVs. The default parameter uncertainty of this model is `"bootstrap"`: the fit is repeated under
# random weights of blocks of frames, all repeats trained side by side.

# %%
settings = {"steps": 3000, "batch_size": 256}
if QUICK:
    settings = {"steps": 50, "batch_size": 128, "members": 4, "compile": "off"}
hidden = (16,) if QUICK else (64, 64)
fit = bcg.fit(PredictiveCV(features, latent_dim=2, hidden=hidden), train, seed=0, **settings)
fit.diagnostics

# %%
bcg.plot.loss(fit)

# %% [markdown]
# `effective_frames` is what the fit counted the frames as: its g is that of the slowest large motion of the features.
# `warnings` names what a careful reader would want to know before believing an error bar. Both curves of the loss are
# of the same kind, minus a bound on log p of a frame: a gap between them is what the fit knows of its own frames and
# cannot say of others.
#
# ## What is the CV?
#
# `fit.cv(x)` is a distribution, not a number: its spread holds what the CV forgets about a frame (intrinsic) and what
# the refits disagree about (parameter).

# %%
z = fit.cv(test)
for mean, spread in zip(z.mean[:3].numpy(), z.stddev[:3].numpy(), strict=True):
    print(f"({mean[0]:.2f} ± {spread[0]:.2f}, {mean[1]:.2f} ± {spread[1]:.2f})")

# %% [markdown]
# The plane of the two CVs, coloured by ψ. Each ellipse holds 90 % of the distribution of one frame. Like colours lie
# together where the CVs have found the torsion, without having been told of it.

# %%
bcg.plot.cv(fit, frames, color="psi")

# %% [markdown]
# ## Does the model predict what it has not seen?
#
# Histograms of observables over the held-out frames (points) against those of generated molecules. The dark band is
# the uncertainty of the parameters; the light one adds the error of as many effective frames. A Bayesian p-value near
# 0 or 1 says that the model gets this average, or this spread, wrong.

# %%
check = bcg.analysis.predictive_check(fit, test, samples=300 if QUICK else 10_000)
check

# %%
bcg.plot.predictive_check(check)

# %% [markdown]
# Read it with suspicion: this model passes some of these checks and fails others. The two peaks of φ are smeared into
# one another, so do not take populations of φ from it. More latent variables are what to try next.
#
# What is uncertain, and why? The average over the frames is, because they are few and correlated (sampling). The
# predicted average is, because training was finite (parameter). How much the observable still varies where the CV is
# known (intrinsic) is a spread of single conformations, not the error of an average.

# %%
rg = check["rg"]
print(f"sampling:  {rg.observed_mean_sd:.5f} nm, of the average over the frames")
print(f"parameter: {rg.average.sd:.5f} nm, of the predicted average")
print(f"intrinsic: {rg.intrinsic_sd:.5f} nm, of one conformation")

# %% [markdown]
# ## Free energies
#
# Error bars come from a bootstrap over blocks of frames. Along ψ, and the cost of going from the α to the β basin:

# %%
along_psi = bcg.analysis.free_energy(fit, frames, cv="psi", bins=24 if QUICK else 60)
alpha, beta = np.deg2rad([[-120, 60], [60, -120]]).tolist()  # an interval of an angle may go around the end
print(along_psi.difference(alpha, beta))
print(along_psi.difference(alpha, beta, unit="kJ/mol"))
bcg.plot.free_energy(along_psi)

# %% [markdown]
# Where there is too little to know, no interval is made up. The trajectories entered the basin at φ > 0 only a few
# times. (It ends at 120° here: frames of the other basin that cross ±180° back and forth are no visits.)

# %%
along_phi = bcg.analysis.free_energy(fit, frames, cv="phi", bins=24 if QUICK else 60)
right, rest = np.deg2rad([[0, 120], [120, 0]]).tolist()
along_phi.difference(rest, right)

# %% [markdown]
# Over the two CVs themselves, where the refits' disagreement on the CV is part of the error bar:

# %%
bcg.plot.free_energy(bcg.analysis.free_energy(fit, frames, bins=16 if QUICK else 40))

# %% [markdown]
# ## Draws, for ArviZ
#
# Everything is a set of draws with named dimensions, which ArviZ reads. Here, 90 % intervals of the CVs of five
# frames. Draws in excess of the refits repeat their parameters, with new random numbers for the CVs, and the coordinate
# `refit` says which refit a draw is of; without `draws=` each is there once.

# %%
import arviz_plots as azp
import arviz_stats as azs

tree = fit.posterior(draws=200, seed=0)
tree["posterior"]["cv"].sizes

# %%
cv = tree["posterior"]["cv"]
azs.eti(cv.isel(frame=slice(5)), prob=0.9).round(2)

# %%
five = {"frame": cv.frame.values[::40].tolist()}
_ = azp.plot_forest(tree, var_names=["cv"], coords=five, combined=True, backend="matplotlib")

# %% [markdown]
# ## Keep it
#
# A fit is saved as tensors and JSON; reading one executes nothing.

# %%
fit.save("fit")
again = bcg.Fit.load("fit")
bool((again.cv(test).mean == fit.cv(test).mean).all())

# %% [markdown]
# ## The same without Python
#
# The command line does all of this and writes a report. Put your files into a TOML file, beside the settings that
# `bayescg run alanine-dipeptide` uses, or change single keys:
#
# ```
# bayescg run alanine-dipeptide --set 'data.frames=["a.xtc", "b.xtc"]' --set data.top=molecule.pdb \
#     --set data.temperature=300
# ```
#
# To write a model of your own, see CONTRIBUTING.md.
