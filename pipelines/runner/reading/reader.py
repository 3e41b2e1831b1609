"""Compiled YAML → `ir.pipeline.Pipeline`. What the runner does not support is refused here, by name, before any start.

Every key of every message is either read, known to change nothing on one machine, or refused: an unknown key never
passes in silence. `tests/runner/reading/test_reader.py` holds the list against KFP's own protobuf schema.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from components.core.errors import UserError
from pipelines.runner.ir.expressions import Condition, ExpressionError, Selector
from pipelines.runner.ir.parameters import plain, typed
from pipelines.runner.ir.pipeline import (
    MISSING,
    ArtifactPort,
    Component,
    Constant,
    Container,
    Dag,
    FinalStatusOf,
    FromInput,
    FromTask,
    Importer,
    Iterator,
    Parameter,
    ParameterSource,
    Pipeline,
    Retry,
    Task,
)
from pipelines.runner.ir.placeholders import check as check_placeholders
from pipelines.runner.ir.placeholders import run_specific
from pipelines.runner.reading import graph, jobs, platform_config
from pipelines.runner.reading.documents import quoting_a_file, read_documents
from pipelines.runner.reading.executors import read_executor, read_importer
from pipelines.runner.reading.fields import Fields, whole

SCHEMA_VERSIONS = ("2.0.0", "2.1.0")
_PARAMETER_TYPES = (
    "STRING", "NUMBER_INTEGER", "NUMBER_DOUBLE", "BOOLEAN", "LIST", "STRUCT", "TASK_FINAL_STATUS",
)  # fmt: skip
_FOLDER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
E = TypeVar("E", Condition, Selector)
_OLD_TYPES = {"INT": "NUMBER_INTEGER", "DOUBLE": "NUMBER_DOUBLE", "STRING": "STRING"}


@quoting_a_file()
def read_pipeline(path: Path) -> Pipeline:
    """Reads and checks a compiled pipeline.

    Raises:
        UserError: not a pipeline, or one that uses something the local runner does not support (named).
    """
    text, documents = read_documents(path)
    return pipeline_from(documents, text, str(path))


def pipeline_from(documents: list[Any], text: str, name: str) -> Pipeline:
    """A pipeline from the documents of its YAML file: the pipeline, and the platform's settings if there are any."""
    unwrapped = jobs.unwrap(documents, name)
    documents = unwrapped.documents
    if not documents or not isinstance(documents[0], dict):
        raise UserError(f"{name} is not a compiled pipeline: it holds no mapping")
    if len(documents) > 2:
        raise UserError(f"{name} holds {len(documents)} documents; a compiled pipeline has one or two")
    spec = documents[0]
    if "pipelineInfo" not in spec and "root" not in spec:
        kind = " (a Kubernetes manifest?)" if "apiVersion" in spec else ""
        raise UserError(
            f"{name} is not a compiled KFP v2 pipeline{kind}: it has neither 'pipelineInfo' nor 'root'; "
            "compile one with kfp.compiler.Compiler"
        )
    fields = Fields(spec, name)
    version = fields.text("schemaVersion")
    if version not in SCHEMA_VERSIONS:
        raise UserError(f"{name}: unknown schema version {version!r} (known: {', '.join(SCHEMA_VERSIONS)})")
    info = fields.group("pipelineInfo")
    pipeline_name = info.text("name")
    if not pipeline_name:
        raise UserError(f"{name}: the pipeline has no name (pipelineInfo.name)")
    if not pipeline_name.isprintable():
        raise UserError(f"{name}: the pipeline's name {pipeline_name!r} holds control characters")
    description = info.text("description")
    info.ignore("displayName")
    info.finish()
    fields.ignore("sdkVersion", "defaultPipelineRoot")

    platform = platform_config.read(documents[1], name) if len(documents) == 2 else platform_config.NOTHING
    if not platform.has_workspace and "workspace_path" in run_specific(spec):
        raise UserError(
            f"{name} uses the placeholder {{{{$.workspace_path}}}}, but the pipeline has no workspace "
            "(dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size=…)))"
        )
    deployment = fields.group("deploymentSpec")
    executors = {
        label: read_importer(item, label) if item.has("importer") else read_executor(item, label, platform.of(label))
        for label, item in deployment.groups("executors")
    }
    deployment.finish()
    components = {label: _component(item, label, executors) for label, item in fields.groups("components")}
    root = _component(fields.group("root"), "root", executors)
    fields.finish()
    if root.dag is None:
        raise UserError(f"{name}: the pipeline's root holds no tasks")
    root = jobs.with_values(root, unwrapped.values, name)
    graph.check(root, components)
    return Pipeline(
        name=pipeline_name, description=description, root=root, components=components, text=text,
        has_workspace=platform.has_workspace, warnings=(*unwrapped.warnings, *platform.warnings),
    )  # fmt: skip


