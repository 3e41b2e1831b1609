"""Is every object of the shape that its kind has? By Kubernetes' schemas, the Trainer's models, else schemas/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

from manifests.objects import Object, name_of
from manifests.train_job import train_job_problems

_SCHEMAS = Path(__file__).parent / "schemas"


def shape_problems(objects: list[Object], *, version: str) -> list[str]:
    """Against the schemas of Kubernetes `version` (`1.34`), unknown fields included, and of the custom resources."""
    return [problem for obj in objects for problem in _problems(obj, version)]


def custom_schema(name: str) -> dict[str, Any]:
    """The JSON schema in schemas/NAME.json."""
    return json.loads((_SCHEMAS / f"{name}.json").read_text())


def _problems(obj: Object, version: str) -> list[str]:
    group = obj["apiVersion"].rpartition("/")[0]
    # The groups of Kubernetes itself have no dot, or end in k8s.io.
    if "." not in group or group.endswith(".k8s.io"):
        try:
            kubernetes_validate.validate(obj, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            return [f"{name_of(obj)}: {'.'.join(map(str, error.path))}: {error.message}"]
        except kubernetes_validate.SchemaNotFoundError:
            return [f"{name_of(obj)}: Kubernetes {version} knows no {obj['kind']} of {obj['apiVersion']}"]
        return []
    if obj["kind"] == "TrainJob":
        return [f"{name_of(obj)}: {problem}" for problem in train_job_problems(obj)]
    if not (_SCHEMAS / f"{obj['kind']}.json").exists():
        return [f"{name_of(obj)}: no schema for {obj['kind']} of {obj['apiVersion']}"]
    validator = jsonschema.Draft202012Validator(
        custom_schema(obj["kind"]), format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    return [
        f"{name_of(obj)}: {'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in validator.iter_errors(obj)
    ]
