"""Tasks in real containers, through podman: what passes between them, what they may do, and how they end."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import Ran
from kfp import dsl, kubernetes
from kfp.dsl import Dataset, Input, Output

from components.core.errors import UserError
from pipelines.runner.containers import lifetime
from pipelines.runner.events import Event, TaskRetried
from pipelines.runner.options import RunOptions
from pipelines.runner.run import run_pipeline

pytestmark = pytest.mark.containers


@pytest.fixture
def components(container_image: str) -> SimpleNamespace:
    """Components of the test image: Python ones and container ones."""
    component = functools.partial(dsl.component, base_image=container_image, install_kfp_package=False)

    # As the SDK compiles it by default: pip first makes sure of kfp, which is in the image.
    @dsl.component(base_image=container_image)
    def write(words: str, data: Output[Dataset]) -> int:
        import pathlib

        pathlib.Path(data.path).write_text(words)
        data.metadata["length"] = len(words)
        return len(words)

    @component
    def read(data: Input[Dataset], number: int) -> str:
        import pathlib

        return f"{pathlib.Path(data.path).read_text()} {data.metadata['length']} {number}"

    @component
    def look() -> dict:
        """A task's view of itself."""
        import os
        import pathlib

        def written(place: str) -> str:
            try:
                (pathlib.Path(place) / "probe").write_text("x")
            except OSError as error:
                return str(error.strerror)
            return "written"

        status = pathlib.Path("/proc/self/status").read_text()
        fields = dict(line.split(":\t") for line in status.splitlines() if ":\t" in line)
        names = (
            "TRIMTAB_RUN_ID",
            "TRIMTAB_TASK",
            "TRIMTAB_STORE",
            "OMP_NUM_THREADS",
            "COLOUR",
            "AWS_SECRET_ACCESS_KEY",
        )
        return {
            "user": os.getuid(),
            "root": written("/"),
            "usr": written("/usr"),
            "tmp": written("/tmp"),
            "home": written(os.environ["HOME"]),
            "store": written(os.environ["TRIMTAB_STORE"]),
            "capabilities": int(fields["CapEff"], 16) | int(fields["CapBnd"], 16),
            "no_new_privileges": fields["NoNewPrivs"],
            "interfaces": sorted(path.name for path in pathlib.Path("/sys/class/net").iterdir()),
            "environment": {name: os.environ.get(name) for name in names},
        }

    @component
    def eat(megabytes: int) -> int:
        print("eating", flush=True)
        return len(bytearray(megabytes * 2**20))

    @component
    def wait_for(name: str) -> str:
        """Waits for a file in the store."""
        import os
        import pathlib
        import time

        while not (pathlib.Path(os.environ["TRIMTAB_STORE"]) / name).exists():
            time.sleep(0.05)
        return "came"

    @component
    def mistake() -> str:
        import sys
        import types

        # The test image does not hold trimtab: a class of the same name stands for its own.
        module = types.ModuleType("components.core.errors")
        error = type("UserError", (Exception,), {"__module__": module.__name__})
        sys.modules[module.__name__] = module
        raise error("give a larger budget")

    @dsl.container_component
    def shout(data: Input[Dataset], word: str, out: Output[Dataset], count: dsl.OutputPath(int)):
        script = 'tr a-z A-Z < "$0" > "$1" && printf " %s" "$2" >> "$1" && mkdir -p "${3%/*}" && wc -c < "$1" > "$3"'
        return dsl.ContainerSpec(
            image=container_image, command=["sh", "-c", script], args=[data.path, out.path, word, count]
        )

    @dsl.container_component
    def leave(code: int):
        return dsl.ContainerSpec(
            image=container_image, command=["sh"], args=["-c", 'echo "last words" >&2; exit "$0"', code]
        )

    @dsl.container_component
    def missing_program():
        return dsl.ContainerSpec(image=container_image, command=["no-such-program"])

    @dsl.container_component
    def image_command():
        return dsl.ContainerSpec(image=container_image)

    return SimpleNamespace(**locals())


