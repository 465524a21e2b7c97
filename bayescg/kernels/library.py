"""Shared libraries of this folder's C++, built once for a machine and kept."""

import ctypes
import functools
import hashlib
import logging
import os
import subprocess
import tempfile
from pathlib import Path

import torch

__all__ = ["FLAGS", "INSTRUCTIONS", "library"]

_log = logging.getLogger("bayescg")

FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-pthread", "-fno-math-errno", "-fno-trapping-math")
"""Of the compiler. Errors of the mathematical library and traps are not looked at; infinities and NaN are."""

INSTRUCTIONS = {"AVX512": ("-march=x86-64-v4", "-mprefer-vector-width=512"), "AVX2": ("-march=x86-64-v3",)}
"""Vectors of the width that torch itself uses on this processor."""


@functools.cache
def library(name: str, instead: str) -> ctypes.CDLL | str:
    """The compiled file ``name.cpp`` of this folder, or the reason why there is none, which is also logged once.

    It is built by the C++ compiler of the environment variable ``CXX`` (``c++`` if it is not set) into the folder where
    torch keeps its extensions.

    Parameters
    ----------
    name : str
    instead : str
        What happens without it, for the log.
    """
    try:
        return ctypes.CDLL(str(_built(Path(__file__).with_name(f"{name}.cpp"))))
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()[-500:]
        reason = f"{error.cmd[0]} could not compile {name}.cpp: {said}"
    except OSError as error:
        reason = f"no compiled kernels: {error}"
    _log.warning("%s; %s", instead, reason)
    return reason


def _built(source: Path) -> Path:
    """The shared library, compiled if it is not there yet; other processes see all of it or nothing."""
    from torch.utils.cpp_extension import get_default_build_root

    flags = (*FLAGS, "-ffp-contract=fast", *INSTRUCTIONS.get(torch.backends.cpu.get_cpu_capability(), ()))
    compiler = os.environ.get("CXX", "c++")
    texts = (path.read_text() for path in (source, *sorted(source.parent.glob("*.h"))))
    key = hashlib.sha256("\0".join((compiler, *flags, *texts)).encode()).hexdigest()[:16]
    path = Path(get_default_build_root()) / f"bayescg_{key}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            built = Path(scratch) / "kernel.so"
            subprocess.run([compiler, *flags, "-o", str(built), str(source)], check=True, capture_output=True)
            built.replace(path)
    return path
