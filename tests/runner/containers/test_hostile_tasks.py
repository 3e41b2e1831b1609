"""A pipeline of somebody else's in containers: what its tasks try to reach, and that they do not. With real podman."""

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Ran
from kfp import dsl, kubernetes
from kfp.dsl import Artifact, Input, Output

from components.core.errors import UserError
from components.core.store import open_store
from pipelines.runner.events import Event
from pipelines.runner.options import RunOptions
from pipelines.runner.run import run_pipeline

pytestmark = pytest.mark.containers

KEY = "a key that only its owner may read"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A file of whoever runs the pipeline, in a folder of their own."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    (folder / "key").write_text(KEY)
    (folder / "key").chmod(0o600)
    return folder / "key"


@pytest.fixture
def shell(base_image: str) -> Any:
    """Makes a task that runs a script: `$0` is its output parameter, `$1` its output artifact, `$2` an argument."""

    @dsl.container_component
    def shell(script: str, argument: str, text: dsl.OutputPath(str), out: Output[Artifact]):
        return dsl.ContainerSpec(image=base_image, command=["sh", "-ec", script], args=[text, out.path, argument])

    return functools.partial(shell, argument="")


@pytest.fixture
def consumer(base_image: str) -> Any:
    """Makes a task that gets an artifact, whose path is `$1`, and a script; `$0` is its output parameter."""

    @dsl.container_component
    def consumer(script: str, data: Input[Artifact], text: dsl.OutputPath(str)):
        return dsl.ContainerSpec(image=base_image, command=["sh", "-ec", script], args=[text, data.path])

    return consumer


