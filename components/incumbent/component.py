"""KFP face of the task that reads the champion, which a retraining is about."""

from typing import Dict, List, NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Model, Output

from components.images import BASE_IMAGE, DATA_IMAGE


class Incumbent(NamedTuple):
    """The champion as the later tasks need it."""

    name: str
    version: str
    state: str
    prepared: str
    anchors: List[Dict[str, str]]
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
    year_served: Output[Model],
    year_reference: Output[Dataset],
    test_parts: int = 1,
) -> Incumbent:
    """Reads the champion: its file, its network, its data.

    Args:
        champion: Name of the ref that points at the release now in use.
        served: The champion's released ONNX file, verified.
        model: The torch network that it was made of.
        reference: The data set that it was made from.
        latest: The data set that was prepared last, by a retraining or for the champion.
        anchor_served: The released ONNX file of the best release that is proven, which no challenger may fall behind.
        anchor_reference: The data set that it was made from.
        year_served: The released ONNX file of the first release of the year, which no challenger may fall behind.
        year_reference: The data set that it was made from.
        test_parts: Parts that the test split is cut into; the one that has measured the fewest releases is next.

    Returns:
        Name and version of the champion's release, the state of the ref for the compare-and-swap at the end, and the
        ref that points at the data set that was prepared last; what both anchors are called, with the release,
        name/version, and the one that was deleted; the part of the test split that is next, from 1, and how many
        releases of this name each part has measured so far.
    """
    from dataclasses import asdict

    from components.core.artifacts.manifest import describe, publish_entries
    from components.core.parameters import check_declared
    from components.core.store import store_from_environment
    from components.incumbent.reading import read_incumbent, save_served

    check_declared({"test_parts": test_parts})
    store = store_from_environment()
    incumbent = read_incumbent(store, champion, test_parts=test_parts)
    now, ((proven, best), (yearly, first)) = incumbent.champion, incumbent.anchors
    for artifact, of in ((served, now), (anchor_served, best), (year_served, first)):
        describe(artifact, save_served(artifact.path, of, store), store, release=of.release)
    for artifact, manifest, of in (
        (model, now.sources["model"], now),
        (reference, now.sources["dataset"], now),
        (latest, incumbent.latest, now),
        (anchor_reference, best.sources["dataset"], best),
        (year_reference, first.sources["dataset"], first),
    ):
        kept = publish_entries(
            artifact.path,
            kind=manifest.kind,
            entries=manifest.files,
            metadata=manifest.metadata,
            listings=manifest.listings,
        )
        describe(artifact, kept, store, release=of.release)
    print(f"champion {now.release}, champion since {incumbent.since}")
    for anchor in (proven, yearly):
        gone = f"; {anchor.deleted}, which was it, is deleted" if anchor.deleted else ""
        print(f"{anchor.title}: {anchor.release}{gone}")
    return Incumbent(
        name=now.name,
        version=now.version,
        state=incumbent.state,
        prepared=incumbent.prepared,
        anchors=[asdict(proven), asdict(yearly)],
        part=incumbent.part.number,
        part_uses=list(incumbent.part_uses),
    )
