"""checkov over every overlay. In an environment of its own: it pins an older boto3 than the store needs."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from manifests.objects import Object
from own_environment import own_environment

VERSION = "3.3.30"
pytestmark = pytest.mark.checkov


@pytest.fixture(scope="session")
def checkov() -> Path:
    """The program."""
    try:
        return own_environment("checkov", [f"checkov=={VERSION}"]) / "bin" / "checkov"
    except RuntimeError as error:
        pytest.fail(f"{error}\ndeselect with -m 'not checkov'")


def scan(checkov: Path, folder: Path) -> dict[str, list[dict]]:
    """Findings of the manifests in `folder`: `failed_checks` and `skipped_checks`."""
    options = ["--framework", "kubernetes", "--compact", "--skip-download", "--output", "json"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LOG_LEVEL": "ERROR"}
    done = subprocess.run(
        [checkov, "-d", folder, *options], capture_output=True, text=True, check=False, env=environment, timeout=300
    )
    report = json.loads(done.stdout)
    assert "results" in report, f"checkov read nothing: {done.stdout}{done.stderr}"
    return report["results"]


def write(objects: list[Object], path: Path) -> None:
    path.write_text(yaml.safe_dump_all(objects))


def test_checkov_finds_nothing(checkov: Path, rendered: dict[str, list[Object]], tmp_path: Path):
    for name, objects in rendered.items():
        write(objects, tmp_path / f"{name}.yaml")

    found = scan(checkov, tmp_path)

    assert [f"{f['check_id']} {f['resource']}: {f['check_name']}" for f in found["failed_checks"]] == []
    waived = {finding["check_id"]: finding["check_result"]["suppress_comment"] for finding in found["skipped_checks"]}
    assert set(waived) == {"CKV_K8S_15", "CKV_K8S_35", "CKV_K8S_43"}
    assert all(len(reason) > 40 for reason in waived.values()), "a waiver without a reason"


def test_checkov_finds_what_is_wrong(checkov: Path, rendered: dict[str, list[Object]], tmp_path: Path):
    (pod,) = (obj for obj in rendered["dev"] if obj["kind"] == "StatefulSet")
    pod = yaml.safe_load(yaml.safe_dump(pod))
    pod["metadata"]["annotations"] = {}
    pod["spec"]["template"]["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    write([pod], tmp_path / "broken.yaml")

    found = {finding["check_id"] for finding in scan(checkov, tmp_path)["failed_checks"]}

    # Privileged, a writable root, capabilities; and the three that are waived otherwise.
    assert found >= {"CKV_K8S_16", "CKV_K8S_22", "CKV_K8S_37", "CKV_K8S_15", "CKV_K8S_35", "CKV_K8S_43"}
