"""The runner with its store in an S3 bucket: what one machine computed, another takes over."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import components_for_tests as c
import pytest
from kfp import dsl

from components.core.errors import UserError
from components.core.store import open_store
from pipelines.runner.events import Event, TaskEnded
from pipelines.runner.run import run_pipeline

pytestmark = pytest.mark.s3


@dsl.pipeline(name="on-s3")
def on_s3():
    data = c.write(content="hello").outputs["data"]
    c.read(data=data)


def test_a_second_machine_takes_over_what_the_first_computed(
    compiled: Callable[..., Path], tmp_path: Path, object_store_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_store_server.environment.items():
        monkeypatch.setenv(name, value)
    path = compiled(on_s3)
    uri = f"s3://{object_store_server.bucket}/runner/{tmp_path.name}"
    cached = []
    for home in ("first", "second"):
        events: list[Event] = []
        result = run_pipeline(path, {}, store_uri=uri, listener=events.append, home=tmp_path / home)
        assert result.status == "succeeded"
        cached.append({event.task for event in events if isinstance(event, TaskEnded) and event.cached})
        records = open_store(uri).journal.read(result.run_id)
        assert {record["task"]: record["status"] for record in records} == {"write": "succeeded", "read": "succeeded"}
    assert cached == [set(), {"write", "read"}]


def test_a_bucket_that_refuses_is_refused_before_anything_starts(
    compiled: Callable[..., Path], tmp_path: Path, object_store_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in object_store_server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(UserError) as caught:
        run_pipeline(
            compiled(on_s3), {}, store_uri=f"s3://{object_store_server.bucket}/x", listener=print, home=tmp_path / "h"
        )
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "h").exists()
