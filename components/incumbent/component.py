"""KFP face of the task that reads the champion, which a retraining is about."""

from typing import List, NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Model, Output

from components.images import BASE_IMAGE, DATA_IMAGE


class Incumbent(NamedTuple):
    """The champion as the later tasks need it."""

    name: str
    version: str
    state: str
    prepared: str
    anchor: str
    part: int
    part_uses: List[int]


@dsl.component(base_image=BASE_IMAGE, target_image=DATA_IMAGE)
def incumbent(
    champion: str,
    served: Output[Model],
    model: Output[Model],
    reference: Output[Dataset],
    latest: Output[Dataset],
    anchor_served: Output[Model],
    anchor_reference: Output[Dataset],
    test_parts: int = 1,
) -> Incumbent:
    """Reads the champion: its file, its network, its data.

    Args:
        champion: Name of the ref that points at the release now in use.
        served: The champion's released ONNX file, verified.
        model: The torch network that it was made of.
        reference: The data set that it was made from.
        latest: The data set that was prepared last, by a retraining or for the champion.
        anchor_served: The released ONNX file of the anchor: the best release that is proven, which no challenger may
            fall behind.
        anchor_reference: The data set that the anchor was made from.
        test_parts: Parts that the test split is cut into; the one that has measured the fewest releases is next.

    Returns:
        Name and version of the champion's release, the state of the ref for the compare-and-swap at the end, and the
        ref that points at the data set that was prepared last; the anchor's release, name/version; the part of the test
        split that is next, from 1, and how many releases of this name each part has measured so far.
    """
    from components.core.artifacts.manifest import describe, publish_entries
    from components.core.parameters import check_declared
    from components.core.store import store_from_environment
    from components.incumbent.reading import read_incumbent, save_served

    check_declared({"test_parts": test_parts})
    store = store_from_environment()
    incumbent = read_incumbent(store, champion, test_parts=test_parts)
    release = f"{incumbent.name}/{incumbent.version}"
    describe(served, save_served(served.path, incumbent, store), store, release=release)
    anchor = incumbent.anchor
    describe(anchor_served, save_served(anchor_served.path, anchor, store), store, release=anchor.release)
    for artifact, manifest, owner in (
        (model, incumbent.model, release),
        (reference, incumbent.dataset, release),
        (latest, incumbent.latest, release),
        (anchor_reference, anchor.dataset, anchor.release),
    ):
        kept = publish_entries(
            artifact.path,
            kind=manifest.kind,
            entries=manifest.files,
            metadata=manifest.metadata,
            listings=manifest.listings,
        )
        describe(artifact, kept, store, release=owner)
    print(f"champion {release}, champion since {incumbent.since}; anchor {anchor.release}")
    return Incumbent(
        name=incumbent.name,
        version=incumbent.version,
        state=incumbent.state,
        prepared=incumbent.prepared,
        anchor=anchor.release,
        part=incumbent.part.number,
        part_uses=list(incumbent.part_uses),
    )
