"""Resumable progress inside a training stage."""

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from components.core.errors import UserError
from components.core.json_documents import parse_object
from components.core.store.keys import cache_key
from components.core.training.ema import Ema
from components.core.training.history import History

if TYPE_CHECKING:
    from components.core.store import Store

FORMAT = 1
_TENSORS = "tensors.safetensors"
_PROGRESS = "progress.json"


@dataclass(kw_only=True)
class Progress:
    """Where a run is: everything about it that is not a tensor. JSON-able."""

    epoch: int = 0
    step_in_epoch: int = 0
    ema_updates: int = 0
    scaler: dict[str, Any] = field(default_factory=dict)
    epochs_without_gain: int = 0
    best_metric: float | None = None
    best_loss: float | None = None
    history: History = field(default_factory=History)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Progress":
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**record, "history": History(**record["history"])})


@dataclass(kw_only=True)
class TrainingState:
    """All that must be saved for a run to continue as if nothing had happened (the generators' states come on top)."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    ema: Ema | None = None
    scaler: torch.amp.GradScaler = field(default_factory=lambda: torch.amp.GradScaler(enabled=False))
    best: dict[str, Tensor] | None = None
    progress: Progress = field(default_factory=Progress)


def checkpoint_key(stage: str, *, parameters: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The key under which the same stage with the same parameters and input digests finds its progress again.

    How often to save is no part of it: it changes nothing in the result.
    """
    relevant = {name: value for name, value in parameters.items() if name != "checkpoint_seconds"}
    return cache_key(component=stage, code=f"checkpoint format {FORMAT}", parameters=relevant, inputs=inputs)


class Checkpointer:
    """Saves a `TrainingState` every `seconds` under one key of the store; tensors as safetensors, the rest as JSON.

    A checkpoint appears whole or not at all, and replaces the one before (the store's guarantee). A run killed at any
    moment and restored from it ends, on the same machine and thread count, with the weights of an undisturbed run.
    """

    def __init__(
        self, store: "Store", key: str, *, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.store = store
        self.key = key
        self.seconds = seconds
        self.clock = clock
        self.last_saved = clock()

    def is_due(self) -> bool:
        """Whether the time between two checkpoints has passed."""
        return self.clock() - self.last_saved >= self.seconds

    def save(self, state: TrainingState) -> None:
        """Writes the state, whole or not at all."""
        if state.ema is not None:
            state.progress.ema_updates = state.ema.updates
        state.progress.scaler = state.scaler.state_dict()
        document = json.dumps({"format": FORMAT, **asdict(state.progress)}).encode()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _TENSORS
            save_file({name: tensor.contiguous() for name, tensor in _tensors(state).items()}, path)
            self.store.checkpoints.save(self.key, {_TENSORS: path, _PROGRESS: document})
        # Counted from the end of saving, so that a slow store cannot make a run do nothing else.
        self.last_saved = self.clock()

    def restore(self, state: TrainingState) -> bool:
        """Loads the state in place and returns True; False when there is no checkpoint, and nothing is changed.

        Raises:
            UserError: the checkpoint does not say where the run is.
        """
        with tempfile.TemporaryDirectory() as folder:
            if not self.store.checkpoints.load(self.key, Path(folder)):
                return False
            record = parse_object((Path(folder) / _PROGRESS).read_bytes(), f"{_PROGRESS} of checkpoint {self.key[:12]}")
            tensors = load_file(Path(folder) / _TENSORS)
        try:
            if (found := record.pop("format")) != FORMAT:
                raise TypeError(f"the key names format {FORMAT}, the file {found!r}")
            state.progress = Progress.from_json(record)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{_PROGRESS} of checkpoint {self.key[:12]} is damaged: {error}; delete the checkpoint and run again"
            ) from None
        state.module.load_state_dict(_below(tensors, "module/"))
        if state.ema is not None:
            state.ema.module.load_state_dict(_below(tensors, "ema/"))
            state.ema.updates = state.progress.ema_updates
        state.scaler.load_state_dict(state.progress.scaler)
        state.best = _below(tensors, "best/") or None
        _load_optimizer(state.optimizer, _below(tensors, "optimizer/"))
        _set_generators(_below(tensors, "generator/"))
        self.last_saved = self.clock()
        return True

    def clear(self) -> None:
        """Removes the checkpoint; for after the stage's output has been saved."""
        self.store.checkpoints.clear(self.key)


def _tensors(state: TrainingState) -> dict[str, Tensor]:
    tensors = {f"module/{name}": tensor for name, tensor in state.module.state_dict().items()}
    if state.ema is not None:
        tensors |= {f"ema/{name}": tensor for name, tensor in state.ema.module.state_dict().items()}
    if state.best is not None:
        tensors |= {f"best/{name}": tensor for name, tensor in state.best.items()}
    for index, entries in state.optimizer.state_dict()["state"].items():
        # SGD holds a momentum_buffer of None before its first step.
        tensors |= {f"optimizer/{index}/{name}": value for name, value in entries.items() if value is not None}
    tensors["generator/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        for number, generator_state in enumerate(torch.cuda.get_rng_state_all()):
            tensors[f"generator/cuda/{number}"] = generator_state
    return tensors


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts the saved moments back; hyper-parameters are those the optimizer was just built with."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, entry = name.split("/")
        parameter = parameters[int(number)]
        if tensor.shape == parameter.shape and tensor.ndim:
            # The fused kernels walk moments and weights side by side in memory: same strides, or wrong pairs.
            tensor = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
        state.setdefault(int(number), {})[entry] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _set_generators(states: Mapping[str, Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    on_cuda = [states[name] for name in sorted(states) if name.startswith("cuda/")]
    if on_cuda and torch.cuda.is_available() and len(on_cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(on_cuda)
