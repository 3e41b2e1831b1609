"""Secrets and config maps, compiled with the real kfp-kubernetes, supplied by `--secret`."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest
from components_for_tests import text
from kfp import dsl, kubernetes

from components.core.errors import UserError
from components.core.store import open_store
from components.run_report.evidence import collect
from components.run_report.records import read_tasks
from components.run_report.report import render_report, summary
from pipelines.cli.run_command import secrets_from
from pipelines.runner.kubernetes_objects.files import read_objects

VALUE = "hunter2-and-more"


@dsl.component(base_image="python:3.11")
def lengths(names: list[str]) -> dict[str, int]:
    """How long variables are: -1 for those that are not there."""
    import os

    return {name: len(os.environ[name]) if name in os.environ else -1 for name in names}


@dsl.component(base_image="python:3.11")
def betray():
    import os

    raise RuntimeError(f"the server refused {os.environ['TOKEN']}")


@dsl.component(base_image="python:3.11")
def listing(folder: str) -> dict[str, str]:
    import pathlib

    return {path.name: path.read_text() for path in sorted(pathlib.Path(folder).iterdir())}


def as_env(function: Any, name: Any = "sec", *, optional: bool = False, **inputs: Any) -> Any:
    task = function(**inputs)
    kubernetes.use_secret_as_env(task, name, {"token": "TOKEN"}, optional=optional)
    return task


@dsl.pipeline(name="one-secret")
def one_secret():
    as_env(lengths, names=["TOKEN"])


@pytest.fixture
def given(tmp_path: Path) -> dict[str, Path]:
    path = tmp_path / "sec.env"
    path.write_text(f"token={VALUE}\n")
    return {"sec": path}


def everything_written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_secret_is_in_the_tasks_environment_and_nowhere_else(
    run: Callable[..., Any], given: dict[str, Path], tmp_path: Path
) -> None:
    ran = run(one_secret, secrets=given)
    assert ran.outputs("lengths")["Output"] == {"TOKEN": len(VALUE)}
    assert VALUE.encode() not in everything_written(tmp_path / "home")
    assert VALUE not in str(ran.events)
    assert VALUE not in repr(ran.result)


KEY_FILE = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASCBKcwggSj\n-----END KEY-----\n"


@dsl.component(base_image="python:3.11")
def tell(form: str) -> dict:
    """Prints, returns and fails with a secret, as programs show it."""
    import base64
    import json
    import os
    import pathlib
    import urllib.parse

    token, key = os.environ["TOKEN"], pathlib.Path("/etc/sec/key").read_text()
    forms = {
        "stripped": token.strip(),
        "a line": key.splitlines()[1],
        "base64": base64.b64encode(token.strip().encode()).decode(),
        "base64 of all": base64.b64encode(token.encode()).decode(),
        "hex": token.strip().encode().hex(),
        "percent": urllib.parse.quote(token.strip(), safe=""),
        "json": json.dumps({"key": key}),
    }
    print(f"it is {forms[form]}", flush=True)
    if form == "a line":
        raise RuntimeError(f"refused: {forms[form]}")
    return {"found": forms[form]}


LEAKS = {
    "stripped": "hunter2/and more", "a line": "MIIEvQIBADANBgkqhkiG", "base64": "aHVudGVyMi9hbmQgbW9yZQ",
    "base64 of all": "aHVudGVyMi9hbmQgbW9yZQ", "hex": "68756e746572322f616e64206d6f7265",
    "percent": "hunter2%2Fand%20more", "json": "9w0BAQEFAASCBKcwggSj",
}  # fmt: skip


@pytest.mark.parametrize("form", LEAKS)
def test_a_secret_of_a_file_that_ends_in_a_newline_or_has_lines_is_in_nothing_that_is_written(
    run: Callable[..., Any], tmp_path: Path, form: str
) -> None:
    folder = tmp_path / "sec"
    folder.mkdir()
    (folder / "token").write_text("hunter2/and more\n")
    (folder / "key").write_text(KEY_FILE)

    @dsl.pipeline(name="telling")
    def pipeline():
        task = tell(form=form)
        kubernetes.use_secret_as_env(task, "sec", {"token": "TOKEN"})
        kubernetes.use_secret_as_volume(task, "sec", "/etc/sec")

    ran = run(pipeline, secrets={"sec": folder})
    written = everything_written(tmp_path / "home")
    assert LEAKS[form].encode() not in written
    assert LEAKS[form] not in str(ran.events)
    assert b"it is ***" in written or form == "json"
    if form != "a line":
        assert "contained a secret" in " ".join(ran.warnings())


def test_a_runs_folder_and_its_journal_are_for_their_owner(
    run: Callable[..., Any], given: dict[str, Path], tmp_path: Path
) -> None:
    ran = run(one_secret, secrets=given)
    private = [ran.result.folder, ran.result.folder / "logs", tmp_path / "home" / "store" / "journal"]
    private += [*ran.result.folder.glob("state.sqlite*"), *ran.result.folder.rglob("*.log")]
    private += [*(tmp_path / "home" / "store" / "journal").rglob("*.json")]
    assert len(private) >= 6
    assert {oct(path.stat().st_mode & 0o007) for path in private} == {"0o0"}
    # In the journal the group is root's own, as which a task in a container reads it.
    group = {path.stat().st_gid for path in private if path.stat().st_mode & 0o070}
    assert group <= {0}
    assert {oct(path.stat().st_mode & 0o077) for path in private[:2]} == {"0o0"}


def test_an_error_that_holds_a_secret_is_kept_without_it(
    run: Callable[..., Any], given: dict[str, Path], tmp_path: Path
) -> None:
    @dsl.pipeline(name="betrayed")
    def pipeline():
        as_env(betray)

    ran = run(pipeline, secrets=given)
    assert ran.ended("betray").error == "RuntimeError: the server refused ***"
    log = Path(ran.ended("betray").log)
    assert log.read_text().endswith("RuntimeError: the server refused ***\n")
    assert VALUE.encode() not in everything_written(tmp_path / "home" / "runs")


def test_the_report_and_what_the_webhook_is_told_show_the_error_without_the_secret(
    run: Callable[..., Any], given: dict[str, Path], tmp_path: Path
) -> None:
    @dsl.pipeline(name="betrayed")
    def pipeline():
        as_env(betray)

    ran = run(pipeline, secrets=given)
    store = open_store(str(tmp_path / "home" / "store"))
    run_id = ran.result.folder.name
    evidence = collect(
        store, read_tasks(store.journal.read(run_id)), run_id=run_id, pipeline="betrayed", parameters={},
        state="FAILED", error=str(ran.ended("betray").error),
    )  # fmt: skip
    told = summary(evidence, report="report.html")
    for shown in (render_report(evidence), str(told)):
        assert "the server refused ***" in shown
        assert VALUE not in shown


def test_another_value_is_another_result_and_the_same_one_is_found_again(
    run: Callable[..., Any], given: dict[str, Path]
) -> None:
    assert run(one_secret, secrets=given).cached() == set()
    assert run(one_secret, secrets=given).cached() == {"lengths"}
    given["sec"].write_text("token=another\n")
    ran = run(one_secret, secrets=given)
    assert ran.cached() == set()
    assert ran.outputs("lengths")["Output"] == {"TOKEN": 7}


def test_what_was_not_given_is_refused_before_the_start_with_keys_and_the_option(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    @dsl.pipeline(name="many")
    def pipeline():
        as_env(lengths, names=[])
        task = text()
        kubernetes.use_config_map_as_env(task, "conf", {"colour": "COLOUR"})

    with pytest.raises(UserError) as caught:
        run(pipeline)
    said = str(caught.value)
    assert "secret 'sec' ('token' in task 'lengths')" in said
    assert "config map 'conf' ('colour' in task 'text')" in said
    assert "--secret NAME=PATH" in said
    assert not (tmp_path / "home" / "runs").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [("other=1", "has no key 'token'; the file given with --secret has 'other'"), ("token", "line 1")],
)
def test_a_file_without_what_is_needed_is_refused(
    run: Callable[..., Any], given: dict[str, Path], content: str, said: str
) -> None:
    given["sec"].write_text(content)
    with pytest.raises(UserError, match=said):
        run(one_secret, secrets=given)


def test_a_name_that_the_pipeline_does_not_use_is_refused(run: Callable[..., Any], given: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"--secret sek.*did you mean 'sec'"):
        run(one_secret, secrets={**given, "sek": given["sec"]})


def test_an_optional_secret_may_be_missing(run: Callable[..., Any]) -> None:
    @dsl.pipeline(name="may")
    def pipeline():
        as_env(lengths, optional=True, names=["TOKEN"])

    assert run(pipeline).outputs("lengths")["Output"] == {"TOKEN": -1}


def test_the_name_of_a_secret_may_be_an_input_a_loop_item_or_an_output(
    run: Callable[..., Any], given: dict[str, Path], tmp_path: Path
) -> None:
    @dsl.pipeline(name="named")
    def pipeline(which: str = "none"):
        as_env(lengths, which, names=["TOKEN"]).set_display_name("by-input")
        with dsl.ParallelFor(["sec", "other"]) as item:
            as_env(lengths, item, names=["TOKEN"])
        as_env(lengths, text(value="sec").output, names=["TOKEN"])

    other = tmp_path / "other.json"
    other.write_text(json.dumps({"token": "x"}))
    with pytest.raises(UserError, match="secret 'none'"):
        run(pipeline)
    ran = run(pipeline, secrets={**given, "other": other}, which="sec")
    assert ran.result.status == "succeeded", ran.result.error
    found = sorted(item.output_parameters["Output"]["TOKEN"] for item in ran.result.tasks if "lengths" in item.task)
    assert found == [1, len(VALUE), len(VALUE), len(VALUE)]


def test_what_an_optional_input_names_is_left_out_when_the_input_is_not_given(
    run: Callable[..., Any], given: dict[str, Path]
) -> None:
    @dsl.pipeline
    def inner(which: Optional[str] = None):  # noqa: UP045
        as_env(lengths, which, names=["TOKEN"])

    @dsl.pipeline(name="optional-names")
    def pipeline(which: Optional[str] = None, conf: Optional[str] = None):  # noqa: UP045
        task = as_env(lengths, which, names=["TOKEN", "COLOUR"])
        kubernetes.use_config_map_as_env(task, conf, {"colour": "COLOUR"})
        kubernetes.use_secret_as_volume(task, which, "/etc/trimtab-test/sec")
        kubernetes.use_config_map_as_volume(task, conf, "/etc/trimtab-test/conf")
        inner(which=which)

    ran = run(pipeline)
    assert ran.outputs("lengths")["Output"] == {"TOKEN": -1, "COLOUR": -1}
    assert ran.outputs("inner/lengths")["Output"] == {"TOKEN": -1}
    ran = run(pipeline, secrets=given, which="sec")
    assert ran.outputs("lengths")["Output"] == {"TOKEN": len(VALUE), "COLOUR": -1}
    assert ran.outputs("inner/lengths")["Output"] == {"TOKEN": len(VALUE)}


def test_a_name_that_only_a_task_knows_fails_the_task_that_uses_it(
    run: Callable[..., Any], given: dict[str, Path]
) -> None:
    @dsl.pipeline(name="late")
    def pipeline():
        as_env(lengths, text(value="gone").output, names=["TOKEN"])

    ran = run(pipeline, secrets=given)
    assert ran.ended("lengths").error.startswith("the secret 'gone' is missing; give it with --secret gone=PATH")


def test_files_of_a_secret_are_at_their_path_and_on_no_disk(
    run: Callable[..., Any], given: dict[str, Path], tmp_path: Path
) -> None:
    @dsl.pipeline(name="files")
    def pipeline():
        task = listing(folder="/etc/trimtab-test/sec")
        kubernetes.use_secret_as_volume(task, "sec", "/etc/trimtab-test/sec")
        task.set_caching_options(False)

    ran = run(pipeline, secrets=given)
    assert ran.outputs("listing")["Output"] == {"token": "***"}  # it was read, or there were nothing to hide
    assert not Path("/etc/trimtab-test").exists()
    assert list((ran.result.folder).glob("work/**/token")) == []


def test_pod_fields_that_have_a_meaning_here_are_set_and_others_refused(run: Callable[..., Any]) -> None:
    def pipeline_with(field: str) -> Any:
        @dsl.pipeline(name="fields")
        def pipeline():
            kubernetes.use_field_path_as_env(lengths(names=["POD"]), "POD", field)

        return pipeline

    ran = run(pipeline_with("metadata.name"))
    assert ran.outputs("lengths")["Output"] == {"POD": len(f"{ran.result.run_id}-lengths")}
    with pytest.raises(UserError, match=r"status\.podIP"):
        run(pipeline_with("status.podIP"))


def test_labels_annotations_and_the_namespace_of_a_pod_are_in_the_environment(run: Callable[..., Any]) -> None:
    @dsl.component(base_image="python:3.11")
    def variables(names: list[str]) -> dict[str, str]:
        import os

        return {name: os.environ[name] for name in names}

    def pipeline_with(team: str) -> Any:
        @dsl.pipeline(name="pod-fields")
        def pipeline():
            task = variables(names=list(paths))
            kubernetes.add_pod_label(task, "example.org/team", team)
            kubernetes.add_pod_annotation(task, "note", 'it\'s a "note"')
            for variable, path in paths.items():
                kubernetes.use_field_path_as_env(task, variable, path)

        return pipeline

    paths = {
        "NAME": "metadata.name", "SPACE": "metadata.namespace", "TEAM": "metadata.labels['example.org/team']",
        "NOTE": "metadata.annotations['note']", "NONE": "metadata.labels['none']",
        "RUN": "metadata.labels['pipeline/runid']",
    }  # fmt: skip
    ran = run(pipeline_with("a"))
    run_id = ran.result.run_id
    assert ran.outputs("variables")["Output"] == {
        "NAME": f"{run_id}-variables", "SPACE": "kubeflow", "TEAM": "a", "NOTE": "it's a \"note\"", "NONE": "",
        "RUN": run_id,
    }  # fmt: skip
    assert run(pipeline_with("b")).outputs("variables")["Output"]["TEAM"] == "b", "another label is another result"


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.env", "# note\nexport A=1\n\nB = 'two words'\nC=\"x=y\"\n", {"A": "1", "B": "two words", "C": "x=y"}),
        ("a.json", '{"a": "x", "n": 5, "yes": true}', {"a": "x", "n": "5", "yes": "true"}),
        ("a.yaml", "a: x\nb.pem: |\n  line\n", {"a": "x", "b.pem": "line\n"}),
        (
            "kubectl.yaml",
            f"kind: Secret\ndata:\n  a: {base64.b64encode(b'x').decode()}\nstringData: {{b: y}}\n",
            {"a": "x", "b": "y"},
        ),
        ("kubectl.json", '{"kind": "ConfigMap", "data": {"a": "eA=="}}', {"a": "eA=="}),
    ],
)
def test_every_form_of_file_is_read(tmp_path: Path, name: str, content: str, found: dict[str, str]) -> None:
    (tmp_path / name).write_text(content)
    assert read_objects({"s": tmp_path / name}) == {"s": {key: value.encode() for key, value in found.items()}}


def test_a_folder_has_one_file_a_key_and_may_hold_bytes(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / ".dockerconfigjson").write_bytes(b"\xff\x00")
    (tmp_path / "token").write_text("x")
    assert read_objects({"s": tmp_path}) == {"s": {".dockerconfigjson": b"\xff\x00", "token": b"x"}}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.env", f"x=1\n{VALUE}\n", "line 2"),
        ("a.env", f"{VALUE} {VALUE}=1", "key 1"),
        ("a.json", f'{{"a": "{VALUE}"', "not JSON"),
        ("a.yaml", f'a: "{VALUE}', "not YAML"),
        ("a.yaml", f"[{VALUE}]", "mapping"),
        ("a.yaml", f"a: {{b: {VALUE}}}", "key 1 must be text, found dict"),
        ("a.yaml", f"kind: Secret\ndata: {{a: {VALUE}}}", "base64"),
        ("a.yaml", "", "mapping"),
        ("a.env", "", "holds no key"),
    ],
)
def test_a_malformed_file_is_refused_without_showing_what_is_in_it(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as caught:
        read_objects({"s": tmp_path / name})
    assert said in str(caught.value)
    assert VALUE not in str(caught.value)


def test_a_path_that_is_not_there_and_a_file_that_is_too_large_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file or folder"):
        read_objects({"s": tmp_path / "gone"})
    (tmp_path / "large").write_bytes(b"k=" + b"v" * 2**20)
    with pytest.raises(UserError, match="at most"):
        read_objects({"s": tmp_path / "large"})


@pytest.mark.parametrize("options", [["secret"], ["=x"], ["a="], ["a=x", "a=y"]])
def test_the_option_without_a_name_or_a_path_is_refused(options: list[str]) -> None:
    with pytest.raises(UserError, match="--secret"):
        secrets_from(options)
