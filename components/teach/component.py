"""KFP face of teaching."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Model, Output

from components.core.results.recall import recalled
from components.images import BASE_IMAGE, TRAIN_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=TRAIN_IMAGE)
@recalled
def teach(
    dataset: Input[Dataset],
    teacher: Input[Model],
    taught: Output[Dataset],
    metrics: Output[Metrics],
    page: Output[HTML],
    teacher_beam: int = 0,
    replay_fraction: float = 0.0,
    settings: dict = {},  # noqa: B006
):
    """Replaces the targets of the training rows by the teacher's answers, or adds rows with these as targets.

    The first is sequence-level distillation, by teacher_beam: of the teacher's hypotheses for a row the one nearest to
    its label is kept, then the 5 % of the rows are dropped of whose answers the teacher is least sure. The second is
    replay, by replay_fraction: the teacher is the network before tuning, which forgets less when rows with its own
    answers are among those that it is tuned on.

    The rows are answered in parts, each kept in the store; after a kill, a rerun with the same inputs continues behind
    the last part. Validation and test rows stay as they are.

    Args:
        dataset: Prepared data set.
        teacher: The model that answers; it is not changed.
        taught: The data set with the teacher's answers; the one that came in where both parameters are 0.
        metrics: Rows answered and dropped, and the share of answers that are the label itself; or rows added.
        page: The same, with a few rows.
        teacher_beam: Hypotheses of the teacher's beam search. 0 leaves the targets as they are.
        replay_fraction: Share of the training rows that are added. 0 adds none.
        settings: The task's own options of training, by name: which inputs are replayed.
    """
    from components.core.artifacts.manifest import describe, publish_entries, read_manifest
    from components.core.bundles.model_bundle import load_model
    from components.core.data.dataset import open_dataset
    from components.core.errors import UserError
    from components.core.parameters import check_declared
    from components.core.report.metrics import log_metrics
    from components.core.store import store_from_environment
    from components.teach.page import write_replay_page, write_teaching_page
    from components.teach.replaying import replay_rows
    from components.teach.teaching import teach_rows

    check_declared({"teacher_beam": teacher_beam, "replay_fraction": replay_fraction})
    if teacher_beam and replay_fraction:
        raise UserError("give teacher_beam or replay_fraction, not both: they take different teachers")
    store = store_from_environment()
    prepared = open_dataset(dataset.path, store)
    source = read_manifest(teacher.path, kind="model")
    facts: dict[str, float] = {}
    if teacher_beam:
        lessons = teach_rows(taught.path, load_model(source, store), source.digest, prepared, store, beam=teacher_beam)
        manifest, facts = lessons.manifest, lessons.facts()
    elif replay_fraction:
        replay = replay_rows(
            taught.path, load_model(source, store), source.digest, prepared, store, fraction=replay_fraction,
            settings=settings,
        )  # fmt: skip
        manifest, facts = replay.manifest, replay.facts()
        print(f"{facts['replayed']:,} rows added, {facts['replayed_fraction']:.1%} of those to train on", flush=True)
    else:
        given = prepared.manifest
        manifest = publish_entries(taught.path, kind=given.kind, entries=given.files, metadata=given.metadata)
    log_metrics(metrics, facts)
    describe(taught, manifest, store, **facts)
    if replay_fraction:
        write_replay_page(page.path, open_dataset(taught.path, store), facts, asked=replay_fraction)
    else:
        write_teaching_page(page.path, open_dataset(taught.path, store), facts, beam=teacher_beam)
