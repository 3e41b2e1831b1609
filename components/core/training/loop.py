"""The one training loop. A stage brings the loss of a step; everything else is the same for all of them."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from components.core.data.batch import Batch
from components.core.errors import UserError
from components.core.models.sparsity import held_zeros, set_zeros
from components.core.parameters import NO_LIMIT
from components.core.training.batchnorm import set_training_mode
from components.core.training.checkpoint import Checkpointer, Progress, TrainingState
from components.core.training.config import TrainingConfig
from components.core.training.data import TrainingData
from components.core.training.device import autocast, loss_scaler, place_batch
from components.core.training.ema import Ema
from components.core.training.history import History
from components.core.training.layer_rates import (
    AUTO_RGN,
    DECAY,
    GRADUAL,
    PROBE_BATCHES,
    auto_rgn_factors,
    gradual_factors,
    layer_labels,
    relative_gradient_norms,
    set_factors,
)
from components.core.training.optimizers import build_optimizer
from components.core.training.parameter_groups import parameter_groups, set_learning_rate
from components.core.training.ranks import ALONE, Ranks
from components.core.training.schedules import Schedule
from components.core.training.stopping import Stopped, StopRequest
from components.core.training.validation import Validation, validate

if TYPE_CHECKING:
    from components.core.tasks import Task

StepLoss = Callable[[nn.Module, Batch], Tensor]
"""`step_loss(model, batch)` → the loss summed over what counts in the batch, a scalar.

