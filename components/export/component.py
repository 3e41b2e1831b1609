"""KFP face of the export: a verified, immutable release in the store."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Markdown, Model, Output

from components.core.results.recall import recalled
from components.images import BASE_IMAGE, TRAIN_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=TRAIN_IMAGE)
@recalled
def export(
    candidate: Input[Model],
    model: Input[Model],
    baseline: Input[Model],
    evaluation: Input[Artifact],
    decision: Input[Artifact],
    dataset: Input[Dataset],
    release: Output[Model],
    card: Output[Markdown],
    name: str = "model",
    retraining: Input[Artifact] = None,
):
    """Verifies the chosen model once more and publishes it with its card, evidence and checksums.

    The version is the beginning of a digest over the serving files alone, so the same network has the same version
    wherever and whenever it is released. A model that misses its budget is released too, and says so first. It is
    signed if TRIMTAB_SIGNING_KEY, in the task's environment, names a key file of minisign.

    Args:
        candidate: The chosen ONNX bundle.
        model: The torch network it was made of.
        baseline: Model that it was compared with.
        evaluation: Its comparison with the baseline, on test data.
        decision: How it was chosen.
        dataset: The data set that it was made from; a later retraining compares its own with it.
        release: The release; its metadata says where the plain files are.
        card: The model card.
        name: Name of the release in the store: letters, digits, dots, hyphens and underscores.
        retraining: Of a challenger: what led to it and how it compares with the champion (judgement.json).
    """
    import os
    from pathlib import Path

    from components.core.artifacts.manifest import describe, publish, read_document, read_manifest
    from components.core.bundles.model_bundle import load_model
    from components.core.bundles.onnx_bundle import load_onnx
    from components.core.bundles.release_files import CARD
    from components.core.data.dataset import open_dataset
    from components.core.evaluation.document import read_evaluation
    from components.core.runtime.conversion import float32_of
    from components.core.signing import KEY_VARIABLE, sign_release, signing_key
    from components.core.store import store_from_environment
    from components.core.store.names import check_name
    from components.export.assembly import assemble
    from components.export.release import publish_release
    from components.export.verification import verify

    check_name(name, what="release name")
    key = signing_key(os.environ[KEY_VARIABLE]) if os.environ.get(KEY_VARIABLE) else None

    store = store_from_environment()
    onnx_manifest = read_manifest(candidate.path, kind="onnx")
    model_manifest = read_manifest(model.path, kind="model")
    bundle, student = load_onnx(onnx_manifest, store), load_model(model_manifest, store)
    plain = float32_of(model_manifest, store)
    measured = read_evaluation(evaluation.path, store)
    chosen = read_document(read_manifest(decision.path, kind="decision"), "decision.json", store)
    judged = None
    if retraining is not None:
        judged = read_document(read_manifest(retraining.path, kind="judgement"), "judgement.json", store)
    verification = verify(
        bundle,
        student,
        plain,
        measured,
        dataset=open_dataset(dataset.path, store),
        candidate_digest=onnx_manifest.digest,
        student_digest=model_manifest.digest,
    )

    assembled = assemble(
        name,
        bundle,
        evaluation=measured,
        decision=chosen,
        verification=verification,
        digests={
            "candidate (ONNX bundle)": onnx_manifest.digest,
            "student (torch)": model_manifest.digest,
            "baseline": read_manifest(baseline.path).digest,
        },
        sources={"model": model_manifest, "dataset": read_manifest(dataset.path, kind="dataset")},
        licence=model_manifest.metadata.get("licence"),
        retraining=judged,
    )
    published = publish_release(store, name, assembled.version, assembled.files)
    if key is not None:
        sign_release(store, name, assembled.version, key)
    if published.kept_evidence:
        print(
            f"{name} {assembled.version} had been released before; its evidence is kept, this run's is in the artifact"
        )

    manifest = publish(
        release.path, kind="release", files=dict(assembled.files), metadata=assembled.metadata, store=store
    )
    describe(release, manifest, store, **assembled.metadata, uri=published.uri)
    Path(card.path).parent.mkdir(parents=True, exist_ok=True)
    Path(card.path).write_bytes(assembled.files[CARD])
    print(f"released {published.uri}")
