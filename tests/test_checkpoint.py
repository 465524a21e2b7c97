"""Checkpoints come back exactly, or are refused."""

import errno
import json
import os
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bayescg import checkpoint
from bayescg.errors import CheckpointError, OutputError

TENSORS = {
    "a/b": torch.linspace(0, 1, 7),
    "double": torch.tensor([[1e-300, -0.0]], dtype=torch.float64),
    "odd": torch.tensor([float("nan"), float("inf"), -float("inf")]),
    "whole": torch.tensor([2**62, -1]),
    "flag": torch.tensor(True),
    "view": torch.arange(12.0).view(3, 4).T[::2],
    "nothing": torch.zeros(0, 3),
}


def test_tensors_and_meta_come_back_exactly(tmp_path):
    meta = {"step": 3, "nested": {"list": [1, 2.5, None, "ä"]}, "tiny": 1e-300}
    tensors, found = checkpoint.read(checkpoint.write(tmp_path / "deep" / "er", "one", TENSORS, meta))
    assert found == meta
    assert tensors.keys() == TENSORS.keys()
    for name, value in TENSORS.items():
        assert tensors[name].dtype == value.dtype
        assert tensors[name].shape == value.shape
        torch.testing.assert_close(tensors[name], value, rtol=0, atol=0, equal_nan=True)
    assert torch.signbit(tensors["double"][0, 1])


def test_tensors_that_share_memory_are_written_apart(tmp_path):
    whole = torch.arange(6.0)
    tensors, _ = checkpoint.read(checkpoint.write(tmp_path, "one", {"whole": whole, "part": whole[2:4]}, {}))
    assert tensors["part"].tolist() == [2.0, 3.0]


def test_only_the_newest_are_kept(tmp_path):
    for step in range(5):
        checkpoint.write(tmp_path, f"step-{step:03d}", {"a": torch.ones(1) * step}, {"step": step}, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "step-003.json", "step-003.safetensors", "step-004.json", "step-004.safetensors",
    ]  # fmt: skip
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found[1]["step"] == 4


def test_an_empty_directory_has_no_checkpoint(tmp_path):
    assert checkpoint.latest(tmp_path) is None
    assert checkpoint.latest(tmp_path / "absent") is None
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*missing"):
        checkpoint.read(tmp_path / "absent.json")


@settings(max_examples=60, deadline=None)
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), tensors=st.booleans())
def test_no_flipped_bit_goes_unseen(tmp_path_factory, where, bit, tensors):
    directory = tmp_path_factory.mktemp("flip")
    path = checkpoint.write(directory, "one", {"a": torch.arange(5.0)}, {"step": 3, "list": [1, 2]})
    target = path.with_suffix(".safetensors") if tensors else path
    data = bytearray(target.read_bytes())
    data[int(where * len(data))] ^= 1 << bit
    target.write_bytes(data)
    try:
        read_tensors, meta = checkpoint.read(path)
    except CheckpointError:
        return
    # a flip in the white space between JSON's items changes nothing that is read
    assert meta == {"step": 3, "list": [1, 2]}
    assert read_tensors["a"].tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert not tensors


@pytest.mark.parametrize("size", [0, 1, 7, 8, 40, -1])
@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_truncation_is_refused(tmp_path, suffix, size):
    path = checkpoint.write(tmp_path, "one", {"a": torch.arange(5.0)}, {"step": 3})
    target = path.with_suffix(suffix)
    target.write_bytes(target.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="one"):
        checkpoint.read(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "layout version 2, this bayescg reads version 1"),
        ({"schema": None}, "layout version None"),
        ({"meta": {"step": 4}}, "altered"),
        ({"tensors_sha256": "0" * 64}, "altered"),
        ({"sha256": None}, "altered"),
        ({"extra": 1}, "altered"),
    ],
)
def test_tampering_is_refused(tmp_path, change, words):
    path = checkpoint.write(tmp_path, "one", {"a": torch.arange(5.0)}, {"step": 3})
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=words):
        checkpoint.read(path)


@pytest.mark.parametrize("content", ["", "[]", "null", '"text"', "{}", "\x00", "[" * 100_000])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    (tmp_path / "one.json").write_text(content)
    (tmp_path / "one.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="one"):
        checkpoint.read(tmp_path / "one.json")


def test_tensors_of_another_checkpoint_are_refused(tmp_path):
    one = checkpoint.write(tmp_path, "one", {"a": torch.zeros(5)}, {})
    two = checkpoint.write(tmp_path, "two", {"a": torch.ones(5)}, {})
    two.with_suffix(".safetensors").replace(one.with_suffix(".safetensors"))
    with pytest.raises(CheckpointError, match="truncated or altered"):
        checkpoint.read(one)


def test_a_full_disk_changes_nothing(tmp_path, monkeypatch):
    path = tmp_path / "file"
    checkpoint.write_file(path, "before")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"No space left on device.*unchanged"):
        checkpoint.write_file(path, "after")
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_really_full_device_is_an_output_error():
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    full = Path("/dev/full")
    with (
        patch.object(Path, "with_name", lambda *_: full),
        patch.object(Path, "unlink"),
        pytest.raises(OutputError, match="No space left"),
    ):
        checkpoint.write_file(Path("never"), b"x" * 10_000)


def test_clear_removes_checkpoints_only(tmp_path):
    checkpoint.write(tmp_path, "one", {"a": torch.zeros(1)}, {})
    (tmp_path / "notes.txt").write_text("mine")
    checkpoint.clear(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    checkpoint.clear(tmp_path / "absent")
