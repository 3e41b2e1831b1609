"""The data set and networks of tests/fine_tune."""

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location("tiny_world", Path(__file__).parent.parent / "fine_tune" / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
_world = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_world)

one_thread, store = _world.one_thread, _world.store
make_dataset, dataset_path, dataset = _world.make_dataset, _world.dataset_path, _world.dataset
make_bundle, save_bundle, run_stage = _world.make_bundle, _world.save_bundle, _world.run_stage
