"""`trimtab compile`: Python pipeline → YAML, and a check that the YAML in the repository matches the code.

Without `--output` it writes the repository's YAML, which is independent of any cluster. With `--output` the pipeline is
prepared for a cluster: images by digest, from a mirror, with the settings of a values file.
"""

import importlib
import tempfile
from pathlib import Path
from typing import Any

from components.core.errors import UserError
from components.core.parameters import near
from pipelines.cli.catalog import COMPILED, pipeline_names
from pipelines.cli.deployment import Deployment
from pipelines.runner.reading.documents import read_documents

FORMATS = ("ir", "kubernetes")


def compile_command(
    name: str, output: Path | None, *, check: bool, form: str = "ir", namespace: str = "", deployment: Deployment
) -> int:
    """Compiles the pipeline of this name; returns the exit code: 1 when `check` finds a difference."""
    if form not in FORMATS:
        raise UserError(f"--format must be one of {', '.join(FORMATS)}; got {form!r}")
    if namespace and form != "kubernetes":
        raise UserError("--namespace is the namespace of Kubernetes resources; give --format kubernetes with it")
    if output is None and (form != "ir" or deployment.given):
        raise UserError("a pipeline compiled for a cluster needs its own file: give --output FILE")
    target = output or COMPILED / f"{name}.yaml"
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "pipeline.yaml"
        _compile(name, fresh)
        note = ""
        if output is not None:
            note = _make_ready(fresh, form=form, namespace=namespace, deployment=deployment)
        if check:
            same = target.is_file() and _content(fresh) == _content(target)
            print(f"{target} {'is up to date' if same else f'differs from the code: run trimtab compile {name}'}")
            return 0 if same else 1
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(fresh.read_bytes())
        except OSError as error:
            raise UserError(f"{target} cannot be written: {error.strerror}") from None
    print(f"wrote {target}{note}")
    return 0


def _make_ready(path: Path, *, form: str, namespace: str, deployment: Deployment) -> str:
    """Rewrites the file for a cluster; returns a note on its version and images."""
    from pipelines.cluster.package import write_ir, write_manifests

    package = deployment.package(path)
    if form == "kubernetes":
        write_manifests(package, path, namespace=namespace)
    else:
        write_ir(package, path)
    images = "".join(f"\n  {before} → {after}" for before, after in sorted(package.images.items()))
    return f" (version {package.version}){images}"


def _compile(name: str, path: Path) -> None:
    from kfp.compiler import Compiler

    Compiler().compile(_pipeline(name), str(path))


def _pipeline(name: str) -> Any:
    """The pipeline of a form, else the one called NAME in the module `pipelines.NAME`."""
    if name in pipeline_names():
        from pipelines import compress, optimize, race, retrain

        return {**optimize.PIPELINES, **retrain.PIPELINES, **compress.PIPELINES, **race.PIPELINES}[name]
    module_name = f"pipelines.{name}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        known = pipeline_names()
        raise UserError(f"there is no pipeline {name!r}{near(name, known)} (pipelines: {', '.join(known)})") from None
    pipeline = getattr(module, name, None)
    if pipeline is None:
        raise UserError(f"{module_name} defines no pipeline {name!r}")
    return pipeline


def _content(path: Path) -> list[Any]:
    """The documents without the SDK's version, which changes with every KFP release."""
    _, documents = read_documents(path)
    for document in documents:
        for spec in (document, document.get("spec", {}).get("pipelineSpec")) if isinstance(document, dict) else ():
            if isinstance(spec, dict):
                spec.pop("sdkVersion", None)
    return documents
