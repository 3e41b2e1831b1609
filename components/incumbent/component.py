"""KFP face of the first task of `retrain`: what is asked, and the champion that it is about."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Model, Output

from components.images import BASE_IMAGE, DATA_IMAGE


class Incumbent(NamedTuple):
    """The champion as the later tasks need it."""

    name: str
    version: str
    state: str
    prepared: str


@dsl.component(base_image=BASE_IMAGE, target_image=DATA_IMAGE)
def incumbent(
    champion: str,
    action: str,
    min_new_images: int,
    max_quarantined: float,
    min_growth: float,
    drift_alpha: float,
    label_shift: float,
    large_label_shift: float,
    feature_drift: float,
    large_feature_drift: float,
    drift_images: int,
    max_loss: float,
    max_class_loss: float,
    max_slice_loss: float,
    tune_epochs: int,
    tune_learning_rate: float,
    served: Output[Model],
    model: Output[Model],
    reference: Output[Dataset],
    latest: Output[Dataset],
) -> Incumbent:
    """Checks what only `retrain` is asked, and reads the champion: its file, its network, its data.

    It takes all of these parameters so that a mistake in one costs a second and not a training.

    Args:
        champion: Name of the ref that points at the release in office.
        action: auto, skip, fine-tune or optimize.
        min_new_images: Fewer new images are waited for.
        max_quarantined: Largest share of unusable files among those that arrived.
        min_growth: New images, as a share of the champion's data, that are reason enough.
        drift_alpha: p-value at or below which a difference counts.
        label_shift: Total variation distance from which a label shift leads to fine-tuning.
        large_label_shift: The same, to a new search.
        feature_drift: AUC from which feature drift leads to fine-tuning.
        large_feature_drift: The same, to a new search.
        drift_images: Images of each sample for the feature test.
        max_loss: Points of top-1 that a challenger may lose against the champion.
        max_class_loss: The same for one class.
        max_slice_loss: The same for one slice.
        tune_epochs: Epochs of fine-tuning the champion.
        tune_learning_rate: Its learning rate.
        served: The champion's released ONNX file, verified.
        model: The torch network that it was made of.
        reference: The data set that it was made from.
        latest: The data set that was prepared last, by a retraining or for the champion.

    Returns:
        Name and version of the champion's release, the state of the ref for the compare-and-swap at the end, and the
        ref that points at the data set that was prepared last.
    """
    from components.core.artifacts.manifest import describe, publish_entries
    from components.core.errors import UserError
    from components.core.retraining import PromotionPolicy, RetrainPolicy
    from components.core.store import store_from_environment
    from components.incumbent.reading import read_incumbent, save_served

    RetrainPolicy(
        action=action,
        min_new_images=min_new_images,
        max_quarantined=max_quarantined,
        min_growth=min_growth,
        drift_alpha=drift_alpha,
        label_shift=label_shift,
        large_label_shift=large_label_shift,
        feature_drift=feature_drift,
        large_feature_drift=large_feature_drift,
    )
    PromotionPolicy(max_loss=max_loss, max_class_loss=max_class_loss, max_slice_loss=max_slice_loss)
    for name, value, least in (("drift_images", drift_images, 20), ("tune_epochs", tune_epochs, 1)):
        if value < least:
            raise UserError(f"{name} must be at least {least}; got {value}")
    if not tune_learning_rate > 0:
        raise UserError(f"tune_learning_rate must be greater than 0; got {tune_learning_rate}")

    store = store_from_environment()
    incumbent = read_incumbent(store, champion)
    release = f"{incumbent.name}/{incumbent.version}"
    describe(served, save_served(served.path, incumbent, store), store, release=release)
    for artifact, manifest in ((model, incumbent.model), (reference, incumbent.dataset), (latest, incumbent.latest)):
        kept = publish_entries(artifact.path, kind=manifest.kind, entries=manifest.files, metadata=manifest.metadata)
        describe(artifact, kept, store, release=release)
    print(f"champion {release}, in office since {incumbent.since}")
    return Incumbent(name=incumbent.name, version=incumbent.version, state=incumbent.state, prepared=incumbent.prepared)
