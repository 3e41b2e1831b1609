"""KFP face of the drift test: the newest data against what the champion was made from."""

from kfp import dsl
from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from components.core.results.recall import recalled
from components.images import BASE_IMAGE, TRAIN_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=TRAIN_IMAGE)
@recalled
def drift(
    dataset: Input[Dataset],
    reference: Input[Dataset],
    model: Input[Model],
    drift: Output[Artifact],
    metrics: Output[Metrics],
    page: Output[HTML],
    max_images: int = 500,
    seed: int = 0,
    anchor_reference: Input[Dataset] = None,
    year_reference: Input[Dataset] = None,
):
    """Finds what arrived since the champion was made, and tests its labels and features for drift.

    Args:
        dataset: The newest prepared data set.
        reference: The data set that the champion was made from.
        model: The champion's torch network; its pooled features are what is compared.
        drift: drift.json: what arrived, both tests with effect size and p-value; seen.json: digests of test images that
            the champion or an anchor was trained or chosen on, for evaluate to leave out.
        metrics: The most important figures.
        page: The same as a page.
        max_images: Images of each sample that the feature test looks at, at least 20.
        seed: Random seed of the tests' permutations.
        anchor_reference: The data set of the best release that is proven, for seen.json.
        year_reference: The data set of the first release of the year, for seen.json.
    """
    import json

    from components.core.artifacts.manifest import describe, publish
    from components.core.bundles.model_bundle import load_model
    from components.core.data.dataset import open_dataset
    from components.core.data.seen_rows import SEEN, seen_in_test
    from components.core.parameters import check_declared
    from components.core.report.metrics import log_metrics
    from components.core.store import store_from_environment
    from components.core.training.device import deterministic, use_available_threads
    from components.drift.comparison import measure_drift
    from components.drift.page import write_drift_page

    check_declared({"drift_images": max_images, "seed": seed})

    store = store_from_environment()
    use_available_threads()
    with deterministic(seed):
        document = measure_drift(
            open_dataset(dataset.path, store),
            open_dataset(reference.path, store),
            load_model(model.path, store),
            store,
            max_images=max_images,
            seed=seed,
        )

    facts: dict[str, str | int | float | bool] = {"new_images": document["images"]["new"]}
    if document["labels"]:
        facts |= {"label_shift": document["labels"]["distance"], "label_p_value": document["labels"]["p_value"]}
    if document["features"]:
        facts |= {"feature_auc": document["features"]["auc"], "feature_p_value": document["features"]["p_value"]}
    content = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode()
    before = (reference, anchor_reference, year_reference)
    earlier = [open_dataset(one.path, store) for one in before if one is not None]
    seen = seen_in_test(open_dataset(dataset.path, store), earlier)
    files = {"drift.json": content, SEEN: json.dumps(seen).encode()}
    manifest = publish(drift.path, kind="drift", files=files, metadata={}, store=store)
    describe(drift, manifest, store, **facts)
    log_metrics(metrics, facts)
    write_drift_page(page.path, document)
