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
):
    """Replaces the targets of the training rows by the teacher's answers: sequence-level distillation.

    Of the teacher's hypotheses for a row the one nearest to its label is kept, then the 5 % of the rows are dropped of
    whose answers the teacher is least sure. The rows are answered in parts, each kept in the store; the same stage with
    the same inputs goes on from the last part after a kill. Validation and test rows stay as they are.

    Args:
        dataset: Prepared data set.
        teacher: The model that answers; it is not changed.
        taught: The data set with the teacher's answers; the one that came in where teacher_beam is 0.
        metrics: Rows answered and dropped, and the share of answers that are the label itself.
        page: The same, with a few rows.
        teacher_beam: Hypotheses of the teacher's beam search. 0 leaves the data set as it is.
    """
    from components.core.artifacts.manifest import describe, publish_entries, read_manifest
    from components.core.bundles.model_bundle import load_model
    from components.core.data.dataset import open_dataset
    from components.core.parameters import check_declared
    from components.core.report.metrics import log_metrics
    from components.core.store import store_from_environment
    from components.teach.page import write_teaching_page
    from components.teach.teaching import teach_rows

    check_declared({"teacher_beam": teacher_beam})
    store = store_from_environment()
    prepared = open_dataset(dataset.path, store)
    if teacher_beam:
        source = read_manifest(teacher.path, kind="model")
        lessons = teach_rows(taught.path, load_model(source, store), source.digest, prepared, store, beam=teacher_beam)
        manifest, facts = lessons.manifest, lessons.facts()
    else:
        given = prepared.manifest
        manifest = publish_entries(taught.path, kind=given.kind, entries=given.files, metadata=given.metadata)
        facts = {}
    log_metrics(metrics, facts)
    describe(taught, manifest, store, **facts)
    write_teaching_page(page.path, open_dataset(taught.path, store), facts, beam=teacher_beam)
