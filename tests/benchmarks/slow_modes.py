"""Slow modes of one data set of the three-well ring, side by side: ``python -m tests.benchmarks.slow_modes --dim 2``.

All methods see the same frames (T = 5000 in 100 chains) and take turns, one thread each, by processor time. An error is
that of an eigenvalue relative to the converged one of the same data set: of the generator, in 112 functions of the two
coordinates that matter; of a lagged method, at its own lag in the same functions. Sampling moves these by 4, 1.7 and
1.2 %. The extra ``deeptime`` gives two columns, and mlcolvar two more: as that asks for pydantic 1, install it by
``pip install --no-deps mlcolvar lightning pytorch-lightning torchmetrics KDEpy``.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from scipy.stats import f
from torch import Tensor

import bayescg as bcg
from bayescg.analysis.kinetics.covariances import accumulate
from bayescg.data import Frames
from bayescg.models import GeneratorEigenfunctions
from tests.benchmarks.penalised import PenalisedEigenfunctions

LAG, MODES = 0.3, 3
Method = Callable[[Frames, int], np.ndarray]


def ring(dim: int, seed: int, chains: int = 100, time: float = 50.0) -> Frames:
    """Frames every 0.05; the step of the dynamics is 0.0005."""
    system = bcg.systems.ThreeWellRing(dim)
    return bcg.sampling.overdamped(
        system, round(time / 5e-4), dt=5e-4, chains=chains, stride=100, seed=seed, compile="trace", progress=False
    )


def rich(x: Tensor) -> Tensor:
    """Bumps in the angle times powers of the radius, and steps across the ridge at the angle pi, ``(n, 112)``."""
    angle, radius = torch.atan2(x[:, 1], x[:, 0]), x[:, :2].norm(dim=1)
    centres = torch.arange(36).to(x) * (math.pi / 18)
    bumps = (16.0 * (torch.cos(angle[:, None] - centres) - 1)).exp()
    powers = (radius - 1)[:, None] ** torch.arange(3).to(x)
    steps = torch.tanh(torch.sin(angle)[:, None] / torch.tensor([0.05, 0.1, 0.2, 0.4]).to(x))
    steps = steps * (0.5 - 0.5 * torch.cos(angle))[:, None]
    return torch.cat([(bumps[:, :, None] * powers[:, None]).flatten(1), steps], 1)


def tanh_features(dim: int, count: int, frames: Frames, seed: int) -> Callable[[Tensor], Tensor]:
    """Random ridge functions of the standardised coordinates."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.as_tensor(frames.positions)
    mean, width = x.mean(0), x.std(0)
    weight = 2 * torch.randn(dim, count, generator=generator) / dim**0.5
    bias = torch.randn(count, generator=generator)
    return lambda x: torch.tanh((x - mean.to(x)) / width.to(x) @ weight.to(x) + bias.to(x))


def rates(basis: Callable[[Tensor], Tensor], frames: Frames, lag: float | None = None) -> np.ndarray:
    """Eigenvalues in the span of functions, of the generator or at a lag."""
    cells = accumulate(basis, frames, lag=lag, diffusion=None if lag else 1.0, blocks=100)
    a, b, _ = (m[0] for m in cells.mixed(np.ones((1, len(cells)))))
    spread, directions = np.linalg.eigh(b)
    kept = spread > 1e-8 * spread[-1]
    whiten = directions[:, kept] / np.sqrt(spread[kept])
    found = np.linalg.eigvalsh(whiten.T @ a @ whiten)[:MODES]
    return found if lag is None else -np.log1p(-found) / lag


def functions(
    frames: Frames, seed: int, model_class: type[GeneratorEigenfunctions] = GeneratorEigenfunctions, **settings: Any
) -> Any:
    """Basis of a fit to all frames: like the peers, ours holds none out."""
    model = model_class(MODES)
    given: dict[str, Any] = {"validation": 0.0, "compile": "trace", "progress": False, **settings}
    return bcg.fit(model, frames, seed=seed, **given).model.basis


def generator(frames: Frames, seed: int) -> np.ndarray:
    """Ours: `GeneratorEigenfunctions` at its defaults but for `validation`, then the eigenproblem in its functions."""
    return rates(functions(frames, seed), frames)


