"""One fit on many processes, which torchrun starts: each computes its part of every batch, all hold all parameters."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as serialise_tensors
from torch import Tensor, distributed

from bayescg.errors import ConfigError, DeviceError, FitError, ModelError
from bayescg.stopping import StopFlag

if TYPE_CHECKING:
    from bayescg.modelling.model import Model

__all__ = ["LostProcess", "Processes", "join", "launched"]

_TIMEOUT = 600.0  # seconds without an answer; a process that ends is noticed at once
_GRACE = 5.0  # seconds for an answer once this process was asked to stop


class LostProcess(FitError):
    """Another process of the fit has ended or no longer answers."""


def launched() -> bool:
    """Whether torchrun, or what sets its environment variables, has started several processes."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return all(n in os.environ for n in names) and int(os.environ["WORLD_SIZE"]) > 1


def join(model: Model, device: str) -> Processes:
    """Connect to the other processes, through Lightning Fabric.

    Parameters
    ----------
    model : Model
        To be fitted.
    device : {"auto", "cpu", "cuda"}
        Each process takes the CUDA device of its number on its machine (NCCL), or the CPU (gloo).

    Raises
    ------
    ModelError
        The model's loss couples the frames of a batch.
    ConfigError
        Lightning Fabric is not installed.
    DeviceError
        There are fewer CUDA devices than processes.
    LostProcess
        The others cannot be reached.
    """
    count = int(os.environ["WORLD_SIZE"])
    if not model.additive:
        raise ModelError(
            f"the loss of {type(model).__name__} couples the frames of a batch (additive = False), so it is no sum of "
            f"parts that {count} processes compute; start the script with python, in one process"
        )
    here = int(os.environ.get("LOCAL_WORLD_SIZE", count))
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
        from lightning_fabric.strategies.ddp import DDPStrategy
    except ImportError as error:
        raise ConfigError(
            f"torchrun started {count} processes, and one fit on several needs Lightning Fabric ({error}): "
            "pip install 'bayescg[distributed]', or start the script with python"
        ) from error
    cuda = device != "cpu" and torch.cuda.is_available()
    if cuda and torch.cuda.device_count() < here:
        raise DeviceError(
            f"torchrun started {here} processes on a machine with {torch.cuda.device_count()} CUDA devices; start at "
            "most one a device (--nproc-per-node), or fit with device='cpu'"
        )
    fabric = Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=here,
        num_nodes=count // here,
        # NCCL kills the process when its time is up: ours is up before
        strategy=DDPStrategy(timeout=timedelta(seconds=_TIMEOUT + 60)),
        plugins=[TorchElasticEnvironment()],
    )
    try:
        fabric.launch()
    except RuntimeError as error:
        raise LostProcess(f"the {count} processes that torchrun started cannot connect: {_cause(error)}") from error
    return Processes(fabric.global_rank, fabric.world_size, fabric.device)


class Processes:
    """The processes of a fit, and what they tell one another.

    Process 0 alone writes, and decides whatever hangs on time or rounding.

    Parameters
    ----------
    rank, count : int
        Number of this process, and how many there are.
    device : torch.device
        Where its tensors are.
    """

    def __init__(self, rank: int, count: int, device: torch.device):
        self.rank, self.count, self.device = rank, count, device
        self._asked, self._agreed = StopFlag(), StopFlag()

    def sum(self, values: Tensor) -> Tensor:
        """Sum over processes, ``(n,)``; whether one of them was asked to stop travels along."""
        both = torch.cat([values, values.new_tensor([float(bool(self._asked.signal))])])
        self._done(lambda: distributed.all_reduce(both, async_op=True))
        if both[-1] > 0:
            self._agreed.signal = self._asked.signal or "a signal to another process"
        return both[:-1]

    def share(self, *tensors: Tensor) -> None:
        """Give tensors, in place, the values that they have in process 0."""
        for dtype in dict.fromkeys(v.dtype for v in tensors):
            same = [v for v in tensors if v.dtype == dtype]
            sent = torch.cat([v.to(self.device).flatten() for v in same])
            self._done(lambda sent=sent: distributed.broadcast(sent, 0, async_op=True))
            for value, part in zip(same, sent.split([v.numel() for v in same]), strict=True):
                value.copy_(part.view_as(value))

    def shared(self, value: Any) -> Any:
        """Process 0's value, which JSON must be able to hold."""
        return json.loads(self._bytes(json.dumps(value).encode()))

    def shared_checkpoint(
        self, found: tuple[dict[str, Tensor], dict[str, Any]] | None
    ) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """The checkpoint that process 0 has found: others may not reach its disk."""
        tensors, meta = found or ({}, None)
        meta = self.shared(meta)
        return None if meta is None else (parse_tensors(self._bytes(serialise_tensors(tensors))), meta)

    def check_same(self, identity: dict[str, Any]) -> None:
        """Refuse to go on unless all processes were given the same model, data and settings.

        Raises
        ------
        ConfigError
        """
        theirs = self.shared(identity)
        other = [k.replace("_", " ") for k, v in json.loads(json.dumps(identity)).items() if theirs.get(k) != v]
        if self.sum(torch.tensor([float(len(other))], device=self.device)) > 0:
            which = f"process {self.rank} was given another {', '.join(other)} than process 0"
            raise ConfigError(
                f"{which if other else 'another process was given something else than process 0'}; the script must "
                f"call bcg.fit with the same arguments in each of its {self.count} processes"
            )

    def agree_on(self, stop: StopFlag) -> StopFlag:
        """A flag that is raised in all processes after the same step, when one of them was asked to stop."""
        self._asked, self._agreed = stop, StopFlag()
        return self._agreed

    def _bytes(self, content: bytes) -> bytes:
        size = torch.tensor([len(content)])
        self.share(size)
        sent = torch.zeros(int(size), dtype=torch.uint8)
        if self.rank == 0:
            sent = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        self.share(sent)
        return sent.numpy().tobytes()

    def _done(self, start: Callable[[], Any]) -> None:
        """Start a collective operation and wait until it is done, or cannot be."""
        began = time.monotonic()
        try:
            work = start()
            while not work.is_completed():  # so that signals are seen: a wait of torch's own would hold them up
                waited = time.monotonic() - began
                if waited > _TIMEOUT:
                    raise RuntimeError(f"no answer for {waited:.0f} s")
                if waited > _GRACE and self._asked.signal:
                    raise RuntimeError(f"{self._asked.signal}, and no answer for {waited:.0f} s")
                time.sleep(2e-5)
            work.wait()
        except RuntimeError as error:
            raise LostProcess(
                f"process {self.rank} of {self.count} has lost another ({_cause(error)}): it was killed, ended with an "
                "error, or its machine is gone; its own output says more"
            ) from error


def _cause(error: Exception) -> str:
    """First sentence of an error of torch's, without the place in its source."""
    text = re.sub(r"^\[[^\]]*\]\s*", "", str(error).strip().partition("\n")[0])
    return re.split(r"\.\s", text)[0].rstrip(".")
