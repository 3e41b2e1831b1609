"""Hostile tasks can do no more in the containers of a user without rights than in root's."""

import os
import re
import subprocess
from typing import Any

import pytest

pytestmark = pytest.mark.containers

HOSTILE = "tests/runner/containers/test_hostile_tasks.py"
DECISIVE = (
    "test_a_link_that_a_container_left_is_not_followed[an output parameter]",
    "test_a_link_that_a_container_left_is_not_followed[a folder in an output artifact]",
    "test_an_executor_output_cannot_name_a_folder_of_this_machine[custom_path]",
    "test_an_executor_output_cannot_name_a_folder_of_this_machine[a path that only looks like a URI]",
    "test_an_importer_takes_local_files_only_from_where_it_was_allowed",
    "test_a_task_has_no_network_whatever_its_command_says",
    "test_containers_see_no_environment_of_the_runner",
    "test_a_volumes_sub_path_that_a_task_made_a_link_is_not_mounted",
    "test_a_note_of_the_engine_does_not_follow_a_link_of_the_task",
    "test_a_store_cannot_be_changed_by_a_task",
    "test_what_a_task_wrote_for_the_store_is_refused_if_it_is_not[a link for a blob]",
    "test_what_a_task_wrote_for_the_store_is_refused_if_it_is_not[a moved champion]",
)
"""One or two of each kind. All of them pass so, and take a minute and a half."""


def test_decisive_attacks_of_hostile_tasks_fail_in_rootless_podman_too(
    base_image: str, request: pytest.FixtureRequest
) -> None:
    if os.getuid() != 0:
        return  # then every test here is one of a user without rights
    as_user = request.getfixturevalue("as_user")
    _bring(base_image, as_user)
    chosen = [f"{HOSTILE}::{name}" for name in DECISIVE]
    ran = as_user("python", "-m", "pytest", "-q", "-m", "containers", "-p", "no:cacheprovider", *chosen)
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert ran.returncode == 0, f"as a user: {ran.stdout[-3000:]}{ran.stderr[-1000:]}"
    assert passed
    assert int(passed[1]) == len(DECISIVE)


def _bring(image: str, as_user: Any) -> None:
    """The image, out of root's storage into the user's."""
    if as_user("podman", "image", "exists", image).returncode == 0:
        return
    with subprocess.Popen(["podman", "save", image], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as saving:
        assert saving.stdout is not None
        loaded = as_user("podman", "load", stdin=saving.stdout.fileno())
    if loaded.returncode != 0:
        pytest.fail(f"rootless podman does not work here: {' '.join(loaded.stderr.split())[-300:]}")
