"""Minibatches of torch's peers: a new order each epoch, gathered by index from data on the device."""

from collections.abc import Iterator

import torch
from torch import Tensor

from tests.benchmarks.problems import Problem, data


def minibatches(problem: Problem, batch: int, device: str) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of one batch after another, without end; empty tuples where there are no data."""
    tensors = [torch.from_numpy(a).to(device) for a in data(problem, batch)]
    while not tensors:
        yield ()
    while True:
        for index in torch.randperm(len(tensors[0]), device=device).split(batch):
            if len(index) == batch:
                yield tuple(t[index] for t in tensors)


def wait(device: str) -> None:
    """Return when everything asked of the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