def _component(fields: Fields, name: str, executors: Mapping[str, Container | Importer]) -> Component:
    inputs, outputs = fields.group("inputDefinitions"), fields.group("outputDefinitions")
    input_parameters = {key: read_parameter(item, key) for key, item in inputs.groups("parameters")}
    input_artifacts = {_folder_name(key, item): _artifact(item) for key, item in inputs.groups("artifacts")}
    output_parameters = {
        _folder_name(key, item): read_parameter(item, key) for key, item in outputs.groups("parameters")
    }
    output_artifacts = {_folder_name(key, item): _artifact(item) for key, item in outputs.groups("artifacts")}
    inputs.finish()
    outputs.finish()
    label = fields.text("executorLabel")
    dag = _dag(fields.group("dag")) if fields.has("dag") else None
    fields.ignore("description")
    fields.refuse("singlePlatformSpecs", "platform settings inside a component")
    fields.refuse("taskConfigPassthroughs", "a TaskConfig passed through to the component")
    fields.finish()
    if (dag is None) is (not label):
        raise UserError(f"{fields.where}: a component needs either 'dag' or 'executorLabel'")
    if label and label not in executors:
        raise UserError(f"{fields.where}: there is no executor {label!r} in deploymentSpec")
    executor = executors[label] if label else None
    if isinstance(executor, Importer) and len(output_artifacts) != 1:
        raise UserError(f"{fields.where}: an importer has one output artifact, found {len(output_artifacts)}")
    return Component(
        name=name, input_parameters=input_parameters, input_artifacts=input_artifacts,
        output_parameters=output_parameters, output_artifacts=output_artifacts,
        container=executor if isinstance(executor, Container) else None,
        importer=executor if isinstance(executor, Importer) else None, dag=dag,
    )  # fmt: skip


def read_parameter(fields: Fields, name: str) -> Parameter:
    """One declared parameter.

    Raises:
        UserError: a type that is not known, a default of another type, or a key that is not known.
    """
    kind = fields.text("parameterType")
    old = fields.text("type")
    kind = kind or _OLD_TYPES.get(old, "")
    if kind not in _PARAMETER_TYPES:
        raise UserError(f"{fields.where}: parameter type {kind or old or 'none'!r} is not supported")
    default = fields.raw("defaultValue", MISSING)
    if default is None:
        default = MISSING
    if default is not MISSING:
        default = typed(default, kind, f"the default of {name!r} ({fields.where})")
    literals = fields.values("literals")
    parameter = Parameter(
        type=kind, default=default, optional=fields.flag("isOptional") or default is not MISSING,
        description=fields.text("description"), literals=tuple(typed(item, kind, name) for item in literals),
    )  # fmt: skip
    fields.finish()
    return parameter


def _artifact(fields: Fields) -> ArtifactPort:
    kind = fields.group("artifactType")
    port = ArtifactPort(
        schema_title=kind.text("schemaTitle") or "system.Artifact",
        schema_version=kind.text("schemaVersion") or "0.0.1",
        is_list=fields.flag("isArtifactList"),
        optional=fields.flag("isOptional"),
        metadata=plain(fields.group("metadata").value, f"{fields.where}.metadata"),
    )
    kind.ignore("schemaUri", "instanceSchema")
    kind.finish()
    fields.ignore("description", "properties", "customProperties")
    fields.finish()
    return port


def _folder_name(name: str, fields: Fields) -> str:
    """Tasks, artifacts and output parameters get files of their names, which must not lead out of the run's folder."""
    if not _FOLDER_NAME.fullmatch(name):
        raise UserError(f"{fields.where}: {name!r} is not a name of letters, digits, '-', '_' and '.'")
    return name


def _dag(fields: Fields) -> Dag:
    tasks = {_folder_name(name, item): _task(item, name) for name, item in fields.groups("tasks")}
    outputs = fields.group("outputs")
    parameters = {name: _output_parameter(item) for name, item in outputs.groups("parameters")}
    artifacts: dict[str, tuple[FromTask, ...]] = {}
    for name, item in outputs.groups("artifacts"):
        artifacts[name] = tuple(_selector(part, "outputArtifactKey") for part in item.sequence("artifactSelectors"))
        item.finish()
    outputs.finish()
    fields.finish()
    if not tasks:
        raise UserError(f"{fields.where}: there are no tasks")
    return Dag(tasks=tasks, output_parameters=parameters, output_artifacts=artifacts)


def _output_parameter(fields: Fields) -> tuple[FromTask, ...]:
    if fields.has("valueFromOneof"):
        one_of = fields.group("valueFromOneof")
        selected = tuple(_selector(part, "outputParameterKey") for part in one_of.sequence("parameterSelectors"))
        one_of.finish()
    else:
        selected = (_selector(fields.group("valueFromParameter"), "outputParameterKey"),)
    fields.finish()
    return selected


def _selector(fields: Fields, key: str) -> FromTask:
    found = FromTask(task=fields.needed("producerSubtask"), key=fields.needed(key))
    fields.finish()
    return found


