"""KFP face of the judgement: may the challenger take the champion's place?"""

from typing import Dict, List, NamedTuple

from kfp import dsl
from kfp.dsl import HTML, Artifact, Input, Output

from components.images import BASE_IMAGE, DATA_IMAGE


class Judged(NamedTuple):
    """Outputs that the pipeline branches on."""

    verdict: str


@dsl.component(base_image=BASE_IMAGE, target_image=DATA_IMAGE)
def judge(
    evaluation: Input[Artifact],
    duel: Input[Artifact],
    decision: Input[Artifact],
    judgement: Output[Artifact],
    page: Output[HTML],
    max_loss: float = 1.0,
    max_class_loss: float = 5.0,
    max_slice_loss: float = 5.0,
    anchor_duel: Input[Artifact] = None,
    year_duel: Input[Artifact] = None,
    anchors: List[Dict[str, str]] = [],  # noqa: B006
    part_uses: List[int] = [0],  # noqa: B006
) -> Judged:
    """Judges a challenger by its budget and by its paired comparison with the champion on the same test rows.

    Args:
        evaluation: The challenger against its float32 network, on test data, with the budget's verdict.
        duel: The challenger against the champion, on the same test data.
        decision: Why there is a challenger (retraining.json).
        judgement: judgement.json: every check, the verdict, and what led to it.
        page: The same as a page.
        max_loss: Points of the primary metric that the challenger may lose overall; the paired test must exclude more.
            0 to 100.
        max_class_loss: Maximum loss of any class, in points of its metric; a statistically significant larger loss
            blocks promotion. 0 to 100.
        max_slice_loss: The same for one slice of the data set (slice_columns). 0 to 100.
        anchor_duel: The challenger against the best release that is proven, on the same test data.
        year_duel: The challenger against the first release of the year, on the same test data.
        anchors: Of both anchors the title, the release (name/version), and a deleted release that it stands in for.
        part_uses: Of each part of the test split, how many releases it has measured before this one; one number where
            the whole split measures.

    Returns:
        promote or keep.
    """
    import json

    from components.core.artifacts.manifest import describe, publish, read_document, read_manifest
    from components.core.evaluation.document import read_evaluation
    from components.core.report.page import Section, write_page
    from components.core.retraining import Anchor, PromotionPolicy
    from components.core.stage_pages.judgement import judgement_blocks
    from components.core.store import store_from_environment
    from components.judge.verdict import decide_promotion

    policy = PromotionPolicy(max_loss=max_loss, max_class_loss=max_class_loss, max_slice_loss=max_slice_loss)
    store = store_from_environment()
    measured = [read_evaluation(one.path, store) for one in (anchor_duel, year_duel) if one]

    met = read_evaluation(duel.path, store)
    document = decide_promotion(
        read_evaluation(evaluation.path, store),
        met,
        read_document(read_manifest(decision.path, kind="decision"), "retraining.json", store),
        policy,
        anchors=[(Anchor(**anchor), found) for anchor, found in zip(anchors, measured, strict=True)],
        part_uses=part_uses,
    )
    verdict = "promote" if document["promote"] else "keep"
    print(f"{verdict}: {document['reason']}")

    content = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode()
    manifest = publish(judgement.path, kind="judgement", files={"judgement.json": content}, metadata={}, store=store)
    describe(
        judgement,
        manifest,
        store,
        verdict=verdict,
        reason=document["reason"],
        difference_points=document["difference"]["points"],
    )
    sections = [Section("", judgement_blocks(document))]
    data = met.dataset.description or ""
    write_page(page.path, "Champion and challenger", sections, eyebrow="judge", data=data)
    return Judged(verdict=verdict)
