"""Volumes, scratch folders and the workspace, compiled with the real kfp-kubernetes; mounts without a container."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional

import pytest
from components_for_tests import text
from kfp import dsl, kubernetes

from components.core.errors import UserError
from pipelines.runner.kubernetes_objects import mounts
from pipelines.runner.kubernetes_objects.volume_tasks import volume_folder

MISSING = "/trimtab-test/data"
"""A path that no machine has, with a folder above it that none has either."""


@dsl.component(base_image="python:3.11")
def put(folder: str, name: str, content: str = "x") -> str:
    import pathlib

    pathlib.Path(folder, name).write_text(content)
    return name


@dsl.component(base_image="python:3.11")
def listed(folder: str) -> list[str]:
    import pathlib

    return sorted(path.name for path in pathlib.Path(folder).iterdir())


@dsl.container_component
def shell(command: str, out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="alpine", command=["sh", "-c", f"({command}) > {out}"])


def mounted(task: Any, name: Any, path: str = MISSING, inside: str = "") -> Any:
    kubernetes.mount_pvc(task, pvc_name=name, mount_path=path, sub_path=inside)
    return task


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    return tmp_path / "home" / "volumes"


def test_a_volume_is_made_shared_by_tasks_and_survives_the_run(run: Callable[..., Any], volumes: Path) -> None:
    @dsl.pipeline(name="volume")
    def pipeline():
        made = kubernetes.CreatePVC(pvc_name="shared", access_modes=["ReadWriteMany"], size="1Gi")
        first = mounted(put(folder=MISSING, name="a.txt", content="hello"), made.outputs["name"])
        mounted(listed(folder=MISSING), made.outputs["name"]).after(first)
        mounted(shell(command=f"cat {MISSING}/a.txt"), "shared").after(first)

    ran = run(pipeline)
    assert ran.result.status == "succeeded", ran.result.error
    assert ran.outputs("listed")["Output"] == ["a.txt"]
    assert ran.outputs("shell")["out"] == "hello"
    assert (volumes / "shared" / "a.txt").read_text() == "hello"
    assert (volumes / "shared" / "a.txt").stat().st_uid == os.geteuid()
    assert not Path("/trimtab-test").exists()
    assert run(pipeline).cached() == set(), "what is in a volume is in no cache key"


def test_a_volume_of_the_run_is_deleted_and_another_one_is_kept(run: Callable[..., Any], volumes: Path) -> None:
    @dsl.pipeline(name="delete")
    def pipeline():
        own = kubernetes.CreatePVC(pvc_name_suffix="-own", access_modes=["ReadWriteOnce"], size="1Gi")
        used = mounted(put(folder=MISSING, name="a"), own.outputs["name"])
        kubernetes.DeletePVC(pvc_name=own.outputs["name"]).after(used)
        kubernetes.DeletePVC(pvc_name="older")

    (volumes / "older").mkdir(parents=True)
    ran = run(pipeline)
    assert ran.result.status == "succeeded", ran.result.error
    assert ran.outputs("createpvc")["name"].endswith("-own")
    assert [path.name for path in volumes.iterdir() if path.name != ".made-by"] == ["older"]
    assert "kept the volume older" in Path(ran.ended("deletepvc-2").log).read_text()


def test_each_iteration_makes_a_volume_of_its_own(run: Callable[..., Any], volumes: Path) -> None:
    @dsl.pipeline(name="loop")
    def pipeline():
        with dsl.ParallelFor(["a", "b"]) as item:
            made = kubernetes.CreatePVC(pvc_name_suffix="-v", access_modes=["ReadWriteOnce"], size="1Gi")
            mounted(put(folder=MISSING, name=item), made.outputs["name"])

    ran = run(pipeline)
    assert ran.result.status == "succeeded", ran.result.error
    assert sorted(path.name for path in volumes.glob("*-v/*")) == ["a", "b"]


def test_a_volume_that_is_not_here_is_refused_with_the_place_where_it_would_be(
    run: Callable[..., Any], volumes: Path
) -> None:
    @dsl.pipeline(name="existing")
    def pipeline():
        mounted(listed(folder=MISSING), "existing", inside="part")

    with pytest.raises(
        UserError, match=f"'listed'.*'existing' does not exist here; create the folder {volumes / 'existing'}"
    ):
        run(pipeline)
    (volumes / "existing" / "part" / "b").mkdir(parents=True)
    assert run(pipeline).outputs("listed")["Output"] == ["b"]


def test_a_volume_that_an_optional_input_does_not_name_fails_the_task_as_on_a_cluster(run: Callable[..., Any]) -> None:
    @dsl.pipeline(name="unnamed")
    def pipeline(which: Optional[str] = None):  # noqa: UP045
        mounted(listed(folder=MISSING), which)

    ran = run(pipeline)
    assert ran.ended("listed").error == (
        f"the volume (PVC) for {MISSING} has no name: it is named by the input 'which', which was not given"
    )


@pytest.mark.parametrize("content", [{"volume_name": "disk"}, {"data_source": {"kind": "VolumeSnapshot"}}])
def test_a_volume_that_comes_with_content_is_refused(run: Callable[..., Any], content: dict[str, Any]) -> None:
    @dsl.pipeline(name="snapshot")
    def pipeline():
        kubernetes.CreatePVC(pvc_name="v", access_modes=["ReadWriteOnce"], size="1Gi", **content)

    with pytest.raises(UserError, match="comes with content"):
        run(pipeline)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".made-by", "A"])
def test_the_name_of_a_volume_cannot_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="not a valid name of a volume"):
        volume_folder(tmp_path, name)


def test_a_path_inside_a_volume_cannot_lead_out_of_it(run: Callable[..., Any]) -> None:
    @dsl.pipeline(name="out")
    def pipeline():
        mounted(text(), "v", inside="../other")

    with pytest.raises(UserError, match="subPath"):
        run(pipeline)


def test_scratch_folders_are_empty_and_of_each_task_its_own(run: Callable[..., Any]) -> None:
    @dsl.pipeline(name="scratch")
    def pipeline():
        first = put(folder="/trimtab-test/a", name="x")
        second = listed(folder="/trimtab-test/b/c").after(first)
        for task, path in ((first, "/trimtab-test/a"), (second, "/trimtab-test/b/c")):
            kubernetes.empty_dir_mount(task, "scratch", path, medium="Memory", size_limit="1Gi")
        kubernetes.add_ephemeral_volume(second, "more", "/trimtab-test/b/c/d", ["ReadWriteOnce"], "1Gi")

    ran = run(pipeline)
    assert ran.result.status == "succeeded", ran.result.error
    assert ran.outputs("listed")["Output"] == ["d"]
    assert not Path("/trimtab-test").exists()


def test_the_workspace_is_one_folder_for_all_tasks_and_survives_the_run(run: Callable[..., Any]) -> None:
    @dsl.pipeline(name="workspace", pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")))
    def pipeline():
        first = put(folder=dsl.WORKSPACE_PATH_PLACEHOLDER, name="a")
        listed(folder=dsl.WORKSPACE_PATH_PLACEHOLDER).after(first)

    ran = run(pipeline)
    assert ran.result.status == "succeeded", ran.result.error
    assert ran.outputs("listed")["Output"] == ["a"]
    assert (ran.result.folder / "workspace" / "a").is_file()
    assert run(pipeline).cached() == set()


def test_a_machine_that_lets_nobody_mount_refuses_before_the_start(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dsl.pipeline(name="scratch")
    def pipeline():
        kubernetes.empty_dir_mount(text(), "scratch", "/scratch")

    monkeypatch.setattr(mounts, "possible", lambda: False)
    with pytest.raises(UserError, match=r"'text'.*/scratch.*--runner container"):
        run(pipeline)
    assert not (tmp_path / "home" / "runs").exists()


@pytest.mark.parametrize("path", ["/usr", "/proc", os.path.dirname(os.__file__), "/etc"])  # noqa: PTH120
def test_a_mount_that_would_hide_what_a_process_needs_is_refused(run: Callable[..., Any], path: str) -> None:
    @dsl.pipeline(name="hiding")
    def pipeline():
        kubernetes.empty_dir_mount(text(), "scratch", path)

    with pytest.raises(UserError, match="would hide"):
        run(pipeline)


def test_a_scratch_folder_at_tmp_hides_nothing_that_lies_there(run: Callable[..., Any], tmp_path: Path) -> None:
    """As our own stages say it, for a read-only root on a cluster. The run itself often lies in /tmp."""

    @dsl.pipeline(name="temporary")
    def pipeline():
        task = listed(folder=str(tmp_path / "seen"))
        kubernetes.empty_dir_mount(task, "trimtab-tmp", "/tmp/")

    (tmp_path / "seen").mkdir()
    (tmp_path / "seen" / "a").touch()
    ran = run(pipeline)
    assert ran.result.status == "succeeded", ran.result.error
    assert ran.outputs("listed")["Output"] == ["a"]


def test_mounts_beside_real_files_leave_them_as_they_are(tmp_path: Path) -> None:
    """In a process of its own: a missing folder, one through a link, and one that is there."""
    (tmp_path / "real" / "there").mkdir(parents=True)
    (tmp_path / "real" / "file").write_text("real")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "volume").mkdir()
    (tmp_path / "work").mkdir()
    paths = [str(tmp_path / "real" / "there"), str(tmp_path / "link" / "new" / "deep"), "/etc/trimtab-test"]
    script = f"""
        import pathlib, os
        from pipelines.runner.kubernetes_objects import mounts
        paths = {paths!r}
        volume = pathlib.Path({str(tmp_path / "volume")!r})
        wanted = [mounts.Mount(path=path, root=volume).as_json() for path in paths]
        mounts.enter(wanted, pathlib.Path({str(tmp_path / "work")!r}))
        for number, path in enumerate(paths):
            pathlib.Path(path, str(number)).touch()
        assert pathlib.Path({str(tmp_path / "link" / "file")!r}).read_text() == "real"
        assert pathlib.Path("/etc/hostname").exists() and os.path.exists("/proc/self/status")
        assert os.getcwd() == {str(tmp_path)!r} and os.geteuid() == {os.geteuid()}
        pathlib.Path({str(tmp_path / "real" / "new-file")!r}).touch()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "volume").iterdir()) == ["0", "1", "2"]
    assert sorted(path.name for path in (tmp_path / "real").iterdir()) == ["file", "new-file", "there"]
    assert list((tmp_path / "real" / "there").iterdir()) == []
    assert not Path("/etc/trimtab-test").exists()
