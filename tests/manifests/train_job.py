"""Is a TrainJob what Kubeflow Trainer takes? By the models that its project publishes, and the rules that they lack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kubeflow_trainer_api.models.trainer_v1alpha1_train_job import TrainerV1alpha1TrainJob
from pydantic import ValidationError

from manifests.objects import Object

_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_MOST_NAME = 63
_OVERRIDDEN_IN_2_1 = {
    "serviceAccountName", "nodeSelector", "affinity", "tolerations", "volumes", "containers", "imagePullSecrets",
}  # fmt: skip


def train_job_problems(job: Object) -> Iterator[str]:
    """In one line each: where, and what is wrong. Trainer 2.1's way to change pods is checked as 2.3's."""
    if not _NAME.fullmatch(job["metadata"]["name"]) or len(job["metadata"]["name"]) > _MOST_NAME:
        yield f"metadata.name: {job['metadata']['name']!r} is no DNS label that begins with a letter"
    for number, variable in enumerate(job["spec"]["trainer"].get("env", [])):
        if variable["name"].startswith("PET_"):
            yield f"spec.trainer.env.{number}: {variable['name']} is torchrun's"
    for override in job["spec"].get("podTemplateOverrides", []):
        for key in override["spec"].keys() - _OVERRIDDEN_IN_2_1:
            yield f"spec.podTemplateOverrides: {key!r} is unknown"
    written = as_in_2_3(job)
    try:
        model = TrainerV1alpha1TrainJob.from_dict(written)
    except ValidationError as error:
        yield from (f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        return
    assert model is not None
    # The models drop what they do not know.
    yield from _dropped(written, model.to_dict(), "")


def as_in_2_3(job: Object) -> Object:
    """With `podTemplateOverrides`, which only 2.1 has, written as the runtime patches of later versions."""
    spec = dict(job["spec"])
    overrides = spec.pop("podTemplateOverrides", None)
    if overrides is not None:
        jobs = [
            {"name": target["name"], "template": {"spec": {"template": template}}}
            for override in overrides
            for template in [{key: value for key, value in override.items() if key != "targetJobs"}]
            for target in override["targetJobs"]
        ]
        patch = {"template": {"spec": {"replicatedJobs": jobs}}}
        spec["runtimePatches"] = [{"manager": "trimtab", "trainingRuntimeSpec": patch}]
    return {**job, "spec": spec}


def _dropped(written: Any, read: Any, where: str) -> Iterator[str]:
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            if key not in read:
                yield f"{where}: {key!r} is unknown"
            else:
                yield from _dropped(value, read[key], f"{where}.{key}" if where else key)
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for number, (value, other) in enumerate(zip(written, read, strict=True)):
            yield from _dropped(value, other, f"{where}.{number}")
    elif written != read:
        yield f"{where}: {written!r} was read as {read!r}"
