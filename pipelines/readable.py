"""Names that a person reads, for what KFP's compiler numbers.

The compiler calls a group after its kind (`exit-handler-1`, `condition-branches-2`, `for-loop-3`), the second use of a
component after the first (`judge-2`), and what a group is handed `pipelinechannel--preflight-batch_size`. The pipeline
UI shows these keys, in breadcrumbs, loop iterations and lists of inputs, and the local runner shows them as paths.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec, PlatformSpec

_CHANNEL = "pipelinechannel--"
_ITEM = "-loop-item"


def readable(spec: PipelineSpec, platform: PlatformSpec) -> tuple[PipelineSpec, PlatformSpec]:
    """The same pipeline with other keys: tasks after their display names, groups' inputs and outputs by what they are.

    A group without a name, as the one around `dsl.If` and `dsl.Elif`, is called after what it holds, joined by `or`.
    A component's second task in a DAG keeps its number, unless it is given a display name.

    Components are numbered again in the order of the tasks, and each has an executor of its name: the compiler numbers
    those of nested pipelines in the order of a hash table, so that the same source gives several files.

    Args:
        spec: the pipeline.
        platform: its settings for Kubernetes, by executor.
    """
    document, settings = json_format.MessageToDict(spec), json_format.MessageToDict(platform)
    components = document["components"]
    for dag in _dags(document):
        _name_tasks(dag, components)
    for name, component in components.items():
        if "dag" in component:
            _name_channels(name, component, list(_dags(document)))
    _number(document, settings)
    return json_format.ParseDict(document, PipelineSpec()), json_format.ParseDict(settings, PlatformSpec())


def _number(document: dict[str, Any], settings: dict[str, Any]) -> None:
    names: dict[str, str] = {}
    for old in _components_in_order(document["root"], document["components"]):
        # KFP numbers a number again: fine-tune-2-2.
        base = re.sub(r"(-\d+)+$", "", old)
        count = sum(name == base or re.fullmatch(rf"{base}-\d+", name) is not None for name in names.values())
        names[old] = base if not count else f"{base}-{count + 1}"
    components = {names[old]: document["components"][old] for old in names}
    for component in (document["root"], *components.values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task["componentRef"]["name"] = names[task["componentRef"]["name"]]
    document["components"] = components
    labels = {
        name: (component["executorLabel"], f"exec-{name.removeprefix('comp-')}")
        for name, component in components.items()
        if "executorLabel" in component
    }
    for name, (_, label) in labels.items():
        components[name]["executorLabel"] = label
    for deployed in (document, *settings.get("platforms", {}).values()):
        executors = deployed.get("deploymentSpec", {}).get("executors", {})
        for_all = {label: copy.deepcopy(executors[old]) for old, label in labels.values() if old in executors}
        if executors:
            deployed["deploymentSpec"]["executors"] = for_all


def _components_in_order(component: Mapping[str, Any], components: Mapping[str, Any]) -> Iterator[str]:
    """Every component that is used below, once for each use that the compiler gave a name of its own."""
    seen: dict[str, None] = {}
    tasks = component.get("dag", {}).get("tasks", {})
    for key in sorted(tasks, key=_in_order):
        name = tasks[key]["componentRef"]["name"]
        if name not in seen:
            seen[name] = None
            seen.update(dict.fromkeys(_components_in_order(components[name], components)))
    yield from seen


def _dags(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for component in (document["root"], *document["components"].values()):
        if "dag" in component:
            yield component["dag"]


def _name_tasks(dag: dict[str, Any], components: Mapping[str, Any]) -> None:
    names: dict[str, str] = {}
    for key, task in sorted(dag["tasks"].items(), key=lambda item: _in_order(item[0])):
        said = task["taskInfo"]["name"]
        if said == key:
            said = task["taskInfo"]["name"] = _unnamed(key, task, components)
        name = re.sub(r"[^a-z0-9]+", "-", said.lower()).strip("-")
        names[key] = name if name not in names.values() else key
    dag["tasks"] = {names[key]: task for key, task in dag["tasks"].items()}
    for task in dag["tasks"].values():
        if "dependentTasks" in task:
            task["dependentTasks"] = sorted(names[other] for other in task["dependentTasks"])
    for source in _producers(dag):
        for key in ("producerTask", "producerSubtask"):
            if key in source:
                source[key] = names[source[key]]


def _unnamed(key: str, task: Mapping[str, Any], components: Mapping[str, Any]) -> str:
    reference = task["componentRef"]["name"]
    inner = components[reference].get("dag")
    if inner and key.startswith("condition-branches-"):
        branches = sorted(inner["tasks"].values(), key=lambda one: _in_order(one["componentRef"]["name"]))
        return " or ".join(one["taskInfo"]["name"] for one in branches)
    # The compiler numbers through the whole pipeline; a DAG may have one of them only.
    return re.sub(r"-\d+$", "", key)


def _in_order(name: str) -> tuple[int, str]:
    """Sorts `condition-9` before `condition-10`: in the order in which the pipeline was written."""
    return len(name), name


def _producers(dag: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Everything in the DAG that names one of its tasks as the origin of a value."""
    for task in dag["tasks"].values():
        for group in task.get("inputs", {}).values():
            for source in group.values():
                for kind in ("taskOutputArtifact", "taskOutputParameter", "taskFinalStatus"):
                    if kind in source:
                        yield source[kind]
    outputs = dag.get("outputs", {})
    for output in outputs.get("artifacts", {}).values():
        yield from output.get("artifactSelectors", ())
    for output in outputs.get("parameters", {}).values():
        if "valueFromParameter" in output:
            yield output["valueFromParameter"]
        yield from output.get("valueFromOneof", {}).get("parameterSelectors", ())


