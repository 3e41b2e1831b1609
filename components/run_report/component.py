"""KFP face of the run report: the exit task, which runs after success and after failure."""

from kfp import dsl
from kfp.dsl import HTML, Output, PipelineTaskFinalStatus

from components.images import BASE_IMAGE, DATA_IMAGE


@dsl.component(base_image=BASE_IMAGE, target_image=DATA_IMAGE)
def run_report(
    run_id: str,
    pipeline: str,
    parameters: dict,
    status: PipelineTaskFinalStatus,
    report: Output[HTML],
) -> dict:
    """Write one self-contained HTML page about the run, whether it succeeded or failed.

    Args:
        run_id: The run, as in the store's journal.
        pipeline: Name of the pipeline, to show.
        parameters: The parameters to show, by flat name; empty takes them from the preflight task.
        status: How the pipeline ended; KFP fills it in.
        report: The page.

    Returns:
        Title, the table of before and after, where the files are, and the outputs of the run.
    """
    import os
    from pathlib import Path

    from components.core.report.page import save_html
    from components.core.store import store_from_environment
    from components.run_report.evidence import collect
    from components.run_report.notification import notify
    from components.run_report.records import read_tasks
    from components.run_report.report import render_report, summary

    store = store_from_environment()
    evidence = collect(
        store,
        read_tasks(store.journal.read(run_id)),
        run_id=run_id,
        pipeline=pipeline,
        parameters=parameters,
        state=status.state,
        error=status.error_message or "",
    )
    html = render_report(evidence)
    targets = [Path(report.path)]
    # The local runner names a folder for what a person opens after the run.
    if os.environ.get("TRIMTAB_RUN_DIR"):
        targets.append(Path(os.environ["TRIMTAB_RUN_DIR"]) / "report.html")
    for target in targets:
        save_html(target, html)
    result = summary(evidence, report=str(targets[-1]))
    report.metadata = {"title": result["title"], "state": status.state}
    print(result["title"])
    name = " ".join(part for part in ("trimtab", pipeline, run_id) if part)
    if told := notify(f"{name}: {result['title']}. {result['lead']}"):
        print(told)
    return result
