"""Several processes train one network: each reads its share of every batch, and all take the same step.

Started by torchrun (`launch.py`); with one process, `ALONE`, everything here does nothing.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from components.core.data.batch import WHOLE, Share

TIMEOUT = timedelta(hours=1)
"""How long a process waits for the others: the first decodes and saves checkpoints while they do."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process among those that train together.

    share: what it reads of every batch. control: a group of gloo, so that agreeing never waits for a GPU; None = alone.
    """

    share: Share = WHOLE
    control: "dist.ProcessGroup | None" = None

    @property
    def leads(self) -> bool:
        """Whether this is the process that reports and saves."""
        return self.share.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module to call: with several processes, its gradients are the mean over all of them after backward."""
        if self.control is None:
            return module
        # Statistics of batch norms are frozen, so buffers are equal without being sent.
        return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False)

    def equalize(self, module: nn.Module) -> None:
        """Gives every process the first one's weights and buffers."""
        if self.control is not None:
            for tensor in module.state_dict().values():
                sent = tensor.contiguous()  # a convolution's weights are in channels_last
                dist.broadcast(sent, src=0)
                tensor.copy_(sent)

    def any(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set in any process."""
        if self.control is None:
            return list(flags)
        found = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(found, op=dist.ReduceOp.MAX, group=self.control)
        return [bool(flag) for flag in found]

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, float64 on the CPU."""
        values = values.detach().double().cpu()
        if self.control is not None:
            dist.all_reduce(values, group=self.control)
        return values

    def gathered_total(self, values: Sequence[float], statistics: np.ndarray | None) -> list[float]:
        """Sums over all processes: of `values`, then of `statistics` `(K,)`; None where a process has no rows."""
        length = torch.tensor([0 if statistics is None else len(statistics)])
        if self.control is not None:
            dist.all_reduce(length, op=dist.ReduceOp.MAX, group=self.control)
        here = np.zeros(int(length)) if statistics is None else statistics
        return self.total(torch.tensor([*values, *here.tolist()], dtype=torch.float64)).tolist()

    def announced(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Broadcasts rank 0's message, JSON-able; other ranks' argument is ignored."""
        if self.control is None:
            return dict(message)
        content = torch.frombuffer(bytearray(json.dumps(message).encode()), dtype=torch.uint8)
        size = torch.tensor([len(content)])
        dist.broadcast(size, src=0, group=self.control)
        if not self.leads:
            content = torch.empty(int(size), dtype=torch.uint8)
        dist.broadcast(content, src=0, group=self.control)
        announced: dict[str, Any] = json.loads(bytes(content.tolist()))
        return announced

    def wait(self) -> None:
        """Returns when every process is here."""
        if self.control is not None:
            dist.barrier(group=self.control)

    @contextmanager
    def unsynchronized(self, network: nn.Module, *, when: bool) -> Iterator[None]:
        """Backward passes inside leave their gradients in this process, to be added to by a later one outside."""
        if when and isinstance(network, nn.parallel.DistributedDataParallel):
            with network.no_sync():
                yield
        else:
            yield

    def seed_step(self, seed: int, step: int) -> None:
        """Other random numbers in each process and step, the same ones after a restart; alone, nothing."""
        if self.control is not None:
            torch.manual_seed((seed * 1_000_003 + step) * 1009 + self.share.rank)


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """Joins the processes that torchrun has started: gloo on CPUs, nccl on CUDA, one device per process."""
    on_cuda = torch.cuda.is_available()
    if on_cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_cuda else "gloo", timeout=TIMEOUT)
    try:
        control: Any = dist.new_group(backend="gloo", timeout=TIMEOUT)
        yield Ranks(share=Share(dist.get_rank(), dist.get_world_size()), control=control)
    finally:
        dist.destroy_process_group()