@pytest.fixture
def contained(tmp_path: Path, compiled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a pipeline in containers, in the test's own home."""
    monkeypatch.delenv("TRIMTAB_STORE", raising=False)

    def run_one(pipeline: Any, **options: Any) -> Ran:
        events: list[Event] = []
        result = run_pipeline(
            pipeline if isinstance(pipeline, Path) else compiled(pipeline), {},
            options=RunOptions(engine="container", **options), listener=events.append, home=tmp_path / "home",
        )  # fmt: skip
        return Ran(result=result, events=events)

    return run_one


def kept(home: Path) -> bytes:
    """Everything that the runner wrote, but for the pipeline itself."""
    files = (path for path in home.rglob("*") if path.is_file() and path.name != "pipeline.yaml")  # through links too
    return b"\n".join(path.read_bytes() for path in files)


def one(shell: Any, script: str, argument: str = "") -> Any:
    """A pipeline of one task."""

    @dsl.pipeline(name="one")
    def pipeline():
        shell(script=script, argument=argument)

    return pipeline


LINKS = {
    "an output parameter": 'mkdir -p "${0%/*}"; ln -s "$2" "$0"',
    "the folder of the output parameters": 'rmdir "${0%/*}" || true; ln -s "${2%/*}" "${0%/*}"',
    "an output artifact": 'ln -s "$2" "$1"',
    "a file in an output artifact": 'mkdir "$1"; ln -s "$2" "$1/weights"',
    "a folder in an output artifact": 'mkdir "$1"; ln -s "${2%/*}" "$1/weights"',
    "the executor output": 'ln -s "$2" "$HOME/../executor_output.json"',
}


@pytest.mark.parametrize("script", LINKS.values(), ids=LINKS.keys())
def test_a_link_that_a_container_left_is_not_followed(
    contained: Any, shell: Any, key: Path, tmp_path: Path, script: str
) -> None:
    (key.parent / "text").write_text(KEY)  # what the folder of the parameters would be looked for
    ran = contained(one(shell, script, str(key)))
    assert ran.result.status == "failed"
    assert "is or lies behind a link" in ran.result.error
    assert KEY.encode() not in kept(tmp_path / "home")


def test_folders_inside_each_other_without_end_fail_the_task_and_are_removed(
    contained: Any, shell: Any, tmp_path: Path
) -> None:
    script = 'mkdir "$1"; cd "$1"; n=0; while [ $n -lt 1100 ]; do mkdir a; cd a; n=$((n + 1)); done'
    ran = contained(one(shell, script))
    assert ran.result.status == "failed"
    assert "more than 100 deep" in ran.result.error
    assert not [path for path in (tmp_path / "home" / "runs").glob("*/artifacts/*") if any(path.iterdir())]


OUTPUTS = {
    "custom_path": {"custom_path": "PRIVATE"},
    "uri": {"uri": "PRIVATE"},
    "a file URI": {"uri": "file://PRIVATE"},
    "a path that only looks like a URI": {"uri": "OUT/x://../../../../../../../../../../../../../../PRIVATE"},
    "a way up": {"uri": "OUT/../../../../../../../../../../../../../../PRIVATE"},
}


@pytest.mark.parametrize("wrote", OUTPUTS.values(), ids=OUTPUTS.keys())
def test_an_executor_output_cannot_name_a_folder_of_this_machine(
    contained: Any, shell: Any, consumer: Any, key: Path, tmp_path: Path, wrote: dict[str, str]
) -> None:
    document = json.dumps({"artifacts": {"out": {"artifacts": [{"name": "out", **wrote}]}}})
    script = (
        'mkdir -p "$1/x:"; '
        f'printf \'%s\' \'{document}\' | sed -e "s#OUT#$1#" -e "s#/*PRIVATE#$2#" > "$HOME/../executor_output.json"'
    )

    @dsl.pipeline(name="naming")
    def naming():
        first = shell(script=script, argument=str(key.parent))
        consumer(script='mkdir -p "${0%/*}"; find "$1" > "$0"', data=first.outputs["out"])

    ran = contained(naming)
    assert ran.statuses()["shell"] == "failed"
    assert "reports the output 'out' at" in ran.result.error
    assert KEY.encode() not in kept(tmp_path / "home")


def test_what_lies_in_a_tasks_own_folders_may_be_named(contained: Any, shell: Any, consumer: Any) -> None:
    document = '{"artifacts": {"out": {"artifacts": [{"name": "out", "custom_path": "PATH"}]}}}'
    script = (
        'mkdir "$HOME/made"; printf inside > "$HOME/made/file"; '
        f"printf '%s' '{document}' | sed \"s#PATH#$HOME/made#\" > \"$HOME/../executor_output.json\""
    )

    @dsl.pipeline(name="own")
    def own():
        first = shell(script=script)
        consumer(script='mkdir -p "${0%/*}"; cat "$1/file" > "$0"', data=first.outputs["out"])

    assert contained(own).outputs("consumer") == {"text": "inside"}


def test_an_importer_takes_local_files_only_from_where_it_was_allowed(
    contained: Any, consumer: Any, key: Path, tmp_path: Path
) -> None:
    @dsl.pipeline(name="importing")
    def importing():
        brought = dsl.importer(artifact_uri=str(key.parent), artifact_class=Artifact)
        consumer(script='mkdir -p "${0%/*}"; ls "$1" > "$0"', data=brought.output)

    ran = contained(importing)
    assert ran.statuses() == {"importer": "failed", "consumer": "skipped"}
    assert "--allow-path" in ran.result.error
    key.parent.chmod(0o755)  # the task is another user
    assert contained(importing, allow_paths=(tmp_path,)).outputs("consumer") == {"text": "key\n"}


def test_an_importer_does_not_fetch_from_a_bucket_unless_it_was_allowed(contained: Any, consumer: Any) -> None:
    @dsl.pipeline(name="fetching")
    def fetching():
        brought = dsl.importer(artifact_uri="s3://somebodys/data", artifact_class=Artifact)
        consumer(script="true", data=brought.output)

    assert "--allow network" in contained(fetching).result.error


NETWORK = 'mkdir -p "${0%/*}"; readlink /proc/self/ns/net > "$0" # pip install'


def test_a_task_has_no_network_whatever_its_command_says(contained: Any, shell: Any) -> None:
    own = {"text": f"{Path('/proc/self/ns/net').readlink()}\n"}
    assert contained(one(shell, NETWORK)).outputs("shell") != own
    assert contained(one(shell, NETWORK), allow=frozenset({"host-network"}), use_cache=False).outputs("shell") == own


def test_a_variable_of_the_pipeline_brings_no_variable_of_the_runner(
    contained: Any, shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_OF_THE_USER", KEY)

    @dsl.pipeline(name="asking")
    def asking():
        shell(script='mkdir -p "${0%/*}"; env > "$0"').set_env_variable("TOKEN_OF*", "x")

    ran = contained(asking)
    assert ran.result.status == "failed"
    assert "'TOKEN_OF*' is not a valid name" in ran.result.error


def test_the_engine_does_not_obey_a_variable_of_the_pipeline(contained: Any, shell: Any, tmp_path: Path) -> None:
    (tmp_path / "own.conf").write_text("[containers]\nread_only = false\nenv = ['OBEYED=yes']\n")

    @dsl.pipeline(name="configuring")
    def configuring():
        task = shell(script='mkdir -p "${0%/*}"; printf "%s" "$OBEYED" > "$0"')
        task.set_env_variable("CONTAINERS_CONF", str(tmp_path / "own.conf"))
        task.set_env_variable("_CONTAINERS_USERNS_CONFIGURED", "done")

    assert contained(configuring).outputs("shell") == {"text": ""}


def test_a_volumes_sub_path_that_a_task_made_a_link_is_not_mounted(
    contained: Any, shell: Any, key: Path, tmp_path: Path
) -> None:
    @dsl.pipeline(name="volume")
    def volume():
        first = shell(script='ln -s "$2" /data/way', argument=str(key.parent))
        second = shell(script='mkdir -p "${0%/*}"; ls /data > "$0"').after(first)
        kubernetes.mount_pvc(first, pvc_name="shared", mount_path="/data")
        kubernetes.mount_pvc(second, pvc_name="shared", mount_path="/data", sub_path="way")

    (tmp_path / "home" / "volumes" / "shared").mkdir(parents=True)
    ran = contained(volume)
    assert (ran.statuses()["shell"], ran.statuses()["shell-2"]) == ("succeeded", "failed")
    assert "is or lies behind a link" in ran.result.error


def test_a_sub_path_is_not_mounted_while_another_task_could_make_it_a_link(
    contained: Any, shell: Any, tmp_path: Path
) -> None:
    @dsl.pipeline(name="racing")
    def racing():
        swapping = shell(script="mkdir -p /data/way; touch /data/way/now; sleep 4; rm /data/way/now")
        first = shell(script="true")
        mounting = shell(script='mkdir -p "${0%/*}"; ls /data > "$0"').after(first)
        kubernetes.mount_pvc(swapping, pvc_name="shared", mount_path="/data")
        kubernetes.mount_pvc(mounting, pvc_name="shared", mount_path="/data", sub_path="way")

    (tmp_path / "home" / "volumes" / "shared").mkdir(parents=True)
    ran = contained(racing)
    assert ran.result.status == "succeeded", ran.result.error
    assert ran.outputs("shell-3") == {"text": ""}, "while it ran, the other one did not"


def test_a_note_of_the_engine_does_not_follow_a_link_of_the_task(
    contained: Any, base_image: str, tmp_path: Path
) -> None:
    @dsl.container_component
    def hungry(target: str):
        code = "import os, sys; os.symlink(sys.argv[1], os.environ['HOME'] + '/../oom'); bytearray(600 * 2**20)"
        return dsl.ContainerSpec(image=base_image, command=["python3", "-c", code], args=[target])

    @dsl.pipeline(name="noting")
    def noting():
        hungry(target=str(tmp_path / "made-by-the-engine")).set_memory_limit("128Mi")

    ran = contained(noting)
    if ran.result.status == "succeeded":  # without root and with cgroups v1 there are no limits, and no note either
        assert [warning for warning in ran.warnings() if "podman ignores memory limits here" in warning]
    else:
        assert "it ran out of memory" in ran.result.error
        assert ran.warnings() == []
    assert not (tmp_path / "made-by-the-engine").exists()


def test_a_store_cannot_be_changed_by_a_task(contained: Any, shell: Any, key: Path, tmp_path: Path) -> None:
    store = tmp_path / "home" / "store"
    open_store(str(store)).blobs.put(b"of an earlier run")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    victim.chmod(0o600)
    script = (
        'cd "$TRIMTAB_STORE"; for way in blobs/sha256/??; do rm -rf "$way"; ln -s "${2%/*}" "$way"; done; '
        'ln -s "$2" .lock; ln -s "$2" refs'
    )
    ran = contained(one(shell, script, str(victim)))
    assert ran.result.status == "failed"
    assert "Read-only file system" in Path(ran.ended("shell").log).read_text()
    assert not [path for path in store.rglob("*") if path.is_symlink()]


def test_a_shared_store_is_opened_to_the_tasks_without_following_links(
    contained: Any, shell: Any, tmp_path: Path
) -> None:
    store = tmp_path / "home" / "store"
    store.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text("mine")
    victim.chmod(0o600)
    (store / ".lock").symlink_to(victim)
    contained(one(shell, "true"), allow=frozenset({"store"}))
    assert victim.stat().st_mode & 0o777 == 0o600


def changing(script: str) -> str:
    """A script in the folder of the changes, which may not be there yet."""
    return f'mkdir -p "$TRIMTAB_STORE_CHANGES"; cd "$TRIMTAB_STORE_CHANGES"; {script}'


def test_what_a_task_wrote_for_the_store_comes_in_if_it_is_what_it_says(
    contained: Any, shell: Any, tmp_path: Path
) -> None:
    content = b"a blob"
    digest = hashlib.sha256(content).hexdigest()
    marker = {"format": 1, "name": "net", "version": "1", "files": {"a": {"bytes": 6, "sha256": digest}}}
    script = changing(
        f"mkdir -p blobs/sha256/{digest[:2]} releases/net/1; printf 'a blob' > blobs/sha256/{digest[:2]}/{digest}; "
        f"printf 'a blob' > releases/net/1/a; printf '%s' '{json.dumps(marker)}' > releases/net/1/release.json"
    )
    ran = contained(one(shell, script))
    assert ran.result.status == "failed"  # the marker is not written as the store writes it
    store = open_store(str(tmp_path / "home" / "store"))
    assert store.blobs.get(digest) == content


REFUSED = {
    "other bytes than the name says": (
        f"mkdir -p blobs/sha256/00; printf evil > blobs/sha256/00/{'0' * 64}",
        "whose bytes have the sha256",
    ),
    "a link for a blob": ('mkdir -p blobs/sha256; ln -s "$2" blobs/sha256/00', "is or lies behind a link"),
    "a moved champion": ("mkdir -p refs; echo '{}' > refs/champion.json", "--allow store"),
    "a release with a way out": (
        "mkdir -p releases/net/1; "
        'printf \'{"name": "net", "version": "1", "files": {"../../../x": {}}}\' > releases/net/1/release.json',
        "without the file",
    ),
    "a release with another one's marker": (
        "mkdir -p releases/net/1; printf '{\"files\": {}}' > releases/net/1/release.json",
        "with the marker of another one",
    ),
}


@pytest.mark.parametrize(("script", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_a_task_wrote_for_the_store_is_refused_if_it_is_not(
    contained: Any, shell: Any, key: Path, tmp_path: Path, script: str, reason: str
) -> None:
    ran = contained(one(shell, changing(script), str(key)))
    assert ran.result.status == "failed"
    assert reason in ran.result.error
    assert open_store(str(tmp_path / "home" / "store")).champions.read("champion") is None


def test_results_and_checkpoints_of_a_task_are_left_behind(contained: Any, shell: Any, tmp_path: Path) -> None:
    script = changing(
        "mkdir -p results/fine_tune checkpoints/k; echo '{}' | tee results/fine_tune/k.json > checkpoints/k/index.json"
    )
    assert contained(one(shell, script)).result.status == "succeeded"
    store = tmp_path / "home" / "store"
    assert not (store / "results" / "fine_tune").exists()
    assert not (store / "checkpoints").exists()


def test_a_bucket_as_the_store_takes_the_users_word(
    compiled: Callable[..., Path], shell: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(UserError, match="add --allow host-network --allow store"):
        run_pipeline(
            compiled(one(shell, "true")), {}, store_uri="s3://bucket/prefix", options=RunOptions(engine="container"),
            listener=print, home=tmp_path / "home",
        )  # fmt: skip
    assert not (tmp_path / "home").exists()


def test_a_scratch_folder_at_tmp_is_the_containers_own(contained: Any, shell: Any) -> None:
    """As each of our own stages asks for: once, beside what a container gets by itself."""

    @dsl.pipeline(name="temporary")
    def temporary():
        task = shell(script='mkdir -p "${0%/*}"; touch /tmp/x; ls /tmp/x > "$0"')
        kubernetes.empty_dir_mount(task, "trimtab-tmp", "/tmp")

    assert contained(temporary).outputs("shell") == {"text": "/tmp/x\n"}


def test_an_image_name_is_no_option_and_no_file(contained: Any, base_image: str, compiled: Callable[..., Path]) -> None:
    for image in ("--authfile=/etc/passwd", "docker-archive:/etc/passwd", "a b"):
        path = compiled(one(_shell_of(image), "true"))
        with pytest.raises(UserError, match="is not the name of an image"):
            contained(path)


def _shell_of(image: str) -> Any:
    @dsl.container_component
    def shell(script: str, argument: str):
        return dsl.ContainerSpec(image=image, command=["sh", "-ec", script], args=[argument])

    return shell


def test_containers_see_no_environment_of_the_runner(
    contained: Any, shell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://user:{KEY.replace(' ', '-')}@127.0.0.1:1")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", KEY)
    seen = contained(one(shell, 'mkdir -p "${0%/*}"; env > "$0"')).outputs("shell")["text"]
    assert KEY not in seen
    assert KEY.replace(" ", "-") not in seen
