"""One of several processes that train together: `python -m components.core.training.rank_entry SPEC`, under torchrun.

SPEC is a JSON file, which `launch.train_in_processes` writes.
"""

import importlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from components.core.bundles.model_bundle import ModelBundle, load_model
from components.core.data.dataset import open_dataset
from components.core.errors import UserError
from components.core.store import store_from_environment
from components.core.training.checkpoint import Checkpointer
from components.core.training.history import History
from components.core.training.ranks import Ranks, joined

Technique = Callable[..., tuple[ModelBundle, History]]
"""`technique(*models, dataset, config, checkpointer=…, ranks=…)` → the trained bundle, on the CPU, and its curves."""

WEIGHTS, HISTORY, MISTAKE = "weights.safetensors", "history.json", "mistake.txt"
"""Files in the folder that the spec names: the first process leaves them, any process may leave the last."""


def spec_of(technique: Technique, config: Any, *, key: str, models: list[str]) -> dict[str, Any]:
    """The work of a process, without the places of its inputs; JSON-able.

    Args:
        technique: a function at the top of a module.
        config: its configuration: a dataclass of JSON-able values, with `checkpoint_seconds`.
        key: the checkpoint's.
        models: names of the input models, in the order in which the technique takes them.
    """
    return {
        "technique": f"{technique.__module__}:{technique.__qualname__}",
        "config_type": f"{type(config).__module__}:{type(config).__qualname__}",
        "config": vars(config),
        "key": key,
        "models": models,
    }


def train(spec: Mapping[str, Any], ranks: Ranks) -> tuple[nn.Module, History]:
    """Trains with the others. `spec` is from `spec_of`, with the paths of the artifacts `dataset` and of each model."""
    store = store_from_environment()
    config = _named(spec["config_type"])(**spec["config"])
    bundle, history = _named(spec["technique"])(
        *(load_model(spec[name], store) for name in spec["models"]),
        open_dataset(spec["dataset"], store),
        config,
        checkpointer=Checkpointer(store, spec["key"], seconds=config.checkpoint_seconds),
        ranks=ranks,
    )
    return bundle.module, history


def main(arguments: list[str]) -> None:
    """Trains, and the first process writes the result."""
    spec = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    folder = Path(spec["folder"])
    with joined() as ranks:
        try:
            module, history = train(spec, ranks)
        except UserError as error:
            # Not an exit code: all would be started again, and the mistake would still be there.
            (folder / MISTAKE).write_text(str(error), encoding="utf-8")
            return
        if ranks.leads:
            state = {name: tensor.contiguous() for name, tensor in module.state_dict().items()}
            save_file(state, folder / WEIGHTS)
            (folder / HISTORY).write_text(json.dumps(asdict(history)), encoding="utf-8")
        ranks.wait()


def _named(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


if __name__ == "__main__":
    main(sys.argv[1:])
