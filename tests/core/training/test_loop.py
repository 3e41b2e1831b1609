"""The training loop on a tiny network: it learns, stops, keeps the best, and repeats itself to the last bit."""

import pytest
import torch

from components.core.errors import UserError
from components.core.tasks import get_task
from components.core.training.data import TrainingData, steps_in_epoch
from components.core.training.device import deterministic
from components.core.training.loop import train
from components.core.training.validation import validate

TASK = get_task("classification")
CPU = torch.device("cpu")


def run(tiny, net=None, *, data=None, step_loss=None, **changes):
    net = net or tiny.net()
    lines = []
    with deterministic(0):
        history = train(
            net,
            data=data or tiny.data(),
            task=TASK,
            num_classes=3,
            step_loss=step_loss or tiny.step_loss,
            config=tiny.config(**changes),
            device=CPU,
            report=lines.append,
        )
    return net, history, lines


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_it_learns(tiny, optimizer, ema_decay):
    rate = 0.02 if optimizer == "adamw" else 0.5
    _net, history, lines = run(tiny, epochs=8, optimizer=optimizer, learning_rate=rate, ema_decay=ema_decay)
    assert history.epochs[0]["validation_metric"] < 0.6
    assert history.best()["validation_metric"] > 0.9
    assert history.metric == {"name": "top1", "label": "top-1", "percent": True}
    assert len(lines) == 9


def test_two_runs_agree_to_the_last_bit(tiny):
    first, history, _ = run(tiny)
    second, again, _ = run(tiny)
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    assert history.to_json() == again.to_json()


def test_another_seed_gives_other_weights(tiny):
    first, _, _ = run(tiny, tiny.net(seed=0))
    second, _, _ = run(tiny, tiny.net(seed=1))
    assert not torch.equal(first.head.weight, second.head.weight)


def test_every_step_is_taken_at_the_scheduled_rate(tiny):
    _, history, _ = run(tiny, epochs=2, warmup_fraction=0.0, power=2.0)
    rates = [step["learning_rate"] for step in history.steps]
    assert rates == pytest.approx([0.01 * (1 - t / 8) ** 2 for t in range(8)])
    assert [step["step"] for step in history.steps] == list(range(8))
    assert [step["epoch"] for step in history.steps] == [1] * 4 + [2] * 4


def test_the_weights_kept_are_those_of_the_best_validated_epoch(tiny):
    # The rate explodes after the second epoch: what comes later is worse.
    net, history, _ = run(
        tiny, epochs=6, ema_decay=0.0, schedule="step", step_epochs=2, step_gamma=40.0, warmup_fraction=0.0,
        optimizer="sgd", learning_rate=0.3,
    )  # fmt: skip
    validated = [epoch["validation_metric"] for epoch in history.epochs]
    assert history.best_epoch < 6
    assert validated[-1] < max(validated)
    result = validate(net, tiny.data().validation(), task=TASK, num_classes=3, device=CPU)
    assert result.metric == pytest.approx(max(validated))
    assert result.loss == pytest.approx(history.best()["validation_loss"], rel=1e-5)
    assert not net.training


def test_a_network_that_answers_no_numbers_has_no_metric(tiny):
    net, _, _ = run(tiny, epochs=1)
    with torch.no_grad():
        net.head.weight[0, 0] = torch.nan
    with pytest.raises(UserError, match="output is NaN or infinite for the validation images; train it again"):
        validate(net, tiny.data().validation(), task=TASK, num_classes=3, device=CPU)


def test_the_average_is_what_is_validated_and_kept(tiny):
    raw, plain, _ = run(tiny, ema_decay=0.0)
    averaged, history, _ = run(tiny, ema_decay=0.9)
    assert plain.epochs[1]["validation_loss"] != history.epochs[1]["validation_loss"]
    result = validate(averaged, tiny.data().validation(), task=TASK, num_classes=3, device=CPU)
    assert result.loss == pytest.approx(history.best()["validation_loss"], rel=1e-5)
    assert not torch.equal(raw.head.weight, averaged.head.weight)


def test_it_stops_when_validation_no_longer_improves(tiny):
    def no_gradient(model, batch):
        return model(*batch.inputs.values()).sum() * 0.0

    _, history, _ = run(tiny, epochs=50, patience=3, step_loss=no_gradient, optimizer="sgd", weight_decay=0.0,
                        learning_rate=1e-9)  # fmt: skip
    assert len(history.epochs) < 30
    assert len(history.epochs) - 1 - history.best_epoch == 3


def test_without_validation_data_the_last_epoch_is_kept(tiny):
    data = tiny.data(validation=False)
    net, history, _ = run(tiny, data=data, ema_decay=0.0)
    assert history.best_epoch == 3
    assert history.best()["validation_metric"] is None
    before = tiny.net()
    assert not torch.equal(net.head.weight, before.head.weight)


def test_no_epochs_leave_the_weights_and_still_validate_them(tiny):
    net, history, _ = run(tiny, epochs=0)
    assert torch.equal(net.head.weight, tiny.net().head.weight)
    assert history.best_epoch == 0
    assert history.best()["validation_metric"] is not None


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_step(tiny):
    def breaks(model, batch):
        return tiny.step_loss(model, batch) * float("inf")

    with pytest.raises(UserError, match="epoch 1, step 0; a lower learning_rate"):
        run(tiny, step_loss=breaks)


def test_the_source_of_batches_is_closed_at_the_end_of_each_epoch(tiny):
    closed, sources = [], []

    def endless(epoch, skip):
        source = batches(epoch)
        sources.append(source)  # a decoding thread would hold on to it, too
        return source

    def batches(epoch):
        try:
            while True:
                yield from tiny.batches(16, 16, seed=epoch)
        finally:
            closed.append(epoch)

    run(tiny, data=TrainingData(training=endless, steps_per_epoch=2, validation=None), epochs=2)
    assert closed == [0, 1]


def test_the_incomplete_last_batch_is_left_out_unless_it_is_the_only_one():
    assert [steps_in_epoch(rows, 32) for rows in (5, 32, 63, 64, 100)] == [1, 1, 1, 2, 3]


def test_curves_of_a_long_run_are_thinned_and_keep_every_epoch(tiny):
    _, history, _ = run(tiny, epochs=2)
    history.steps = [{"step": n, "epoch": 1, "learning_rate": 0.1, "loss": 1.0} for n in range(2500)]
    curves = history.to_json()
    assert len(curves["steps"]) == 834
    assert [epoch["epoch"] for epoch in curves["epochs"]] == [0, 1, 2]
