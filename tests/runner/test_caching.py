"""Results that are found again, others that are not, and one that was damaged."""

from collections.abc import Callable
from pathlib import Path

import components_for_tests as c
from kfp import dsl

from components.core.store import open_store
from components.preflight.component import preflight_of

Run = Callable[..., "object"]


@dsl.pipeline(name="cached")
def cached(content: str = "one", late: int = 1, run_again: bool = False):
    data = c.write(content=content).outputs["data"]
    c.read(data=data)
    c.add(a=late)
    c.text(value=dsl.PIPELINE_JOB_ID_PLACEHOLDER)


ALL = {"write", "read", "add"}


def test_an_identical_rerun_takes_everything_from_the_cache_but_what_names_the_run(run: Run) -> None:
    first, second = run(cached), run(cached)
    assert first.cached() == set()
    assert second.cached() == ALL
    for task in ALL:
        assert second.outputs(task) == first.outputs(task)


def test_a_cached_artifact_is_brought_to_the_new_runs_folder(run: Run) -> None:
    run(cached)
    second = run(cached)
    artifact = next(task for task in second.result.tasks if task.task == "write").output_artifacts["data"][0]
    assert second.result.run_id in artifact["uri"]
    assert (Path(artifact["uri"]) / "deep" / "content.txt").read_text() == "one"
    assert artifact["metadata"] == {"length": 3}


def test_a_changed_late_parameter_reruns_only_what_depends_on_it(run: Run) -> None:
    run(cached)
    assert run(cached, late="2").cached() == {"write", "read"}


@dsl.pipeline(name="formed")
def formed(search_epochs: int = 3, advanced: dict = {}):  # noqa: B006
    checked = preflight_of("optimize")(search_epochs=search_epochs, advanced=advanced)
    checked.set_caching_options(False)
    c.add(a=checked.outputs["epochs"])
    c.text(value=checked.outputs["calibration_method"])


def test_a_changed_key_of_advanced_reruns_only_what_takes_it_from_the_first_task(run: Run) -> None:
    run(formed)
    assert run(formed).cached() == {"add", "text"}
    assert run(formed, advanced='{"learning_rate": 0.5}').cached() == {"add", "text"}
    assert run(formed, advanced='{"calibration_method": "minmax"}').cached() == {"add"}
    assert run(formed, search_epochs="4").cached() == {"text"}


def test_a_changed_input_reruns_its_consumers(run: Run) -> None:
    run(cached)
    assert run(cached, content="two").cached() == {"add"}


def test_identical_bytes_upstream_hit_downstream(run: Run) -> None:
    @c.component
    def write_lower(content: str, data: dsl.Output[dsl.Dataset]):
        import pathlib

        folder = pathlib.Path(data.path)
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "content.txt").write_text(content.lower())
        data.metadata["length"] = len(content)

    @dsl.pipeline(name="same-bytes")
    def same_bytes(content: str):
        c.read(data=write_lower(content=content).outputs["data"])

    run(same_bytes, content="abc")
    assert run(same_bytes, content="ABC").cached() == {"read"}


def test_changed_code_misses(run: Run) -> None:
    def make(body: str) -> object:
        namespace: dict[str, object] = {}
        path = Path(__file__).parent / "never-written.py"
        source = f"def double(n: int) -> int:\n    return {body}\n"
        import linecache

        linecache.cache[str(path)] = (len(source), None, source.splitlines(True), str(path))
        exec(compile(source, str(path), "exec"), namespace)
        double = c.component(namespace["double"])

        @dsl.pipeline(name="doubling")
        def doubling() -> int:
            return double(n=3).output

        return doubling

    assert run(make("n * 2")).result.outputs == {"Output": 6}
    changed = run(make("n + n + 1"))
    assert changed.cached() == set()
    assert changed.result.outputs == {"Output": 7}


def test_another_thread_count_misses(run: Run) -> None:
    def make(cores: str) -> object:
        @dsl.pipeline(name="threads")
        def threads():
            c.add(a=1).set_cpu_request(cores)

        return threads

    run(make("1"))
    assert run(make("2")).cached() == set()
    assert run(make("0.5")).cached() == {"add"}


def test_caching_switched_off_for_a_task_or_a_run_is_honoured(run: Run) -> None:
    @dsl.pipeline(name="switched")
    def switched():
        c.add(a=1)
        c.add(a=2).set_caching_options(False)

    run(switched)
    assert run(switched).cached() == {"add"}
    assert run(switched, use_cache=False).cached() == set()


def test_a_failed_task_is_not_cached(run: Run) -> None:
    @dsl.pipeline(name="failing")
    def failing():
        c.fail()

    run(failing)
    assert run(failing).statuses() == {"fail": "failed"}


def blobs(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "home/store/blobs").rglob("*") if path.is_file()]


def test_a_damaged_blob_is_a_miss_with_a_warning(run: Run, tmp_path: Path) -> None:
    run(cached)
    (blob,) = blobs(tmp_path)
    blob.chmod(0o644)
    blob.write_bytes(b"xxx")
    second = run(cached)
    assert "write" not in second.cached()
    assert any("write" in message and "damaged" in message for message in second.warnings())
    assert second.result.status == "succeeded"


def test_a_missing_blob_is_a_miss_with_a_warning_and_is_put_back(run: Run, tmp_path: Path) -> None:
    run(cached)
    (blob,) = blobs(tmp_path)
    blob.unlink()
    second = run(cached)
    # The consumer's own result is whole: the bytes upstream came out the same.
    assert second.cached() == {"read", "add"}
    assert any("write" in message for message in second.warnings())
    assert run(cached).cached() == ALL


def test_a_manifest_whose_blobs_are_gone_is_a_miss(run: Run, tmp_path: Path) -> None:
    @c.component
    def publish(model: dsl.Output[dsl.Model]):
        from components.core.artifacts.manifest import publish
        from components.core.store import store_from_environment

        publish(model.path, kind="model", files={"w.bin": b"weights"}, metadata={}, store=store_from_environment())

    @dsl.pipeline(name="publishing")
    def publishing():
        publish()

    run(publishing)
    assert run(publishing).cached() == {"publish"}
    for blob in blobs(tmp_path):
        if blob.read_bytes() == b"weights":
            blob.unlink()
    again = run(publishing)
    assert again.cached() == set()
    assert any("no blob" in message for message in again.warnings())
    assert run(publishing).cached() == {"publish"}


def test_a_record_that_is_nonsense_is_a_miss(run: Run, tmp_path: Path) -> None:
    run(cached)
    store = open_store(str(tmp_path / "home/store"))
    for path in (tmp_path / "home/store/results").rglob("*.json"):
        store.results.save(path.parent.name, path.stem, {"format": 1, "output_artifacts": [1]})
    again = run(cached)
    assert again.cached() == set()
    assert again.result.status == "succeeded"


def test_a_cached_run_does_not_start_the_worker_with_torch(run: Run) -> None:
    @c.component
    def wants_torch(n: int) -> int:
        if n < 0:
            import torch

            print(torch.__version__)
        return n

    @dsl.pipeline(name="heavy")
    def heavy(n: int = 1):
        checked = c.text(value="checked").set_caching_options(False)
        wants_torch(n=n).after(checked)

    def logs(ran: object) -> set[str]:
        return {path.name for path in (ran.result.folder / "logs").iterdir()}

    assert "worker-heavy.txt" in logs(run(heavy))
    again = run(heavy)
    assert again.cached() == {"wants-torch"}
    assert "worker-heavy.txt" not in logs(again)
