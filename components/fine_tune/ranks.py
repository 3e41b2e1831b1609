"""One of several processes that fine-tune together: `python -m components.fine_tune.ranks SPEC`, under torchrun."""

import sys
from collections.abc import Mapping
from typing import Any

from torch import nn

from components.core.bundles.model_bundle import load_model
from components.core.data.dataset import open_dataset
from components.core.store import store_from_environment
from components.core.training.checkpoint import Checkpointer
from components.core.training.history import History
from components.core.training.launch import serve
from components.core.training.ranks import Ranks
from components.fine_tune.tuning import FineTuneConfig, fine_tune_bundle


def train(spec: Mapping[str, Any], ranks: Ranks) -> tuple[nn.Module, History]:
    """`spec`: paths of the artifacts `dataset` and `model`, the `config`, and the `key` of the checkpoint."""
    store = store_from_environment()
    config = FineTuneConfig(**spec["config"])
    bundle = load_model(spec["model"], store)
    checkpointer = Checkpointer(store, spec["key"], seconds=config.checkpoint_seconds)
    history = fine_tune_bundle(
        bundle, open_dataset(spec["dataset"], store), config, checkpointer=checkpointer, ranks=ranks
    )
    return bundle.module, history


if __name__ == "__main__":
    serve(train, sys.argv[1:])
