"""The fixtures of tests/tiny_world.py, for the tests of this folder."""

from tiny_world import (  # noqa: F401  (pytest finds them here by name)
    dataset,
    dataset_path,
    make_bundle,
    make_dataset,
    one_thread,
    run_stage,
    save_bundle,
    store,
)
