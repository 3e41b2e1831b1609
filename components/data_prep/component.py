"""KFP face of data preparation."""

from typing import List

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Output

from components.core.results.recall import recalled
from components.images import BASE_IMAGE, DATA_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=DATA_IMAGE)
@recalled
def data_prep(
    dataset: str,
    task: str,
    validation_fraction: float,
    test_fraction: float,
    prepared: Output[Dataset],
    metrics: Output[Metrics],
    page: Output[HTML],
    dataset_state: str = "",
    inspected: Input[List[Artifact]] = None,
    previous: Input[Dataset] = None,
    remember: str = "",
    slice_columns: str = "",
    settings: dict = {},  # noqa: B006
    split: str = "auto",
    rare_classes: str = "refuse",
    near_duplicates: str = "report",
    max_image_mb: float = 20.0,
    allow_paths: List[str] = [],  # noqa: B006
):
    """Checks the data, finds duplicates, splits by content and writes Parquet shards.

    Args:
        dataset: The data: demo (embedded), a folder or a table in a layout of the task, or an s3:// URI of these; the
            stage's card lists them.
        task: Task that the data are for.
        validation_fraction: Share of the rows for validation, above 0.
        test_fraction: Share of the rows for the test split, above 0; the two leave something to train on.
        prepared: The dataset: Parquet shards per split and quarantine.json, as a manifest.
        metrics: Counts of rows, classes, quarantined files and duplicates.
        page: Splits, classes, samples and the quarantine as HTML.
        dataset_state: What the dataset's listing looked like (ingestion.sources.source_state). Not used here: it
            makes a cached result count only as long as the files are the same.
        inspected: The parts of the data as data_part has inspected them. The data are inspected here if there is one
            part only, or none.
        previous: An earlier prepared data set; its shards of which nothing has changed are taken over.
        remember: Name of a ref in the store that will point at the result, for a later run to take as previous.
        slice_columns: Columns of the table whose values are slices (groups of rows, each judged by itself), as a
            comma-separated list; empty for none.
        settings: The task's own data parameters (data_settings of preflight), by name.
        split: auto follows a split that the data come with, given insists on one, content ignores it.
        rare_classes: refuse stops at a class with too few usable rows; leave_out continues without it.
        near_duplicates: report counts near copies across splits; group keeps all near copies in one split.
        max_image_mb: Larger files are quarantined, in megabytes (10^6 bytes).
        allow_paths: Folders and s3:// URIs that the rows of a table may name beside its own folder or bucket.
    """
    from components.core.artifacts.manifest import describe, read_manifest
    from components.core.data.dataset import open_dataset
    from components.core.data.ingestion.sources import display_name
    from components.core.data.last_prepared import save_last_prepared
    from components.core.data.parts import KIND
    from components.core.report.metrics import log_metrics
    from components.core.store import store_from_environment
    from components.core.tasks import get_task
    from components.data_prep.prepare import prepare
    from components.data_prep.settings import Settings
    from components.data_prep.summary import write_summary

    rows = get_task(task).rows.with_options(settings)
    asked = Settings(
        dataset=dataset,
        rows=rows,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        max_image_mb=max_image_mb,
        slice_columns=slice_columns,
        split=split,
        rare_classes=rare_classes,
        near_duplicates=near_duplicates,
        allow_paths=allow_paths,
    )
    store = store_from_environment()

    before = None if previous is None else open_dataset(previous.path, store)
    parts = [read_manifest(part.path, kind=KIND) for part in inspected or ()]
    result = prepare(asked, prepared.path, store, previous=before, parts=parts if len(parts) > 1 else ())

    opened = open_dataset(prepared.path, store)
    counts = {
        "rows": sum(opened.counts.values()),
        **opened.counts,
        **({"classes": len(opened.classes)} if opened.classes else {}),
        "quarantined": len(result.quarantine.files),
        "duplicates": len(result.quarantine.duplicates),
    }
    if remember:
        save_last_prepared(store, remember, result.manifest)
    describe(prepared, result.manifest, store, **counts, fingerprint=opened.fingerprint)
    log_metrics(metrics, counts)
    write_summary(page.path, shown_as=display_name(dataset), prepared=result, dataset=opened, rows=rows)
    for title, said in result.warnings:
        print(f"warning: {title}: {said}")
    print(", ".join(f"{name} {count:,}" for name, count in counts.items()))