def _task(fields: Fields, name: str) -> Task:
    info = fields.group("taskInfo")
    display = info.text("name") or name
    info.finish()
    reference = fields.group("componentRef")
    component = reference.needed("name")
    reference.finish()
    caching = fields.group("cachingOptions")
    # KFP writes `cachingOptions: {}` for a task whose caching was switched off, and leaves it out for groups.
    cache = caching.flag("enableCache") if fields.has("cachingOptions") else True
    cache_key = caching.text("cacheKey")
    caching.finish()
    inputs = fields.group("inputs")
    parameters = {key: _source(item) for key, item in inputs.groups("parameters")}
    artifacts = {key: _artifact_source(item) for key, item in inputs.groups("artifacts")}
    inputs.finish()
    condition, always = _trigger(fields.group("triggerPolicy"))
    task = Task(
        name=name, display_name=display, component=component,
        dependencies=_dependencies(fields.strings("dependentTasks"), parameters, artifacts),
        parameters=parameters, artifacts=artifacts, condition=condition, always=always, cache=cache,
        cache_key=cache_key, retry=_retry(fields.group("retryPolicy")), iterator=_iterator(fields),
    )  # fmt: skip
    fields.finish()
    return task


def _dependencies(
    written: tuple[str, ...],
    parameters: Mapping[str, ParameterSource],
    artifacts: Mapping[str, FromInput | FromTask],
) -> tuple[str, ...]:
    sources = [item.source for item in parameters.values()] + list(artifacts.values())
    producers = [source.task for source in sources if isinstance(source, FromTask | FinalStatusOf)]
    return tuple(dict.fromkeys([*written, *producers]))


def _source(fields: Fields) -> ParameterSource:
    selector = _expression(fields, "parameterExpressionSelector", Selector)
    source: Constant | FromInput | FromTask | FinalStatusOf
    if fields.has("componentInputParameter"):
        source = FromInput(name=fields.text("componentInputParameter"))
    elif fields.has("taskOutputParameter"):
        part = fields.group("taskOutputParameter")
        source = FromTask(task=part.needed("producerTask"), key=part.needed("outputParameterKey"))
        part.finish()
    elif fields.has("taskFinalStatus"):
        part = fields.group("taskFinalStatus")
        source = FinalStatusOf(task=part.needed("producerTask"))
        part.finish()
    else:
        source = Constant(value=_constant(fields.group("runtimeValue")))
    fields.finish()
    return ParameterSource(source=source, selector=selector)


def _constant(fields: Fields) -> Any:
    fields.refuse("runtimeParameter", "a runtime parameter")
    value = fields.raw("constant", MISSING)
    if value is MISSING:  # the form of SDK 2.0's first versions
        old = fields.group("constantValue")
        value = next((old.raw(key, None) for key in ("stringValue", "intValue", "doubleValue") if old.has(key)), None)
        if old.has("intValue"):
            value = whole(value, f"{old.where}.intValue")
    value = plain(value, fields.where)
    fields.finish()
    check_placeholders(value, fields.where)
    return value


def _artifact_source(fields: Fields) -> FromInput | FromTask:
    source: FromInput | FromTask
    if fields.has("taskOutputArtifact"):
        part = fields.group("taskOutputArtifact")
        source = FromTask(task=part.needed("producerTask"), key=part.needed("outputArtifactKey"))
        part.finish()
    else:
        source = FromInput(name=fields.needed("componentInputArtifact"))
    fields.finish()
    return source


def _trigger(fields: Fields) -> tuple[Condition | None, bool]:
    strategy = fields.text("strategy")
    known = ("", "TRIGGER_STRATEGY_UNSPECIFIED", "ALL_UPSTREAM_TASKS_SUCCEEDED", "ALL_UPSTREAM_TASKS_COMPLETED")
    if strategy not in known:
        raise UserError(f"{fields.where}: the trigger strategy {strategy!r} is not supported")
    condition = _expression(fields, "condition", Condition)
    fields.finish()
    return condition, strategy == "ALL_UPSTREAM_TASKS_COMPLETED"


def _expression(fields: Fields, key: str, kind: Callable[[str], E]) -> E | None:
    text = fields.text(key)
    if not text:
        return None
    try:
        return kind(text)
    except ExpressionError as error:
        raise UserError(f"{fields.where}.{key}: {error}") from None


def _retry(fields: Fields) -> Retry | None:
    count = fields.integer("maxRetryCount")
    retry = Retry(
        count=count,
        first_seconds=fields.duration("backoffDuration", 0.0),
        factor=fields.number("backoffFactor", 2.0),
        longest_seconds=fields.duration("backoffMaxDuration", 3600.0),
    )
    fields.finish()
    return retry if count > 0 else None


def _iterator(fields: Fields) -> Iterator | None:
    policy = fields.group("iteratorPolicy")
    limit = policy.integer("parallelismLimit")
    policy.finish()
    for over, key in (("parameters", "parameterIterator"), ("artifacts", "artifactIterator")):
        if not fields.has(key):
            continue
        part = fields.group(key)
        items = part.group("items")
        raw = items.text("raw")
        iterator = Iterator(
            over=over,
            item=part.needed("itemInput"),
            items=tuple(typed(raw, "LIST", f"{items.where}.raw")) if raw else None,
            items_input=None if raw else items.needed("inputParameter" if over == "parameters" else "inputArtifact"),
            limit=limit,
        )
        items.finish()
        part.finish()
        return iterator
    return None