def lagged(frames: Frames, seed: int) -> np.ndarray:
    """Ours at a lag, in functions that a quarter of the steps found."""
    return rates(functions(frames, seed, steps=75, batch_size=4096, learning_rate=0.1), frames, LAG)


def penalty(frames: Frames, seed: int) -> np.ndarray:
    """The loss of Zhang and Schütte, as long, and the Rayleigh quotients of its outputs."""
    return rates(functions(frames, seed, PenalisedEigenfunctions, steps=800, learning_rate=5e-3), frames)


def galerkin(frames: Frames, seed: int) -> np.ndarray:
    """200 random tanh features, nothing trained."""
    return rates(tanh_features(frames.dim, 200, frames, seed), frames)


def _chains(frames: Frames, values: np.ndarray) -> list[np.ndarray]:
    return np.split(values, np.flatnonzero(np.diff(frames.trajectory)) + 1)


def _tica(chains: list[np.ndarray], steps: int) -> np.ndarray:
    from deeptime.decomposition import TICA

    found = TICA(lagtime=steps, dim=MODES).fit_from_timeseries(chains).fetch_model()
    return -np.log(np.abs(found.singular_values[:MODES])) / LAG


def tica(frames: Frames, seed: int) -> np.ndarray:
    """deeptime's TICA on 50 random tanh features."""
    with torch.no_grad():
        features = tanh_features(frames.dim, 50, frames, seed)(torch.as_tensor(frames.positions)).double().numpy()
    return _tica(_chains(frames, features), round(LAG / float(frames.dt or 0)))


def vampnet(frames: Frames, seed: int) -> np.ndarray:
    """deeptime's VAMPNet, ten epochs at batches of 2000, then its TICA on the outputs."""
    from deeptime.decomposition.deep import VAMPNet
    from deeptime.util.data import TrajectoriesDataset
    from torch.utils.data import DataLoader

    torch.manual_seed(seed)
    x = np.asarray(frames.positions, dtype=np.float32)
    chains, steps = _chains(frames, (x - x.mean(0)) / x.std(0)), round(LAG / float(frames.dt or 0))
    sizes = [frames.dim, 20, 20, 20, MODES]
    layers: list[torch.nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(a, b), torch.nn.Tanh()]
    net = torch.nn.Sequential(*layers[:-1])
    pairs: Any = TrajectoriesDataset.from_numpy(steps, chains)
    loader = DataLoader(pairs, batch_size=2000, shuffle=True)
    VAMPNet(net, learning_rate=5e-3).fit(loader, n_epochs=10)
    with torch.no_grad():
        out = net(torch.as_tensor(np.concatenate(chains))).double().numpy()
    return _tica(_chains(frames, out), steps)


def _lightning(model: Any, data: dict[str, Tensor], epochs: int, seed: int) -> None:
    """Train a model of mlcolvar on batches of 2000."""
    import logging

    from lightning import Trainer, seed_everything  # pyright: ignore[reportMissingImports]
    from mlcolvar.data import DictDataset, DictModule  # pyright: ignore[reportMissingImports]

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    seed_everything(seed, verbose=False)
    module = DictModule(DictDataset(data), lengths=[1.0], batch_size=2000)
    off = dict.fromkeys(["enable_progress_bar", "enable_model_summary", "logger", "enable_checkpointing"], False)
    trainer = Trainer(max_epochs=epochs, accelerator="cpu", limit_val_batches=0, num_sanity_val_steps=0, **off)
    trainer.fit(model, module)


def resolvent(frames: Frames, seed: int) -> np.ndarray:
    """mlcolvar's Generator, thirty epochs, then the eigenproblem in its functions (its own answer is far off)."""
    from mlcolvar.cvs import Generator  # pyright: ignore[reportMissingImports]

    torch.manual_seed(seed)
    x = torch.as_tensor(frames.positions)
    model = Generator(
        r=MODES + 1, layers=[frames.dim, 20, 20, 20, 1], eta=0.1, alpha=10.0, friction=torch.ones(frames.dim), n_dim=1,
        options={"optimizer": {"lr": 5e-3}},
    )  # fmt: skip
    _lightning(model, {"data": x, "weights": torch.ones(len(x))}, 30, seed)
    return rates(lambda y: torch.cat([net(y) for net in model.nn], 1), frames)