@pytest.fixture
def contained(tmp_path: Path, compiled: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Runs a pipeline in containers, in the test's own home; afterwards none may be left."""
    monkeypatch.delenv("TRIMTAB_STORE", raising=False)

    def run_one(
        pipeline: Any, *, store_uri: str = "", engine: str = "container", secrets: Any = None,
        allow: frozenset[str] = frozenset(), **parameters: Any,
    ) -> Ran:  # fmt: skip
        events: list[Event] = []
        result = run_pipeline(
            pipeline if isinstance(pipeline, Path) else compiled(pipeline), parameters, store_uri=store_uri,
            options=RunOptions(engine=engine, secrets=secrets or {}, allow=allow), listener=events.append,
            home=tmp_path / "home",
        )  # fmt: skip
        return Ran(result=result, events=events)

    yield run_one
    assert containers_of(tmp_path / "home") == []


def containers_of(home: Path) -> list[str]:
    """Ids of the containers, running or not, of runs under this home."""
    form = '{{.ID}} {{index .Labels "trimtab-folder"}}'
    words = ["podman", "ps", "-a", "--filter", "label=trimtab-folder", "--format", form]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    pairs = [line.split(" ", 1) for line in listed.splitlines()]
    return [container for container, folder in pairs if Path(folder).parent == home / "runs"]


def until(happened: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def test_artifacts_and_parameters_pass_between_python_and_container_components(contained: Any, components: Any) -> None:
    @components.component
    def measure(data: Input[Dataset], number: int) -> str:
        import pathlib

        return f"{pathlib.Path(data.path).read_text()} {number}"

    @dsl.pipeline(name="mixed")
    def mixed(words: str) -> str:
        first = components.write(words=words)
        components.read(data=first.outputs["data"], number=first.outputs["Output"])
        loud = components.shout(data=first.outputs["data"], word="and more")
        return measure(data=loud.outputs["out"], number=loud.outputs["count"]).output

    ran = contained(mixed, words="hello")
    assert ran.result.outputs == {"Output": "HELLO and more 14"}
    assert ran.outputs("read") == {"Output": "hello 5 5"}
    again = contained(mixed, words="hello")
    assert again.cached() == {"write", "read", "shout", "measure"}


def test_a_container_that_fails_is_a_failed_task_with_its_exit_code_and_last_line(
    contained: Any, components: Any
) -> None:
    @dsl.pipeline(name="failing")
    def failing():
        components.leave(code=7)

    for _ in range(3):
        ran = contained(failing)
        assert ran.statuses() == {"leave": "failed"}
        assert ran.result.error == "leave: it left with exit code 7: last words"
    assert Path(ran.ended("leave").log).read_text() == "last words\n"


def test_a_program_that_the_image_lacks_is_a_failed_task_that_says_so(contained: Any, components: Any) -> None:
    @dsl.pipeline(name="lacking")
    def lacking():
        components.missing_program()

    ran = contained(lacking)
    assert ran.result.status == "failed"
    assert "No such file" in ran.result.error


def test_a_container_component_without_a_command_runs_the_images_own(contained: Any, components: Any) -> None:
    @dsl.pipeline(name="own-command")
    def own_command():
        components.image_command()

    # `python3` without a terminal and without input ends at once.
    assert contained(own_command).statuses() == {"image-command": "succeeded"}


def test_a_users_mistake_inside_a_container_is_one_line_and_not_retried(contained: Any, components: Any) -> None:
    @dsl.pipeline(name="mistaken")
    def mistaken():
        components.mistake().set_retry(2)

    ran = contained(mistaken)
    assert (ran.result.failure, ran.ended("mistake").error) == ("user", "give a larger budget")
    assert not [event for event in ran.events if isinstance(event, TaskRetried)]


def test_a_task_is_no_root_and_may_write_only_its_own_folders(
    contained: Any, components: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not for a run whose store is a folder")

    @dsl.pipeline(name="looking")
    def looking() -> dict:
        return components.look().set_env_variable("COLOUR", "blue").set_cpu_request("2").output

    ran = contained(looking)
    seen = ran.result.outputs["Output"]
    environment = seen.pop("environment")
    assert seen.pop("user") != 0
    assert seen == {
        "root": "Read-only file system", "usr": "Read-only file system", "tmp": "written", "home": "written",
        "store": "Read-only file system", "capabilities": 0, "no_new_privileges": "1", "interfaces": ["lo"],
    }  # fmt: skip
    assert environment == {
        "TRIMTAB_RUN_ID": ran.result.run_id, "TRIMTAB_TASK": "look", "TRIMTAB_STORE": str(tmp_path / "home" / "store"),
        "OMP_NUM_THREADS": "2", "COLOUR": "blue", "AWS_SECRET_ACCESS_KEY": None,
    }  # fmt: skip


@pytest.mark.s3
def test_credentials_for_a_bucket_are_passed_by_name_and_its_loopback_server_is_reached(
    contained: Any, container_image: str, object_store_server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @dsl.component(base_image=container_image, install_kfp_package=False)
    def fetch(url: str) -> dict:
        import os
        import urllib.error
        import urllib.request

        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            answer = opener.open(url, timeout=10).status
        except urllib.error.HTTPError as refused:
            answer = refused.code
        return {"answer": answer, "store": os.environ["TRIMTAB_STORE"], "key": os.environ["AWS_SECRET_ACCESS_KEY"][:6]}

    @dsl.pipeline(name="fetching")
    def fetching(url: str) -> dict:
        return fetch(url=url).output

    for name, value in object_store_server.environment.items():
        monkeypatch.setenv(name, value)
    calls = tmp_path / "calls"
    calls.touch()
    recording(tmp_path / "bin", calls, monkeypatch)
    uri = f"s3://{object_store_server.bucket}/containers/{tmp_path.name}"
    granted = frozenset({"host-network", "store"})
    ran = contained(fetching, store_uri=uri, url=object_store_server.endpoint, allow=granted)
    assert ran.result.outputs["Output"] == {"answer": 403, "store": uri, "key": "writer"}
    secret = object_store_server.environment["AWS_SECRET_ACCESS_KEY"]
    assert "--env=AWS_SECRET_ACCESS_KEY" in calls.read_text()
    assert secret not in calls.read_text()


def recording(folder: Path, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a podman before the real one that writes its command lines down."""
    real = subprocess.run(["sh", "-c", "command -v podman"], capture_output=True, text=True, check=True).stdout.strip()
    folder.mkdir()
    script = folder / "podman"
    script.write_text(f'#!/bin/sh\necho "$@" >> {calls}\nexec {real} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_a_task_over_its_memory_limit_fails_and_the_reason_names_the_limit(contained: Any, components: Any) -> None:
    @dsl.pipeline(name="hungry")
    def hungry():
        components.eat(megabytes=600).set_memory_limit("256Mi")

    @dsl.pipeline(name="modest")
    def modest():
        components.eat(megabytes=600)

    error = contained(hungry).result.error
    assert error.startswith("eat: it ran out of memory (exit code 137; its memory limit is 256Mi)")
    assert contained(modest).result.status == "succeeded"


def test_a_cpu_limit_reaches_the_container(
    contained: Any, components: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    @dsl.pipeline(name="throttled")
    def throttled():
        components.leave(code=0).set_cpu_limit("500m").set_memory_limit("64Mi")

    calls = tmp_path / "calls"
    recording(tmp_path / "bin", calls, monkeypatch)
    assert contained(throttled).result.status == "succeeded"
    assert "--cpus=0.50 --memory=67108864 --memory-swap=67108864" in calls.read_text()


def test_a_container_that_outlives_its_timeout_is_ended_and_removed(contained: Any, components: Any) -> None:
    @dsl.pipeline(name="late")
    def late():
        kubernetes.set_timeout(components.wait_for(name="never"), seconds=1)

    assert contained(late).result.error == "wait-for: it took longer than its timeout of 1 s"


@pytest.fixture
def waiting(compiled: Callable[..., Path], components: Any) -> Path:
    """A pipeline whose one task waits for the file `go` in the store."""

    @dsl.pipeline(name="waiting")
    def waiting_pipeline() -> str:
        return components.wait_for(name="go").output

    return compiled(waiting_pipeline)


def test_ctrl_c_ends_and_removes_the_container(contained: Any, waiting: Path, tmp_path: Path) -> None:
    def interrupt() -> None:
        until(lambda: containers_of(tmp_path / "home"))
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    ran = contained(waiting)
    thread.join()
    assert ran.result.status == "cancelled"
    assert ran.statuses() == {"wait-for": "cancelled"}


@pytest.fixture
def stubborn(container_image: str) -> Any:
    """A component that does not end when it is asked to."""

    @dsl.container_component
    def stubborn():
        script = "trap '' TERM; echo ready; while :; do sleep 1; done"
        return dsl.ContainerSpec(image=container_image, command=["sh", "-c", script])

    return stubborn


def test_a_second_ctrl_c_kills_at_once(
    contained: Any, stubborn: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lifetime, "GRACE_SECONDS", 3600.0)

    @dsl.pipeline(name="stopped-twice")
    def stopped_twice():
        stubborn()

    def interrupt() -> None:
        until(lambda: any("ready" in log.read_text() for log in (tmp_path / "home").glob("runs/*/logs/stubborn.log")))
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)

    thread = threading.Thread(target=interrupt)
    thread.start()
    ran = contained(stopped_twice)
    thread.join()
    assert ran.statuses() == {"stubborn": "cancelled"}


def test_a_container_that_does_not_stop_when_asked_is_killed(
    contained: Any, stubborn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifetime, "GRACE_SECONDS", 1.0)

    @dsl.pipeline(name="never-ending")
    def never_ending():
        kubernetes.set_timeout(stubborn(), seconds=2)

    assert "timeout of 2 s" in contained(never_ending).result.error


def start(arguments: list[str], home: Path) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "TRIMTAB_HOME": str(home)}
    return subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *arguments], env=environment, stdout=subprocess.DEVNULL
    )


def guard_of(process: "subprocess.Popen[bytes]") -> int:
    """The process that watches over the containers of this runner."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    found = [pid for pid in children if b"guard" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
    assert len(found) == 1
    return int(found[0])


def running(home: Path) -> bool:
    """Whether a task's own code has been reached in a container under this home."""
    words = ["podman", "ps", "--format", '{{.Status}} {{index .Labels "trimtab-folder"}}']
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return any(line.startswith("Up") and f"{home}/" in line for line in listed.splitlines())


def test_containers_die_with_a_runner_that_is_killed(contained: Any, waiting: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    runner = start(["run", str(waiting), "--runner", "container"], home)
    until(lambda: running(home))
    runner.kill()
    runner.wait()
    until(lambda: not containers_of(home))


@pytest.mark.parametrize("then", ["resume", "run"])
def test_what_a_killed_runner_and_its_guard_left_is_removed_by_the_next(
    contained: Any, waiting: Path, tmp_path: Path, then: str
) -> None:
    home = tmp_path / "home"
    runner = start(["run", str(waiting), "--runner", "container", "--run-id", "first"], home)
    until(lambda: running(home))
    os.kill(guard_of(runner), signal.SIGKILL)
    runner.kill()
    runner.wait()
    left = containers_of(home)
    assert len(left) == 1
    (home / "store" / "go").touch()
    again = ["resume", "first"] if then == "resume" else ["run", str(waiting), "--runner", "container"]
    assert start(again, home).wait() == 0
    assert containers_of(home) == []


def test_another_run_that_is_at_work_keeps_its_containers(contained: Any, waiting: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    runner = start(["run", str(waiting), "--runner", "container", "--run-id", "first"], home)
    until(lambda: running(home))
    other = start(["run", str(waiting), "--runner", "container", "--run-id", "second", "--no-cache"], home)
    until(lambda: len(containers_of(home)) == 2)
    (home / "store" / "go").touch()
    assert (runner.wait(), other.wait()) == (0, 0)


def test_an_image_that_is_nowhere_is_refused_before_anything_starts(
    contained: Any, compiled: Callable[..., Path], components: Any, tmp_path: Path
) -> None:
    @dsl.component(base_image="localhost/trimtab-test:no-such-tag")
    def nowhere() -> int:
        return 1

    @dsl.pipeline(name="imageless")
    def imageless():
        components.leave(code=0)
        nowhere()

    home = tmp_path / "home"
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "run", str(compiled(imageless)), "--runner", "container"],
        env={**os.environ, "TRIMTAB_HOME": str(home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    said = done.stderr.strip()
    assert said.startswith(
        "error: image localhost/trimtab-test:no-such-tag is not on this machine and cannot be pulled: "
    )
    assert "\n" not in said
    assert not home.exists()


def test_without_an_engine_one_line_names_podman_and_docker(
    contained: Any, waiting: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(UserError, match="neither podman nor docker is installed"):
        run_pipeline(waiting, {}, options=RunOptions(engine="container"), listener=print, home=tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()
    monkeypatch.undo()


def test_results_of_processes_and_of_containers_are_not_mixed_and_neither_are_those_of_two_images(
    contained: Any, components: Any, compiled: Callable[..., Path], container_image: str, tmp_path: Path
) -> None:
    @dsl.pipeline(name="either")
    def either():
        components.leave(code=0)

    assert contained(either, engine="process").cached() == set()
    assert contained(either).cached() == set()
    assert contained(either).cached() == {"leave"}
    # The same tag, another image: what is inside decides.
    other = "localhost/trimtab-test:other"
    commit(container_image, other)
    path = compiled(either, "other.yaml")
    path.write_text(path.read_text().replace(container_image, other))
    try:
        assert contained(path).cached() == set()
    finally:
        subprocess.run(["podman", "rmi", "-f", other], check=True, capture_output=True)


def commit(image: str, name: str) -> None:
    """Makes an image that differs from another by a label."""
    text = f"FROM {image}\nLABEL other=yes\n"
    subprocess.run(["podman", "build", "-q", "-t", name, "-"], input=text.encode(), check=True, capture_output=True)


def test_secrets_volumes_and_the_workspace_are_where_the_pipeline_says(
    contained: Any, container_image: str, tmp_path: Path
) -> None:
    @dsl.container_component
    def shell(command: str, out: dsl.OutputPath(str)):
        return dsl.ContainerSpec(image=container_image, command=["sh", "-c", command, out])

    into = 'mkdir -p "${0%/*}" && exec > "$0" && '
    workspace = dsl.WORKSPACE_PATH_PLACEHOLDER

    @dsl.pipeline(name="objects", pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")))
    def pipeline():
        made = kubernetes.CreatePVC(pvc_name="shared", access_modes=["ReadWriteMany"], size="1Gi")
        first = shell(command=f"{into} cat /etc/sec/token && printf x > /data/a && printf y > {workspace}/b")
        second = shell(command=f'{into} cat /data/a {workspace}/b && printf " ${{#TOKEN}}"').after(first)
        kubernetes.use_secret_as_volume(first, "sec", "/etc/sec")
        kubernetes.use_secret_as_env(second, "sec", {"token": "TOKEN"})
        for task in (first, second):
            kubernetes.mount_pvc(task, pvc_name=made.outputs["name"], mount_path="/data")

    (tmp_path / "sec.json").write_text('{"token": "hunter2"}')
    ran = contained(pipeline, secrets={"sec": tmp_path / "sec.json"})
    assert ran.result.status == "succeeded", ran.result.error
    assert ran.outputs("shell")["out"] == "***"  # it was read, or there were nothing to hide
    assert ran.outputs("shell-2")["out"] == "xy 7"
    assert (tmp_path / "home" / "volumes" / "shared" / "a").read_text() == "x"
    assert list(ran.result.folder.rglob("token")) == []
