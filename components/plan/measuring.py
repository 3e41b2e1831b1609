"""How long training takes here: a few steps of the network itself on the data, and what the other steps need of it."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import torch

from components.core.bundles.model_bundle import ModelBundle
from components.core.data.batch import Batch
from components.core.parameters import DECLARED
from components.core.time_box import Costs
from components.core.training.config import TrainingConfig
from components.core.training.data import TrainingData, training_data
from components.core.training.device import choose_device, place, place_batch, use_available_threads
from components.core.training.loop import train

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset

STEPS = 9
"""Training steps that are timed, the first of them, which is slower, left out; and batches of answers alone."""

_START_SECONDS = 3.0
"""A task's start, loading of its networks, and saving."""

_PRUNED_ROWS, _QUANTIZED_ROWS = 2600, 2000
"""Work of pruning (importance on 512 rows forward and backward, batch norms) and of quantizing (ranges, bias
correction, comparison), in answers of the network to a row; pruning also measures the metric before and after."""

_SINGLE_STEPS = 4
"""Training steps that are timed on one core, the first left out."""

_BESIDE = 1.1
"""How many times as long a core takes when its neighbours train too: they share caches and memory."""

_LATENCY_SECONDS = 4.0
"""Latency of candidate and baseline at two batch sizes, until the ratio is known to ±3 %."""

_EXPORT_SECONDS = 6.0


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Seconds of a training step and of the network's answer to one row, on all cores of the task; `single` is the
    step of a student on one core."""

    step: float
    row: float
    single: float
    steps_per_epoch: int
    threads: int


def measure_speed(
    bundle: ModelBundle, dataset: "Dataset", *, batch_size: int, clock: Callable[[], float] = time.perf_counter
) -> Speed:
    """Trains the bundle's module for a few steps, as fine-tuning does; it must not be used afterwards."""
    task, device = bundle.task, choose_device()
    threads = use_available_threads()
    place(bundle.module, device)
    data = training_data(task, dataset, assets=bundle.assets, batch_size=batch_size, seed=0, augment=True)
    step = _step_seconds(bundle, dataset, data, batch_size=batch_size, steps=STEPS, clock=clock)
    row = _mean_without_first(_answer_times(bundle, data.training(0, 0), clock)) / min(batch_size, _rows(dataset))
    # Students side by side share one accelerator.
    single = threads * step
    if threads > 1 and device.type == "cpu":
        torch.set_num_threads(1)
        single = _step_seconds(bundle, dataset, data, batch_size=batch_size, steps=_SINGLE_STEPS, clock=clock)
        torch.set_num_threads(threads)
    return Speed(step=step, row=row, single=single, steps_per_epoch=data.steps_per_epoch, threads=threads)


def _step_seconds(
    bundle: ModelBundle,
    dataset: "Dataset",
    data: TrainingData,
    *,
    batch_size: int,
    steps: int,
    clock: Callable[[], float],
) -> float:
    task, count = bundle.task, min(steps, data.steps_per_epoch)
    begun: list[float] = []

    def marked(epoch: int, skip: int) -> Iterator[Batch]:
        for batch in islice(data.training(epoch, skip), count):
            begun.append(_now(clock))
            yield batch

    defaults = {one.name: DECLARED[one.name].default for one in fields(TrainingConfig)}
    config = TrainingConfig(**{**defaults, "epochs": 1, "batch_size": batch_size})
    settings = task.training_settings({}, dataset)
    train(
        task.training_module(bundle.module, settings), task=task, num_classes=len(dataset.classes), config=config,
        data=replace(data, training=marked, steps_per_epoch=count, validation=None), device=choose_device(),
        step_loss=lambda model, batch: task.loss(model(*batch.inputs.values()), batch, settings=settings),
        report=lambda _: None,
    )  # fmt: skip
    begun.append(_now(clock))
    return _mean_without_first(begun)


def costs_of(speed: Speed, dataset: "Dataset", *, head_epochs: int) -> Costs:
    """Seconds of each step of the race at this speed."""
    train_rows, validation_rows = dataset.rows("train"), dataset.rows("validation")
    lanes = max(speed.threads, 1)
    single = min(max(_BESIDE * speed.single / speed.step, 1.0), float(lanes))
    handled = _PRUNED_ROWS + _QUANTIZED_ROWS + 2 * validation_rows
    return Costs(
        head=2 * _START_SECONDS + (1.2 * train_rows * speed.row if head_epochs else 0.0),
        epoch=speed.steps_per_epoch * speed.step + validation_rows * speed.row,
        teacher=train_rows * speed.row,
        # Pruning, distillation and quantization are a task each.
        handling=3 * _START_SECONDS + single * handled * speed.row,
        evaluation=_START_SECONDS + _LATENCY_SECONDS + 2 * validation_rows * speed.row,
        release=_START_SECONDS + _LATENCY_SECONDS + _EXPORT_SECONDS + 2 * dataset.rows("test") * speed.row,
        lanes=lanes,
        single=single,
    )


def _answer_times(bundle: ModelBundle, batches: Iterable[Batch], clock: Callable[[], float]) -> list[float]:
    """When each of a few batches was begun, and when the last one was answered."""
    device, times = choose_device(), []
    bundle.module.eval()
    with torch.inference_mode():
        for batch in islice(batches, STEPS):
            times.append(_now(clock))
            bundle.module(*place_batch(batch, device).inputs.values())
    return [*times, _now(clock)]


def _now(clock: Callable[[], float]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return clock()


def _mean_without_first(times: list[float]) -> float:
    """The mean and not the median: what disturbs the machine will disturb it later too."""
    took = [after - before for before, after in pairwise(times)]
    counted = took[1:] or took
    return sum(counted) / len(counted)


def _rows(dataset: "Dataset") -> int:
    return int(dataset.rows("train"))
