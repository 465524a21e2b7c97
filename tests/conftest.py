"""Fixtures of every test: fixed seeds, one thread, and no trace left in what the process shares."""

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pyro
import pytest
import torch

import bayescg.modelling  # noqa: F401 - importing it sets Pyro's module_local_params, which no test may be blamed for
from bayescg.data import Frames

torch.set_num_threads(1)
# where the suite runs in the background Ctrl-C is ignored, and so it would be by all processes that tests start
signal.signal(signal.SIGINT, signal.default_int_handler)


LONGEST = (
    "tests/test_cli.py",
    "tests/test_tutorials.py",
    "tests/models/test_contract.py",
    "tests/inference/test_distributed.py",
    "tests/inference/test_resume.py",
    "tests/test_pages.py",
)
"""Files that are handed to the processes of a run first: one that begins last keeps one process busy alone."""


def pytest_xdist_auto_num_workers() -> int | None:
    """One process more than processors: tests that start others wait for them. 431 s on two, where two take 536 s."""
    return None if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.nodeid.partition("::")[0] not in LONGEST)


def shared_state() -> dict[str, Any]:
    """What the whole process shares and a test must leave as it was."""
    return {
        "the names in Pyro's parameter store": sorted(pyro.get_param_store().keys()),
        "Pyro's settings": dict(pyro.settings.get()),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's deterministic flag": torch.are_deterministic_algorithms_enabled(),
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's inference mode": torch.is_inference_mode_enabled(),
        "the validation of torch's distributions": torch.distributions.Distribution._validate_args,
        "NumPy's error state": np.geterr(),
        "the working directory": os.getcwd(),
    }


@pytest.fixture(autouse=True)
def seeds() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - for code of others that draws from it
    torch.manual_seed(0)


@contextmanager
def watched() -> Iterator[None]:
    """Fail if what the process shares is changed inside, and put it back."""
    before = shared_state()
    yield
    after = shared_state()
    changed = [f"{name}: {before[name]} became {after[name]}" for name in before if before[name] != after[name]]
    if not changed:
        return
    pyro.clear_param_store()
    pyro.settings.set(**before["Pyro's settings"])
    torch.set_default_dtype(before["torch's default dtype"])
    torch.set_num_threads(before["torch's number of threads"])
    torch.use_deterministic_algorithms(before["torch's deterministic flag"])
    torch.set_grad_enabled(before["torch's grad mode"])
    torch.distributions.Distribution.set_default_validate_args(before["the validation of torch's distributions"])
    np.seterr(**before["NumPy's error state"])
    os.chdir(before["the working directory"])
    pytest.fail("the test changed " + "; ".join(changed))


@pytest.fixture(autouse=True)
def no_trace() -> Iterator[None]:
    with watched():
        yield


@pytest.fixture
def guard() -> Callable[[], AbstractContextManager[None]]:
    """The guard itself, for the test that it works."""
    return watched


@pytest.fixture
def toy_frames() -> Callable[..., Frames]:
    """Maker of independent draws ``(n, dim)`` in reduced units, one latent direction behind them."""

    def make(n: int = 64, dim: int = 4, seed: int = 0, dtype: type = np.float32, **more: Any) -> Frames:
        rng = np.random.default_rng(seed)
        z = rng.normal(size=(n, 1))
        x = np.sin(z * np.arange(1, dim + 1)) + 0.2 * rng.normal(size=(n, dim))
        return Frames.from_numpy(x.astype(dtype), unit="reduced", temperature_kT=1.0, **more)

    return make


@pytest.fixture(scope="session")
def published() -> Path:
    """Directory of the published alanine dipeptide frames of Schöberl et al. 2019."""
    path = Path(__file__).parents[2] / "shared" / "data" / "ala2_predictive_cvs"
    if not path.is_dir():
        pytest.skip(f"the published alanine dipeptide frames are not here ({path})")
    return path