Runs under autocast, with the model in training mode and the batch on its device. The loop divides by the count of the
whole step, over all processes and all parts of it, so that each pixel or token weighs the same wherever it falls.
"""


def train(
    module: nn.Module,
    *,
    data: TrainingData,
    task: "Task",
    num_classes: int,
    step_loss: StepLoss,
    config: TrainingConfig,
    device: torch.device,
    checkpointer: Checkpointer | None = None,
    phases: Sequence[dict[str, Any]] = (),
    ranks: Ranks = ALONE,
    report: Callable[[str], None] = print,
) -> History:
    """Trains `module` in place and leaves it in eval mode with the weights of its best epoch.

    Epochs are compared by the task's training metric on validation data, then by validation loss; epoch 0 is the module
    as it came. Without validation data the last epoch is kept. With `ema_decay` the averaged weights are the ones that
    are validated and kept. If the checkpointer finds a checkpoint, training resumes from it, even in the middle of an
    epoch; the caller clears the checkpoint once the result is safe. On SIGTERM the run saves a checkpoint and leaves.

    `phases` describes what was trained before (the head). `report` takes one line an epoch. With several `ranks`, each
    process calls this with the same arguments and its share of the data; the first reports and saves.
    Raises `UserError` when the loss is no longer finite, `Stopped` when asked to stop.
    """
    with StopRequest() as stop:
        # Inside: once the first has its weights and continues, a signal must not end one that is still waiting.
        ranks.equalize(module)
        run = _Run(
            data=data, task=task, num_classes=num_classes, step_loss=step_loss, config=config, device=device,
            checkpointer=checkpointer, stop=stop, ranks=ranks, report=report if ranks.leads else lambda _: None,
        )  # fmt: skip
        state = _state(module, config, device)
        trained = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
        state.progress.history.phases.extend(phases)
        first = task.training_metric
        state.progress.history.metric = {"name": first.name, "label": first.label, "percent": first.percent}
        _train_epochs(run, state)
    history = state.progress.history
    padding = {} if data.padding is None else {"padding_fraction": data.padding}
    history.phases.append({"name": "network", "epochs": state.progress.epoch, **padding})
    if state.best is not None:
        module.load_state_dict(state.best)
    elif state.ema is not None:
        module.load_state_dict(state.ema.module.state_dict())
    for parameter in trained:
        parameter.requires_grad_(True)
    module.eval()
    return history


@dataclass(frozen=True, kw_only=True)
class _Run:
    """The arguments of `train`, and the request that may stop it."""

    data: TrainingData
    task: "Task"
    num_classes: int
    step_loss: StepLoss
    config: TrainingConfig
    device: torch.device
    checkpointer: Checkpointer | None
    stop: StopRequest
    ranks: Ranks
    report: Callable[[str], None]


def _state(module: nn.Module, config: TrainingConfig, device: torch.device) -> TrainingState:
    groups = parameter_groups(
        module,
        weight_decay=config.weight_decay,
        layer_decay=1.0 if config.layer_rates == AUTO_RGN else config.layer_decay,
        by_layer=config.layer_rates != DECAY,
    )
    return TrainingState(
        module=module,
        optimizer=build_optimizer(
            config.optimizer, groups, learning_rate=config.learning_rate, momentum=config.momentum
        ),
        ema=Ema(module, decay=config.ema_decay) if config.ema_decay else None,
        scaler=loss_scaler(device, config.precision),
    )


def _train_epochs(run: _Run, state: TrainingState) -> None:
    """All epochs that are still to do, the first validation among them."""
    progress = state.progress
    if run.checkpointer and run.checkpointer.restore(state):
        progress = state.progress
        run.report(f"resumed in epoch {progress.epoch + 1} after {progress.step_in_epoch} steps")
    else:
        _close_epoch(run, state, number=0)
    schedule = run.config.build_schedule(run.data.steps_per_epoch)
    by_layer = run.config.layer_rates != DECAY
    network = None if by_layer else run.ranks.wrap(state.module)
    while progress.epoch < run.config.epochs and not _out_of_patience(state, run.config):
        _train_epoch(run, state, network or _with_layer_rates(run, state), schedule)
        number = progress.epoch + 1
        _close_epoch(run, state, number=number)
        progress.epoch, progress.step_in_epoch = number, 0


def _with_layer_rates(run: _Run, state: TrainingState) -> nn.Module:
    """Sets how fast each layer learns in the running epoch; returns the module as it is to be called then.

    A run that resumes within an epoch keeps the rates from its start.
    """
    progress, groups, config = state.progress, state.optimizer.param_groups, run.config
    depths = {group["depth"] for group in groups}
    labels, decided = layer_labels(state.module), progress.history.layer_rates
    if not progress.step_in_epoch:
        factors = (
            gradual_factors(depths, epoch=progress.epoch, epochs=config.epochs)
            if config.layer_rates == GRADUAL
            else auto_rgn_factors(_probed(run, state))
        )
        decided.append({"epoch": progress.epoch + 1, "factors": {labels[one]: factors[one] for one in sorted(factors)}})
    set_factors(groups, {depth: decided[-1]["factors"][labels[depth]] for depth in depths})
    # Processes wait for the gradients of those parameters only that learned when the module was wrapped.
    return run.ranks.wrap(state.module)


def _probed(run: _Run, state: TrainingState) -> list[dict[int, float]]:
    """Relative gradient norms on the first batches of the running epoch, one per batch; no step is taken."""
    found, groups = [], state.optimizer.param_groups
    set_factors(groups, {group["depth"]: 1.0 for group in groups})
    network = run.ranks.wrap(state.module)
    set_training_mode(state.module, batch_norm="frozen")
    batches = run.data.training(state.progress.epoch, 0)
    try:
        for number, batch in enumerate(islice(batches, min(PROBE_BATCHES, run.data.steps_per_epoch))):
            run.ranks.seed_step(run.config.seed, state.progress.epoch * run.data.steps_per_epoch + number)
            state.optimizer.zero_grad(set_to_none=True)
            _backward(run, network, batch, state.scaler)
            found.append(relative_gradient_norms(groups))
    finally:
        _close(batches)
    return found


def _train_epoch(run: _Run, state: TrainingState, network: nn.Module, schedule: Schedule) -> None:
    """The steps of the running epoch that are still to do; `network` is the module as it is to be called."""
    progress, module, optimizer = state.progress, state.module, state.optimizer
    data, config = run.data, run.config
    pending: list[tuple[int, float, Tensor]] = []
    zeros = held_zeros(module)
    set_training_mode(module, batch_norm=config.batch_norm)
    batches = data.training(progress.epoch, progress.step_in_epoch)
    try:
        for batch in islice(batches, data.steps_per_epoch - progress.step_in_epoch):
            step = progress.epoch * data.steps_per_epoch + progress.step_in_epoch
            run.ranks.seed_step(config.seed, step)
            learning_rate = config.learning_rate * schedule.factor(step)
            set_learning_rate(optimizer.param_groups, learning_rate)
            optimizer.zero_grad(set_to_none=True)
            loss = _backward(run, network, batch, state.scaler)
            _step(optimizer, state.scaler, config.max_gradient_norm)
            set_zeros(zeros)
            if state.ema is not None:
                state.ema.update(module)
            pending.append((step, learning_rate, loss))
            progress.step_in_epoch += 1
            due = run.ranks.leads and run.checkpointer is not None and run.checkpointer.is_due()
            asked, due = run.ranks.any(run.stop.asked, due)
            if asked or due:
                _note_losses(run, state, pending)
                _save(run, state, asked=asked)
    finally:
        # The incomplete last batch is not read: tell the decoding thread to stop.
        _close(batches)
    _note_losses(run, state, pending)


def _step(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, max_norm: float) -> None:
    """One optimizer step, on gradients of at most the norm; none where a scaled gradient is not finite."""
    if max_norm != NO_LIMIT:
        scaler.unscale_(optimizer)
        learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        nn.utils.clip_grad_norm_(learning, max_norm)
    scaler.step(optimizer)
    scaler.update()


def _backward(run: _Run, network: nn.Module, batch: Batch, scaler: torch.amp.GradScaler) -> Tensor:
    """Adds the gradients of one step, part by part; returns this process's share of its mean loss, detached.

    DistributedDataParallel averages gradients over the processes, so each is multiplied by their number.
    """
    config, ranks = run.config, run.ranks
    count = batch.count if ranks.control is None else round(float(ranks.total(torch.tensor([batch.count]))))
    parts = _parts(batch, config.accumulation_steps)
    losses = []
    for number, part in enumerate(parts, start=1):
        with ranks.unsynchronized(network, when=number < len(parts)):
            with autocast(run.device, config.precision):
                total = run.step_loss(network, place_batch(part, run.device))
            # A step in which nothing counts has no gradient, and no mean.
            loss = total / max(count, 1) * ranks.share.size
            scaler.scale(loss).backward()
        losses.append(loss.detach())
    return torch.stack(losses).sum() if len(losses) > 1 else losses[0]


def _parts(batch: Batch, number: int) -> list[Batch]:
    """The batch in at most `number` parts of nearly equal size, none of them empty but that of an empty batch."""
    if number == 1 or not len(batch):
        return [batch]
    bounds = [place * len(batch) // number for place in range(number + 1)]
    return [batch.part(slice(low, high)) for low, high in pairwise(bounds) if high > low]


def _save(run: _Run, state: TrainingState, *, asked: bool) -> None:
    """Writes a checkpoint, and leaves if that was asked for."""
    if run.checkpointer and run.ranks.leads:
        run.checkpointer.save(state)
    if asked:
        run.ranks.wait()  # who leaves first takes the others with it
        kept = " with its progress saved; started again, it continues from here" if run.checkpointer else ""
        run.report(f"asked to stop: leaving{kept}")
        raise Stopped


def _note_losses(run: _Run, state: TrainingState, pending: list[tuple[int, float, Tensor]]) -> None:
    """Moves losses from the device into the history, all at once: reading one each step would make a GPU wait."""
    if not pending:
        return
    losses = (run.ranks.total(torch.stack([loss for _, _, loss in pending]).float()) / run.ranks.share.size).tolist()
    epoch = state.progress.epoch + 1
    for (step, learning_rate, _), loss in zip(pending, losses, strict=True):
        if not math.isfinite(loss):
            raise UserError(
                f"the loss became {loss} in epoch {epoch}, step {step}; a lower learning_rate or a longer "
                f"warmup_fraction would help (learning rate there: {learning_rate:.3g})"
            )
        state.progress.history.steps.append(
            {"step": step, "epoch": epoch, "learning_rate": learning_rate, "loss": loss}
        )
    pending.clear()


def _close_epoch(run: _Run, state: TrainingState, *, number: int) -> None:
    """Validates the weights that would be saved, and keeps a copy of them if they are the best so far."""
    progress, data, config = state.progress, run.data, run.config
    evaluated = state.ema.module if state.ema is not None else state.module
    losses = [step["loss"] for step in progress.history.steps if step["epoch"] == number]
    train_loss = sum(losses) / len(losses) if losses else None
    record: dict[str, Any] = {
        "epoch": number,
        "train_loss": train_loss,
        "validation_loss": None,
        "validation_metric": None,
    }
    if data.validation is None:
        progress.history.best_epoch = number
    else:
        batches = _until_asked(data.validation(), run, state)
        result = validate(
            evaluated, batches, task=run.task, num_classes=run.num_classes, device=run.device,
            precision=config.precision, ranks=run.ranks,
        )  # fmt: skip
        record |= {"validation_loss": result.loss, "validation_metric": result.metric}
        if _is_better(run.task, result, progress):
            progress.best_metric, progress.best_loss = result.metric, result.loss
            progress.epochs_without_gain = 0
            progress.history.best_epoch = number
            state.best = {name: tensor.detach().cpu().clone() for name, tensor in evaluated.state_dict().items()}
        else:
            progress.epochs_without_gain += 1
    progress.history.epochs.append(record)
    run.report(_line(record, config.epochs, run.task.training_metric.label))


def _until_asked(batches: Iterable[Batch], run: _Run, state: TrainingState) -> Iterator[Batch]:
    """The batches; validation changes nothing of the state, so what is saved in the middle is the end of the epoch."""
    for batch in batches:
        (asked,) = run.ranks.any(run.stop.asked)
        if asked:
            try:
                # Before the first step there is no progress to save, and the first validation would be lost.
                if not state.progress.step_in_epoch:
                    raise Stopped
                _save(run, state, asked=True)
            finally:
                _close(batches)  # may wait for shards that are on their way
        yield batch


def _is_better(task: "Task", result: Validation, progress: Progress) -> bool:
    if progress.best_metric is None or progress.best_loss is None:
        return True
    if result.metric == progress.best_metric:
        return result.loss < progress.best_loss
    return task.training_metric.better(result.metric, progress.best_metric)


def _out_of_patience(state: TrainingState, config: TrainingConfig) -> bool:
    return 0 < config.patience <= state.progress.epochs_without_gain


def _line(record: dict[str, Any], epochs: int, metric: str) -> str:
    parts = [f"epoch {record['epoch']}/{epochs}"]
    if record["train_loss"] is not None:
        parts.append(f"training loss {record['train_loss']:.4f}")
    if record["validation_loss"] is not None:
        parts.append(f"validation loss {record['validation_loss']:.4f}")
        parts.append(f"{metric} {record['validation_metric']:.4f}")
    return ", ".join(parts)


def _close(batches: Iterable) -> None:
    close = getattr(batches, "close", None)
    if close is not None:
        close()