def _name_channels(name: str, component: dict[str, Any], dags: list[dict[str, Any]]) -> None:
    inputs, outputs = component.get("inputDefinitions", {}), component.get("outputDefinitions", {})
    inside = _names(key for group in inputs.values() for key in group)
    outside = _names(key for group in outputs.values() for key in group)
    _rename_keys(inputs, inside)
    _rename_keys(outputs, outside)
    _rename_keys(component["dag"].get("outputs", {}), outside)
    for task in component["dag"]["tasks"].values():
        for group in task.get("inputs", {}).values():
            for source in group.values():
                for kind in ("componentInputParameter", "componentInputArtifact"):
                    if kind in source:
                        source[kind] = inside.get(source[kind], source[kind])
    for dag in dags:
        mine = {key: task for key, task in dag["tasks"].items() if task["componentRef"]["name"] == name}
        for task in mine.values():
            _rename_keys(task.get("inputs", {}), inside)
            _rename_uses(task, inside)
        for source in _producers(dag):
            if source.get("producerTask", source.get("producerSubtask")) in mine:
                for key in ("outputArtifactKey", "outputParameterKey"):
                    if key in source:
                        source[key] = outside.get(source[key], source[key])


def _names(keys: Iterator[str]) -> dict[str, str]:
    """`pipelinechannel--data-prep-prepared` → `prepared`; what two tasks give is called after its task too."""
    known = list(keys)
    given = {key: key.removeprefix(_CHANNEL) for key in known if key.startswith(_CHANNEL)}
    short = {key: _short(name) for key, name in given.items()}
    taken = [*short.values(), *(key for key in known if key not in given)]
    return {key: name if taken.count(name) == 1 else given[key] for key, name in short.items()}


def _short(name: str) -> str:
    # Names of tasks have dashes, names of outputs and inputs have none.
    suffix = "_item" if name.endswith(_ITEM) else ""
    return name.removesuffix(_ITEM).rsplit("-", 1)[-1] + suffix


def _rename_keys(groups: dict[str, dict[str, Any]], names: Mapping[str, str]) -> None:
    for kind, group in groups.items():
        groups[kind] = {names.get(key, key): value for key, value in group.items()}


def _rename_uses(task: dict[str, Any], names: Mapping[str, str]) -> None:
    """In a task's loop and condition, which speak of its own inputs."""
    for iterator in (task.get("parameterIterator", {}), task.get("artifactIterator", {})):
        if "itemInput" in iterator:
            iterator["itemInput"] = names.get(iterator["itemInput"], iterator["itemInput"])
        items = iterator.get("items", {})
        for key in ("inputParameter", "inputArtifact"):
            if key in items:
                items[key] = names.get(items[key], items[key])
    if "condition" in task.get("triggerPolicy", {}):
        policy = task["triggerPolicy"]
        for old, new in names.items():
            policy["condition"] = policy["condition"].replace(f"['{old}']", f"['{new}']")
