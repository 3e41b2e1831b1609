"""The guide: ten commands, each of which names what exists."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from kfp_server import KfpServer
from manifests.network import Peer, reaches
from manifests.objects import INFRA, Object, of_kind
from manifests.references import user_secrets

ROOT = INFRA.parent
TEXT = (INFRA / "README.md").read_text()
COMMANDS = re.findall(r"<!-- ten commands -->\n```\n(.*?)```", TEXT, flags=re.DOTALL)[0].strip().splitlines()
ALL_COMMANDS = [line for block in re.findall(r"```\n(.*?)```", TEXT, flags=re.DOTALL) for line in block.splitlines()]


def test_there_are_ten_commands():
    assert len(COMMANDS) == 10


@pytest.mark.parametrize("line", [line for line in ALL_COMMANDS if line.startswith(("kubectl", "trimtab", "kind"))])
def test_a_command_names_what_is_there(line: str, rendered: dict[str, list[Object]]):
    words = [word.rpartition("=")[2] for word in shlex.split(line)]
    names = {f"{obj['kind'].lower()}/{obj['metadata']['name']}" for obj in rendered["dev"]}

    for word in words:
        if word.startswith("infra/"):
            assert (ROOT / word).exists()
        if word.startswith("statefulset/"):
            assert word in names


def test_the_guide_loads_every_image_that_the_pipeline_needs():
    (line,) = (line for line in COMMANDS if "kind load docker-image" in line)
    document = next(yaml.safe_load_all((ROOT / "pipelines" / "compiled" / "optimize.yaml").read_text()))
    needed = {executor["container"]["image"] for executor in document["deploymentSpec"]["executors"].values()}

    dry = line.replace("xargs -n1 kind", "xargs -n1 echo")
    done = subprocess.run(["sh", "-c", dry], cwd=ROOT, capture_output=True, text=True, check=True)

    assert {said.removeprefix("load docker-image ") for said in done.stdout.splitlines()} == needed


def test_the_guides_command_tells_the_address_of_the_cluster(tmp_path: Path):
    (line,) = (line for line in COMMANDS if line.endswith("kubectl apply -f -"))
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(
        f"""#!/bin/sh
case "$1 $2" in
    "get endpointslices") printf 172.18.0.2 ;;
    "apply -f") cat >{tmp_path}/applied ;;
    *) exec {sys.executable} -c 'import sys; from manifests.objects import kubectl
print(kubectl(*sys.argv[1:]))' "$@" ;;
esac
"""
    )
    kubectl.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run(["sh", "-c", line], cwd=ROOT, env=environment, check=True)
    task = Peer(namespace="kubeflow", labels={"pipelines.kubeflow.org/v2_component": "true"})
    objects = list(yaml.safe_load_all((tmp_path / "applied").read_text()))
    assert reaches(objects, task, Peer(address="172.18.0.2"), 6443)
    assert not reaches(objects, task, Peer(address="192.0.2.10"), 6443)


def test_the_last_command_starts_a_run_as_the_overlays_account(kfp_server: KfpServer):
    command = COMMANDS[-1].replace("http://localhost:8080", kfp_server.url)
    program, *arguments = shlex.split(command)
    assert program == "trimtab"

    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300
    )

    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = kfp_server.objects["runs"].values()
    assert run["service_account"] == "trimtab-runner"
    assert run["runtime_config"]["parameters"]["data_source"] == "demo"


def test_the_guide_creates_the_secrets_that_it_lists():
    for name, keys in user_secrets().items():
        (line,) = (line for line in COMMANDS if f"secret generic {name} " in line)
        assert {word.split("=")[1] for word in shlex.split(line) if word.startswith("--from-literal=")} == keys


def test_the_list_of_secrets_has_none_that_nothing_asks_for(rendered: dict[str, list[Object]]):
    asked = {
        name
        for objects in rendered.values()
        for role in of_kind(objects, "Role")
        for rule in role["rules"]
        if "secrets" in rule["resources"]
        for name in rule["resourceNames"]
    }

    assert set(user_secrets()) == asked


def test_uninstall_takes_back_what_the_guide_sets():
    uninstall = TEXT.split("## Uninstall")[1]

    assert '"path":"/data/workflowDefaults"' in uninstall
    assert "delete -k infra/overlays/dev" in uninstall
    assert all(f"delete secret {name}" in uninstall for name in user_secrets())


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if not target.startswith("https://"):
            assert (INFRA / target).exists(), target
    headings = {
        re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^## (.*)", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings
