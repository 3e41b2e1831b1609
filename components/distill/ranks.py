"""One of several processes that distill together: `python -m components.distill.ranks SPEC`, under torchrun."""

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
from components.distill.distillation import DistillConfig, distill_bundle


def train(spec: Mapping[str, Any], ranks: Ranks) -> tuple[nn.Module, History]:
    """`spec`: paths of the artifacts `dataset`, `teacher` and `student`, the `config`, and the checkpoint's `key`."""
    store = store_from_environment()
    config = DistillConfig(**spec["config"])
    bundle, history = distill_bundle(
        load_model(spec["teacher"], store),
        load_model(spec["student"], store),
        open_dataset(spec["dataset"], store),
        config,
        checkpointer=Checkpointer(store, spec["key"], seconds=config.checkpoint_seconds),
        ranks=ranks,
    )
    return bundle.module, history


if __name__ == "__main__":
    serve(train, sys.argv[1:])
