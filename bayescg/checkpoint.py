"""Checkpoints: safetensors + JSON, written whole or not at all, never pickle.

A checkpoint is a pair of files ``NAME.safetensors`` (tensors) and ``NAME.json`` (everything else, with the digests of
both). The JSON file is renamed into place last, so a checkpoint exists when its JSON file does.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayescg.errors import CheckpointError, OutputError

if TYPE_CHECKING:
    import torch

__all__ = ["SCHEMA", "clear", "latest", "read", "whole", "write", "write_file"]

SCHEMA = 1
"""Version of the layout; a checkpoint of another version is refused."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path beside `path` for whatever writes files: what it leaves there takes the place of `path`, or is removed.

    It may be a folder, where `path` is none yet, or an empty one.

    Raises
    ------
    OutputError
        The disk is full or the directory cannot be written; what was at `path` before is untouched.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):
            shutil.rmtree(partial) if partial.is_dir() else partial.unlink()
        if not isinstance(error, OSError | RuntimeError):  # HDF5 and mdtraj report a full disk as the latter
            raise
        raise OutputError(
            f"cannot write {path}: {getattr(error, 'strerror', None) or error}. Free some space or choose another "
            "directory; what was there before is unchanged."
        ) from error


def write_file(path: Path, content: bytes | str) -> None:
    """Write `content` to `path` whole or not at all.

    Raises
    ------
    OutputError
        The disk is full or the directory cannot be written; what was at `path` before is untouched.
    """
    with whole(path) as partial, partial.open("wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
        stream.flush()
        os.fsync(stream.fileno())


def write(
    directory: Path,
    name: str,
    tensors: Mapping[str, torch.Tensor],
    meta: Mapping[str, Any],
    keep: int | None = None,
) -> Path:
    """Write one checkpoint and drop the oldest beyond `keep`.

    Parameters
    ----------
    directory : Path
        Where checkpoints live; made when absent.
    name : str
        Stem of the two files; later checkpoints sort after earlier ones.
    tensors : mapping of str to Tensor
        Any shapes and dtypes.
    meta : mapping
        JSON data.
    keep : int, optional
        How many of the newest checkpoints stay.

    Returns
    -------
    Path
        The JSON file.

    Raises
    ------
    OutputError
        The disk is full or the directory cannot be written. Earlier checkpoints survive.

    Examples
    --------
    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as d:
    ...     path = write(Path(d), "step-1", {"a": torch.ones(2)}, {"step": 1})
    ...     tensors, meta = read(path)
    >>> tensors["a"].tolist(), meta["step"]
    ([1.0, 1.0], 1)
    """
    from safetensors.torch import save  # here, as many who only write a file of text do without torch

    payload = save({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()})
    body = {"schema": SCHEMA, "tensors_sha256": hashlib.sha256(payload).hexdigest(), "meta": dict(meta)}
    body["sha256"] = _digest(body)
    write_file(directory / f"{name}.safetensors", payload)
    path = directory / f"{name}.json"
    write_file(path, json.dumps(body, indent=1))
    if keep is not None:
        for old in sorted(directory.glob("*.json"))[:-keep]:
            old.unlink()
            old.with_suffix(".safetensors").unlink(missing_ok=True)
    return path


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read one checkpoint, given its JSON file, and verify both digests.

    Returns
    -------
    tensors : dict of str to Tensor
    meta : dict

    Raises
    ------
    CheckpointError
        The checkpoint is truncated, was altered, or has another version.
    """
    from safetensors.torch import load

    try:
        body = json.loads(path.read_text())
        payload = path.with_suffix(".safetensors").read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"no checkpoint at {path}: {error.filename} is missing") from error
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not a readable checkpoint ({error}); delete it to use the one before"
        ) from error
    if not isinstance(body, dict) or body.get("schema") != SCHEMA:
        version = body.get("schema") if isinstance(body, dict) else None
        raise CheckpointError(
            f"{path} has layout version {version!r}, this bayescg reads version {SCHEMA}: use the bayescg that wrote "
            "it, or fit again"
        )
    if body.pop("sha256", None) != _digest(body):
        raise CheckpointError(f"{path} was altered after it was written (its digest does not match)")
    if hashlib.sha256(payload).hexdigest() != body["tensors_sha256"]:
        raise CheckpointError(
            f"{path.with_suffix('.safetensors')} is truncated or altered (its digest does not match {path.name})"
        )
    return load(payload), body["meta"]


def latest(directory: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Newest checkpoint of a directory that can be read, or None when there is none at all.

    A damaged one is skipped with a warning that names it.

    Raises
    ------
    CheckpointError
        There are checkpoints and none can be read.
    """
    paths = sorted(directory.glob("*.json"), reverse=True)
    failures = []
    for path in paths:
        try:
            tensors, meta = read(path)
        except CheckpointError as error:
            failures.append(str(error))
            continue
        for failure in failures:
            warnings.warn(f"{failure}; the checkpoint before it, {path.name}, is used", stacklevel=2)
        return tensors, meta
    if failures:
        raise CheckpointError("no usable checkpoint: " + "; ".join(failures) + ". Start anew with resume=False.")
    return None


def clear(directory: Path) -> None:
    """Remove every checkpoint of a directory."""
    for path in sorted(directory.glob("*.json")):
        path.unlink()
        path.with_suffix(".safetensors").unlink(missing_ok=True)


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
