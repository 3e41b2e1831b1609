"""`packages_to_install`: wheels from an index on disk, in environments of their own."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl

from components.core.errors import UserError
from pipelines.runner.processes import environments
from pipelines.runner.processes.environments import InstallFailed, InstallStopped, environment
from pipelines.runner.reading.packages import Install, fingerprint, installs, missing

PACKAGE = "trimtab-test-cargo"
MODULE = "trimtab_test_cargo"


@pytest.fixture
def index(tmp_path: Path) -> str:
    """The URL of a package index with the versions 1.0 and 2.0 of a package that is nowhere else."""
    folder = tmp_path / "simple" / PACKAGE
    folder.mkdir(parents=True)
    wheels = [make_wheel(folder, version) for version in ("1.0", "2.0")]
    links = "".join(f'<a href="{wheel}">{wheel}</a>' for wheel in wheels)
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
    return (tmp_path / "simple").as_uri()


def make_wheel(folder: Path, version: str) -> str:
    name = f"{MODULE}-{version}-py3-none-any.whl"
    info = f"{MODULE}-{version}.dist-info"
    files = {
        f"{MODULE}.py": f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    listed = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": listed}.items():
            wheel.writestr(path, text)
    return name


@pytest.fixture(autouse=True)
def no_other_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine's own pip settings must not make a test ask the network."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)


def pipeline_of(index: str, *packages: str, use_venv: bool = False) -> Any:
    @dsl.component(
        base_image="python:3.11", packages_to_install=list(packages), pip_index_urls=[index], use_venv=use_venv
    )
    def cargo() -> str:
        import sys

        import kfp
        import numpy
        import trimtab_test_cargo

        assert kfp
        assert numpy
        return f"{trimtab_test_cargo.version} {sys.prefix}"

    @dsl.pipeline(name="with-packages")
    def pipeline():
        cargo()

    return pipeline


@pytest.mark.parametrize("use_venv", [False, True])
def test_a_missing_package_is_installed_beside_what_is_here_and_used(
    run: Callable[..., Any], index: str, use_venv: bool
) -> None:
    ran = run(pipeline_of(index, f"{PACKAGE}<2", "numpy", use_venv=use_venv))
    assert ran.result.status == "succeeded", ran.result.error
    version, prefix = ran.outputs("cargo")["Output"].split()
    assert version == "1.0"
    assert Path(prefix) != Path(sys.prefix)
    assert {path.name for path in Path(prefix).glob("lib/*/site-packages/*.dist-info")} == {f"{MODULE}-1.0.dist-info"}


def test_another_version_is_another_environment_and_another_result(run: Callable[..., Any], index: str) -> None:
    versions = [
        run(pipeline_of(index, f"{PACKAGE}=={version}")).outputs("cargo")["Output"] for version in ("1.0", "2.0")
    ]
    assert [text.split()[0] for text in versions] == ["1.0", "2.0"]
    assert run(pipeline_of(index, f"{PACKAGE}==1.0")).cached() == {"cargo"}


def test_an_environment_is_kept_for_later_runs(run: Callable[..., Any], index: str, tmp_path: Path) -> None:
    first = run(pipeline_of(index, PACKAGE))
    (tmp_path / "simple" / PACKAGE / "index.html").unlink()  # what would be asked, if it were built again
    again = run(pipeline_of(index, PACKAGE), use_cache=False)
    assert again.outputs("cargo") == first.outputs("cargo")


def test_what_cannot_be_installed_fails_the_task_with_the_last_word_of_pip(run: Callable[..., Any], index: str) -> None:
    ran = run(pipeline_of(index, "trimtab-no-such-cargo>=3"))
    assert ran.result.status == "failed"
    assert ran.ended("cargo").error == (
        "its packages cannot be installed ('trimtab-no-such-cargo>=3'): "
        "ERROR: No matching distribution found for trimtab-no-such-cargo>=3"
    )
    assert list((ran.result.folder.parent.parent / "environments").glob("*/*")) == []


def test_packages_that_are_here_need_no_environment(run: Callable[..., Any], tmp_path: Path) -> None:
    @dsl.component(base_image="python:3.11", packages_to_install=["pyyaml>=5", "numpy"])
    def prefix() -> str:
        import sys

        return sys.prefix

    @dsl.pipeline(name="here")
    def pipeline():
        prefix()

    assert run(pipeline).outputs("prefix")["Output"] == sys.prefix
    assert not (tmp_path / "home" / "environments").exists()


def build(home: Path, index: str, *packages: str, stop: asyncio.Event | None = None) -> Path:
    wanted = (Install(options=("--index-url", index), requirements=packages),)
    log = home / "log.txt"
    home.mkdir(exist_ok=True)
    return asyncio.run(environment(home, wanted, log, stop or asyncio.Event()))


def test_two_that_want_the_same_at_once_build_it_once(tmp_path: Path, index: str) -> None:
    home = tmp_path / "home"
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(build(home, index, PACKAGE))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(set(found)) == 1
    assert len(list((home / "environments").glob("*/build-*"))) == 1


def test_a_killed_build_is_never_used_and_is_cleared_away(tmp_path: Path, index: str) -> None:
    """Killed while pip runs: a program of that name that waits for ever stands in for a slow download."""
    home = tmp_path / "home"
    script = f"""
        import asyncio, os, pathlib, signal, sys
        from components.core.errors import UserError
        from pipelines.runner.processes import environments
        from pipelines.runner.reading.packages import Install

        async def call(argv, log, stop):
            if "pip" in argv:
                os.kill(os.getpid(), signal.SIGKILL)
            await real(argv, log, stop)

        real, environments._call = environments._call, call
        home = pathlib.Path({str(home)!r})
        wanted = (Install(options=("--index-url", {index!r}), requirements=({PACKAGE!r},)),)
        asyncio.run(environments.environment(home, wanted, home / "log.txt", asyncio.Event()))
    """
    home.mkdir()
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False)
    assert killed.returncode == -9
    (left,) = (home / "environments").glob("*/build-*")
    python = build(home, index, PACKAGE)
    assert left not in python.parents
    assert not left.exists()
    subprocess.run([str(python), "-c", f"import {MODULE}"], check=True)


def test_a_build_ends_when_the_run_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = asyncio.create_subprocess_exec

    async def scenario() -> None:
        stop = asyncio.Event()

        async def slow(*argv: str, **options: Any) -> Any:
            asyncio.get_running_loop().call_later(0.1, stop.set)
            return await real("sleep", "600", **options)

        monkeypatch.setattr(environments.asyncio, "create_subprocess_exec", slow)
        with pytest.raises(InstallStopped):
            await environment(tmp_path, (Install(options=(), requirements=("x",)),), tmp_path / "log", stop)

    asyncio.run(asyncio.wait_for(scenario(), timeout=60))
    assert list((tmp_path / "environments").glob("*/*")) == []


def test_a_place_where_nothing_can_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "environments").write_text("in the way")
    with pytest.raises(InstallFailed, match="environments"):
        build(tmp_path, "file:///nowhere", "x")


def command(install: str) -> tuple[str, ...]:
    return ("sh", "-c", f'\nPIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install {install} && "$0" "$@"\n')


def test_what_the_sdk_wrote_is_read_with_its_options() -> None:
    words = "--quiet --index-url https://a.test/simple --extra-index-url https://b.test/simple 'b>=1' 'a[x]==2'  && \n"
    (found,) = installs(command(words), "here")
    assert found.requirements == ("a[x]==2", "b>=1")
    assert found.options == (
        "--quiet", "--index-url", "https://a.test/simple", "--extra-index-url", "https://b.test/simple",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("install", "names"),
    [
        ("'kfp==2.0.1' '--no-deps' 'typing-extensions>=3.7.4,<5; python_version<\"3.9\"'", ()),
        ("'kfp-kubernetes'", ("kfp-kubernetes",)),
        ("'typing-extensions>=99'", ("typing-extensions>=99",)),
    ],
)
def test_only_kfp_itself_is_left_out(install: str, names: tuple[str, ...]) -> None:
    assert tuple(name for item in installs(command(install), "here") for name in item.requirements) == names


@pytest.mark.parametrize(
    ("install", "is_missing"),
    [
        ("'pyyaml>=5' numpy", False),
        ("--index-url https://a.test/simple numpy", False),
        ("'pyyaml>=999'", True),
        ("no-such-package-9", True),
        ("'no-such-package-9; python_version<\"3\"'", False),
        ("'git+https://a.test/x.git'", True),
        ("'kfp-kubernetes[no-such-extra]'", True),
        ("--upgrade numpy", True),
    ],
)
def test_missing_is_what_this_environment_does_not_surely_have(install: str, is_missing: bool) -> None:
    assert bool(missing(installs(command(install), "here"))) is is_missing


def test_the_text_for_the_cache_holds_packages_and_the_versions_that_are_here() -> None:
    import yaml

    texts = {fingerprint(installs(command(words), "here")) for words in ("pyyaml", "'pyyaml>=5'", "other-package")}
    assert len(texts) == 3
    assert yaml.__version__ in fingerprint(installs(command("pyyaml"), "here"))


def test_a_requirement_with_space_around_it_is_the_package_that_it_names() -> None:
    import yaml

    for words in ("' pyyaml'", "' pyyaml ; python_version>\"3\"'"):
        assert yaml.__version__ in fingerprint(installs(command(words), "here"))
    assert fingerprint(installs(command("' pyyaml ; python_version<\"3\"'"), "here"))


def test_an_install_that_takes_minutes_to_read_is_refused() -> None:
    with pytest.raises(UserError, match=r"pip install of 6,000,00\d characters"):
        installs(command("torch " * 1_000_000), "here")
