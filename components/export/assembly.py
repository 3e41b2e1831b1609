"""Put a release together: serving files, evidence, card, checksums."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.core.artifacts.manifest import Manifest
from components.core.bundles.onnx_bundle import OnnxBundle
from components.core.bundles.release_files import (
    CARD,
    CLIENT,
    DECISION,
    EVALUATION,
    PROVENANCE,
    RETRAINING,
    SELF_TEST,
    SELF_TEST_RECORD,
    SUMS,
)
from components.core.bundles.released_sources import SOURCES, encode_sources
from components.core.data.stated_facts import is_remark
from components.core.errors import UserError
from components.core.evaluation.document import Evaluation, encode_evaluation, without_samples
from components.core.evaluation.parsing import read_fields
from components.core.evaluation.stage_documents import Choice, Host, Judgement, Provenance
from components.core.models.catalog import find_backbone, load_catalog
from components.core.runtime.metadata import trimtab_version
from components.export.card import write_card
from components.export.release import VERSION_DIGITS, checksums, release_digest
from components.export.self_test import PROGRAM, encoded, self_test
from components.export.verification import Verification


@dataclass(frozen=True, kw_only=True)
class Assembled:
    """The files of a release, its version, and flat facts about it."""

    version: str
    files: dict[str, bytes]
    metadata: dict[str, Any]


def assemble(
    name: str,
    bundle: OnnxBundle,
    *,
    evaluation: Evaluation,
    decision: Mapping[str, Any],
    verification: Verification,
    digests: Mapping[str, str],
    sources: Mapping[str, Manifest],
    licence: str | None = None,
    retraining: Mapping[str, Any] | None = None,
) -> Assembled:
    """All files of the release `name`.

    Args:
        name: of the release.
        bundle: what is released.
        evaluation: of the bundle; its samples are left out, for a release is no place for rows of a data set.
        decision: decision.json.
        verification: what was checked.
        digests: of the artifacts it was made of, by title.
        sources: manifests of what a later retraining starts from.
        licence: of the backbone's weights; None looks it up in the built-in catalog.
        retraining: judgement.json of a challenger; None for a release that no retraining made.

    Raises:
        UserError: the manifest of the network has something else as its licence or data set, or the provenance of the
            bundle does not say what it was made of; or one of the documents lacks what the card shows of it.
    """
    learnt_from = sources["model"].metadata.get("dataset")
    for fact, stated in (("licence", licence), ("dataset", learnt_from)):
        if stated is not None and not is_remark(stated):
            raise UserError(f"the network's manifest has a {fact} that is not one short line; train it again")
    if missing := [one for one in ("source_model", "float32_graph", "backbone") if one not in bundle.provenance]:
        raise UserError(f"the ONNX bundle does not say its {missing[0]}; quantize it again")
    read_fields(Host, evaluation.host, "the host in evaluation.json")
    read_fields(Choice, decision, "decision.json")
    if retraining is not None:
        read_fields(Judgement, retraining, "judgement.json")
    read_fields(Provenance, bundle.provenance, "provenance.json of the ONNX bundle")
    files = bundle.serving_files()
    digest = release_digest(files)
    version = digest[:VERSION_DIGITS]
    chain = {
        **digests,
        "source model of the file": bundle.provenance["source_model"],
        "float32 graph": bundle.provenance["float32_graph"],
    }
    if "calibration" in bundle.provenance:
        chain["calibration data (fingerprint)"] = bundle.provenance["calibration"]["dataset"]
    if learnt_from not in (None, sources["dataset"].digest):
        chain["data set that the network learnt from, with a teacher's targets"] = learnt_from
    provenance = {**bundle.provenance, "verification": verification.to_json(), "artifacts": dict(digests)}
    described = {"calibration": None, **bundle.provenance}
    text = bundle.task.pages.card_text(evaluation, bundle.assets, described)
    card = write_card(
        evaluation,
        text,
        {
            "name": name,
            "version": version,
            "digest": digest,
            "digests": chain,
            "decision": decision,
            "provenance": described,
            "verification": verification.to_json(),
            "licence": licence or _licence(bundle.provenance["backbone"]),
            "trimtab": trimtab_version(),
            "retraining": retraining,
        },
    )
    files[CARD] = card.encode()
    files[SELF_TEST] = PROGRAM.encode()
    files[SELF_TEST_RECORD] = encoded(self_test(bundle, evaluation))
    if text.client:
        files[CLIENT] = text.client.encode()
    files[EVALUATION] = encode_evaluation(without_samples(evaluation)) + b"\n"
    files[DECISION] = _json(decision)
    files[PROVENANCE] = _json(provenance)
    if retraining is not None:
        files[RETRAINING] = _json(retraining)
    files[SOURCES] = encode_sources(sources)
    files[SUMS] = checksums(files)
    metadata = {
        "name": name,
        "version": version,
        "release_digest": digest,
        "scheme": bundle.provenance["scheme"],
        "size_bytes": bundle.size_bytes,
        "split": evaluation.split,
        evaluation.primary.name: evaluation.primary.candidate.value,
        "meets_budget": evaluation.verdict.meets,
    }
    return Assembled(version=version, files=files, metadata=metadata)


def _licence(backbone: str) -> str | None:
    try:
        return find_backbone(backbone, load_catalog()).licence
    except UserError:
        return None


def _json(document: Any) -> bytes:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
