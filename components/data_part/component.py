"""KFP face of the inspection of one part of the data."""

from typing import List

from kfp import dsl
from kfp.dsl import Artifact, Metrics, Output

from components.core.results.recall import recalled
from components.images import BASE_IMAGE, DATA_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=DATA_IMAGE)
@recalled
def data_part(
    dataset: str,
    task: str,
    inspected: Output[Artifact],
    metrics: Output[Metrics],
    part: dict = {},  # noqa: B006
    dataset_state: str = "",
    slice_columns: str = "",
    settings: dict = {},  # noqa: B006
    max_image_mb: float = 20.0,
    allow_paths: List[str] = [],  # noqa: B006
):
    """Reads, checks and decodes the rows of one part of the data; data_prep merges the parts.

    Args:
        dataset: The data, as for data_prep.
        task: Task that the data are for.
        inspected: The part's usable rows and the reasons why the others are not used, as a manifest.
        metrics: How many parts there are, and counts of usable and rejected rows of this one.
        part: The part to read: its "number", from 0, and "of", the number of parts. data_prep reads a single part.
        dataset_state: What the dataset's listing looked like (ingestion.sources.source_state). Not used here: it
            makes a cached result count only as long as the files are the same.
        slice_columns: Columns of the table whose values are slices, as a comma-separated list; empty for none.
        settings: The task's own data parameters (data_settings of preflight), by name.
        max_image_mb: Larger files are rejected, in megabytes (10^6 bytes).
        allow_paths: Folders and s3:// URIs that the rows of a table may name beside its own folder or bucket.
    """
    from components.core.artifacts.manifest import describe
    from components.core.data.collect import Part
    from components.core.data.parts import write_nothing
    from components.core.data.slices import parse_slice_columns
    from components.core.parameters import check_declared
    from components.core.report.metrics import log_metrics
    from components.core.store import store_from_environment
    from components.core.tasks import get_task
    from components.data_part.inspection import inspect_part

    check_declared({"dataset": dataset, "max_image_mb": max_image_mb, "allow_paths": allow_paths})
    slices = parse_slice_columns(slice_columns)
    rows = get_task(task).rows.with_options(settings)
    which = Part(number=part.get("number", 0), of=part.get("of", 1))
    store = store_from_environment()
    if which.of == 1:
        describe(inspected, write_nothing(inspected.path), store)
        log_metrics(metrics, {"parts": 1})
        print("one part only: data_prep inspects it itself")
        return
    manifest = inspect_part(
        dataset,
        rows,
        which,
        inspected.path,
        store,
        max_bytes=round(max_image_mb * 1e6),
        slice_columns=slices,
        allow_paths=allow_paths,
    )
    counts = {name: manifest.metadata[name] for name in ("rows", "rejected")}
    describe(inspected, manifest, store, **counts)
    log_metrics(metrics, {"parts": which.of, **counts})
    print(f"part {which.number + 1} of {which.of}: {counts['rows']:,} rows, {counts['rejected']:,} rejected")