def deep_tica(frames: Frames, seed: int) -> np.ndarray:
    """mlcolvar's DeepTICA, ten epochs, then deeptime's TICA on its functions."""
    from mlcolvar.cvs import DeepTICA  # pyright: ignore[reportMissingImports]

    torch.manual_seed(seed)
    steps = round(LAG / float(frames.dt or 0))
    chains = _chains(frames, np.asarray(frames.positions))
    now = torch.as_tensor(np.concatenate([chain[:-steps] for chain in chains]))
    later = torch.as_tensor(np.concatenate([chain[steps:] for chain in chains]))
    model = DeepTICA([frames.dim, 20, 20, 20, MODES], n_cvs=MODES, options={"optimizer": {"lr": 5e-3}})
    ones = torch.ones(len(now))
    _lightning(model, {"data": now, "data_lag": later, "weights": ones, "weights_lag": ones}, 10, seed)
    with torch.no_grad():
        out = model.nn(model.norm_in(torch.as_tensor(np.concatenate(chains)))).double().numpy()
    return _tica(_chains(frames, out), steps)


METHODS: dict[str, tuple[Method, bool]] = {  # and whether it has a lag
    "bayescg generator": (generator, False),
    "bayescg lagged": (lagged, True),
    "penalty loss": (penalty, False),
    "Galerkin, 200 tanh": (galerkin, False),
}
if find_spec("deeptime"):
    METHODS |= {"deeptime TICA, 50 tanh": (tica, True), "deeptime VAMPNet": (vampnet, True)}
if find_spec("mlcolvar"):
    METHODS |= {"mlcolvar Generator": (resolvent, False), "mlcolvar DeepTICA": (deep_tica, True)}


def measured(frames: Frames, names: list[str], seeds: int) -> Iterator[tuple[str, float, np.ndarray]]:
    """Name, processor seconds and relative errors, method by method in turns."""
    exact = {False: rates(rich, frames), True: rates(rich, frames, LAG)}
    for seed in range(seeds):
        for name in names:
            method, has_lag = METHODS[name]
            began = time.process_time()
            found = method(frames, seed)
            yield name, time.process_time() - began, found / exact[has_lag] - 1


def main() -> None:
    """Print a table: median seconds, median size of the error, and standard deviation over seeds, in per cent.

    The last column is the upper 95 % limit (by F) of the ratio of our generator's standard deviation to that method's.
    """
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--dim", type=int, default=2)
    asked.add_argument("--data-seed", type=int, default=0)
    asked.add_argument("--seeds", type=int, default=20, help="training seeds, two or more")
    asked.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    given = asked.parse_args()
    names = list(dict.fromkeys(["bayescg generator", *given.methods]))
    torch.set_num_threads(1)
    frames = ring(given.dim, given.data_seed)
    rows: dict[str, list[tuple[float, np.ndarray]]] = {name: [] for name in names}
    for name, seconds, error in measured(frames, names, given.seeds):
        rows[name].append((seconds, error))
    print(f"| dim {given.dim}, {given.seeds} seeds | s | error of 1, 2, 3 (%) | sd over seeds (%) | ours over it, < |")
    print("|---|---|---|---|---|")
    ours = np.std([e for _, e in rows["bayescg generator"]], 0, ddof=1)
    limit = f.ppf(0.95, given.seeds - 1, given.seeds - 1) ** 0.5
    for name, found in rows.items():
        errors = 100 * np.array([e for _, e in found])
        middle, spread = np.median(np.abs(errors), 0), errors.std(0, ddof=1)
        ratio = limit * 100 * ours / spread
        told = (", ".join(f"{v:.2f}" for v in part) for part in (middle, spread, ratio))
        print(f"| {name} | {np.median([s for s, _ in found]):.2f} | {' | '.join(told)} |")


if __name__ == "__main__":
    main()
