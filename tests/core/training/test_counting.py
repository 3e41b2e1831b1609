"""Each pixel weighs the same, in whatever row, part of a batch or process it is counted."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pixel_task
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from components.core.data.batch import Share
from components.core.errors import UserError
from components.core.training.history import History
from components.core.training.loop import train
from components.core.training.validation import validate

CPU = torch.device("cpu")
TASK: Any = pixel_task.PixelTask()

CHILD = """
import json, sys
import numpy as np
import torch
from safetensors.torch import save_file
import pixel_task
from components.core.training.loop import train
from components.core.training.ranks import joined
torch.set_num_threads(1)
out = sys.argv[1]
with joined() as ranks:
    for name, changes in json.loads(sys.argv[2]).items():
        network = pixel_task.network()
        history = train(
            network, data=pixel_task.data(ranks.share), task=pixel_task.PixelTask(), num_classes=3,
            step_loss=pixel_task.step_loss,
            config=pixel_task.config(num_processes=ranks.share.size, **changes),
            device=torch.device("cpu"), ranks=ranks,
        )
        save_file(network.state_dict(), f"{out}/{name}-{ranks.share.rank}.safetensors")
        if ranks.leads:
            open(f"{out}/{name}.json", "w").write(json.dumps(history.to_json()))
    # A validation split of fewer rows than there are processes: the first has none.
    total = ranks.gathered_total([1.5, 2.0], np.array([3.0, 4.0]) if ranks.share.rank else None)
    open(f"{out}/total-{ranks.share.rank}.json", "w").write(json.dumps(total))
"""


def run(network: nn.Module, data: Any = None, **changes: Any) -> History:
    return train(
        network,
        data=data or pixel_task.data(),
        task=TASK,
        num_classes=3,
        step_loss=pixel_task.step_loss,
        config=pixel_task.config(**changes),
        device=CPU,
        report=lambda line: None,
    )


def assert_close(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


def reference_epoch() -> tuple[dict[str, torch.Tensor], list[float]]:
    """One epoch by hand: the mean loss over all pixels that count in the whole batch, and `w −= 0.5 · gradient`."""
    network, losses = pixel_task.network(), []
    for batch in pixel_task.data().training(0, 0):
        chosen = batch.weight.flatten()
        outputs = network(batch.inputs["images"]).permute(0, 2, 3, 1).flatten(0, 2)
        loss = F.cross_entropy(outputs[chosen], batch.targets.flatten()[chosen])
        network.zero_grad()
        loss.backward()
        with torch.no_grad():
            for parameter in network.parameters():
                assert parameter.grad is not None
                parameter -= 0.5 * parameter.grad
        losses.append(float(loss.detach()))
    return network.state_dict(), losses


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 100])
def test_a_step_is_that_of_the_mean_over_what_counts_whatever_the_number_of_parts(parts: int) -> None:
    expected, losses = reference_epoch()
    network = pixel_task.network()
    data = pixel_task.data()
    object.__setattr__(data, "validation", None)
    history = run(network, data, epochs=1, accumulation_steps=parts)
    assert_close(network.state_dict(), expected)
    assert [step["loss"] for step in history.steps] == pytest.approx(losses, rel=1e-5)
    assert not torch.equal(expected["0.weight"], pixel_task.network().state_dict()["0.weight"])


@pytest.mark.parametrize("parts", [1, 3])
def test_a_step_in_which_nothing_counts_changes_nothing(parts: int) -> None:
    network = pixel_task.network()
    data = pixel_task.data(counted=[0] * pixel_task.ROWS)
    object.__setattr__(data, "validation", None)
    history = run(network, data, epochs=1, accumulation_steps=parts)
    assert [step["loss"] for step in history.steps] == [0.0, 0.0, 0.0]
    for name, tensor in pixel_task.network().state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor), name


def test_validation_is_the_mean_over_all_pixels_that_count_not_over_rows_or_batches() -> None:
    network, batches = pixel_task.network(), list(pixel_task.data().validation())  # type: ignore[misc]
    losses, right = [], []
    for batch in batches:
        chosen = batch.weight.flatten()
        outputs = network(batch.inputs["images"]).permute(0, 2, 3, 1).flatten(0, 2)[chosen]
        targets = batch.targets.flatten()[chosen]
        losses += F.cross_entropy(outputs, targets, reduction="none").tolist()
        right += (outputs.argmax(1) == targets).tolist()
    assert len(losses) == 33 + 31 + 7
    network.train()
    found = validate(network, batches, task=TASK, num_classes=3, device=CPU)
    assert found.loss == pytest.approx(sum(losses) / len(losses), rel=1e-5)
    assert found.metric == pytest.approx(sum(right) / len(right))
    assert found.rows == 12
    assert network.training


def test_a_validation_split_in_which_nothing_counts_is_refused() -> None:
    batches = [pixel_task.batch_of([0, 0], seed=0)]
    with pytest.raises(
        UserError, match="accuracy cannot be computed on the 2 validation images: they hold only 0 labelled places"
    ):
        validate(pixel_task.network(), batches, task=TASK, num_classes=3, device=CPU)


def test_two_processes_that_count_unequal_numbers_of_pixels_end_where_one_does(tmp_path: Path) -> None:
    """Each with its share whole, in two parts, with layers that join later, at rates from the gradients."""
    ways: dict[str, dict[str, Any]] = {
        "whole": {}, "parts": {"accumulation_steps": 2}, "gradual": {"layer_rates": "gradual", "epochs": 4},
        "auto_rgn": {"layer_rates": "auto_rgn", "accumulation_steps": 2},
    }  # fmt: skip
    first, second = (next(iter(pixel_task.data(Share(rank, 2)).training(0, 0))) for rank in (0, 1))
    assert (first.count, second.count) == (26, 7)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = [str(Path(pixel_task.__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, folders)), "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), json.dumps(ways)],
            env=environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    said = [child.communicate(timeout=300)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], said

    totals = [json.loads((tmp_path / f"total-{rank}.json").read_text()) for rank in (0, 1)]
    assert totals == [[3.0, 4.0, 3.0, 4.0]] * 2
    for way, changes in ways.items():
        alone = pixel_task.network()
        expected = run(alone, **changes)
        for rank in (0, 1):
            assert_close(load_file(tmp_path / f"{way}-{rank}.safetensors"), alone.state_dict())
        found = json.loads((tmp_path / f"{way}.json").read_text())
        for decided, by_one in zip(found["layer_rates"], expected.layer_rates, strict=True):
            assert decided["factors"] == pytest.approx(by_one["factors"], rel=1e-4)
        assert [one["loss"] for one in found["steps"]] == pytest.approx([one["loss"] for one in expected.steps])
        for name in ("validation_loss", "validation_metric"):
            assert [one[name] for one in found["epochs"]] == pytest.approx([one[name] for one in expected.epochs])
