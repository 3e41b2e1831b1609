"""A compiled pipeline made ready for a cluster: images and settings written in, named by its content."""

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from components.core.errors import UserError
from pipelines.cluster.images import Images, apply_images
from pipelines.cluster.settings import apply_values, stage_names
from pipelines.cluster.values import read_values
from pipelines.runner.ir.pipeline import Parameter
from pipelines.runner.reading import jobs
from pipelines.runner.reading.documents import read_documents
from pipelines.runner.reading.fields import Fields
from pipelines.runner.reading.reader import read_parameter

_MOST_NAME = 40


@dataclass(frozen=True, kw_only=True)
class Package:
    """`documents`: the pipeline and, if there is one, the platform's document. `values`: parameters that the file
    itself gives (a job's). `images`: what was replaced by what. `header`: the file's comments, which hold the
    description."""

    name: str
    documents: list[dict[str, Any]]
    parameters: Mapping[str, Parameter]
    artifacts: tuple[str, ...] = ()
    service_account: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, str] = field(default_factory=dict)
    header: str = ""

    @property
    def digest(self) -> str:
        """Hex sha256 of the content. The SDK's version is no content: it changes with every release of the SDK."""
        first = {key: value for key, value in self.documents[0].items() if key != "sdkVersion"}
        text = json.dumps([first, *self.documents[1:]], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def description(self) -> str:
        """The pipeline's description, "" if it has none."""
        return str(self.documents[0].get("pipelineInfo", {}).get("description", ""))

    @property
    def resource_name(self) -> str:
        """The pipeline's name as Kubernetes allows it."""
        name = re.sub(r"[^a-z0-9]+", "-", self.name.lower())[:_MOST_NAME].strip("-")
        return name or "pipeline"

    @property
    def version(self) -> str:
        """The name of this version: the same content has the same, on every machine."""
        return f"{self.resource_name}-{self.digest[:12]}"


def make_package(path: Path, *, images: Images, values: Path | None) -> Package:
    """Reads a compiled pipeline and writes images and settings into it.

    Raises:
        UserError: no compiled pipeline, or anything wrong with the values.
    """
    text, documents = read_documents(path)
    unwrapped = jobs.unwrap(documents, str(path))
    documents = unwrapped.documents
    if not documents or len(documents) > 2 or not all(isinstance(document, dict) for document in documents):
        raise UserError(f"{path} is not a compiled pipeline (one or two YAML mappings)")
    spec = documents[0]
    name = spec["pipelineInfo"].get("name", "") if isinstance(spec.get("pipelineInfo"), dict) else ""
    if not name or not isinstance(spec.get("root"), dict):
        raise UserError(f"{path} is not a compiled KFP v2 pipeline: it has no 'pipelineInfo' with a name, or no 'root'")
    _check(documents, path)
    changed = apply_images(spec, images)
    chosen = read_values(values, set(stage_names(spec).values()))
    documents = apply_values(documents, chosen)
    _check(documents, path)
    inputs = Fields(spec["root"], str(path)).group("inputDefinitions")
    return Package(
        name=name, documents=documents, service_account=chosen.service_account, values=unwrapped.values, images=changed,
        parameters={key: read_parameter(item, key) for key, item in inputs.groups("parameters")},
        artifacts=tuple(inputs.raw("artifacts", {}) or {}),
        header="".join(itertools.takewhile(lambda line: line.startswith("#"), text.splitlines(keepends=True))),
    )  # fmt: skip


def write_ir(package: Package, path: Path) -> None:
    """Writes the package as KFP's own YAML, for the local runner, the UI and `kfp.Client`."""
    from kfp.compiler import Compiler

    Compiler().compile(_component(package), str(path))


def write_manifests(package: Package, path: Path, *, namespace: str) -> None:
    """Writes the package as the Kubernetes resources Pipeline and PipelineVersion."""
    from kfp.compiler import Compiler, KubernetesManifestOptions

    options = KubernetesManifestOptions(
        pipeline_name=package.resource_name,
        pipeline_display_name=package.name,
        pipeline_version_name=package.version,
        pipeline_version_display_name=package.version,
        namespace=namespace or None,
        include_pipeline_manifest=True,
    )
    Compiler().compile(
        _component(package), str(path), kubernetes_manifest_format=True, kubernetes_manifest_options=options
    )


def _component(package: Package) -> Any:
    from kfp.components import load_component_from_text

    content = yaml.safe_dump_all(package.documents, sort_keys=True, allow_unicode=True)
    return load_component_from_text(package.header + content)


def _check(documents: list[dict[str, Any]], path: Path) -> None:
    """KFP's own schema, key by key: what its back end would refuse is refused here."""
    from google.protobuf import json_format
    from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
    from kfp.pipeline_spec import pipeline_spec_pb2

    try:
        spec = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
        json_format.ParseDict(
            json_format.MessageToDict(spec.deployment_spec), pipeline_spec_pb2.PipelineDeploymentConfig()
        )
        for document in documents[1:]:
            json_format.ParseDict(document, pipeline_spec_pb2.PlatformSpec())
            kubernetes = document.get("platforms", {}).get("kubernetes", {})
            for config in kubernetes.get("deploymentSpec", {}).get("executors", {}).values():
                json_format.ParseDict(config, KubernetesExecutorConfig())
    except json_format.ParseError as error:
        raise UserError(f"KFP does not accept the pipeline {path}: {' '.join(str(error).split())[:300]}") from None
