"""KFP's placeholders: `{{$.inputs.parameters['x']}}` and its kin inside constants, arguments and environment.

`check` refuses the unknown ones by name when the pipeline is read, so that `resolve` meets only known ones.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from components.core.errors import UserError
from components.core.results.payload import local_path

# A body holds no other beginning: else a text of beginnings only would be searched to its end from each of them.
_PLACEHOLDER = re.compile(r"\{\{\$((?:(?!\{\{\$).)*?)\}\}", re.DOTALL)
_PARTS = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\[\s*(?:'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\")\s*\]")

RUN_SPECIFIC = frozenset({
    "pipeline_job_uuid", "pipeline_job_name", "pipeline_job_resource_name", "pipeline_task_uuid", "pipeline_root",
    "pipeline_job_create_time_utc", "pipeline_job_schedule_time_utc", "workspace_path",
})  # fmt: skip
"""Differ from run to run: a task whose inputs hold one of them is never taken from the cache."""

_FACTS = RUN_SPECIFIC | {"pipeline_task_name"}
_STRUCTURES = ('{"Concat":', '{"IfPresent":')
_MOST_DEPTH = 100
_ARTIFACT_FIELDS = ("uri", "path", "name", "metadata")


def _split(body: str) -> tuple[str, ...] | None:
    """`.inputs.parameters['x']` → ("inputs", "parameters", "x"); None if it does not have that shape."""
    parts, at = [], 0
    while at < len(body):
        match = _PARTS.match(body, at)
        if match is None:
            return None
        parts.append(next(group for group in match.groups() if group is not None))
        at = match.end()
    return tuple(parts)


def _known(parts: tuple[str, ...] | None) -> bool:
    match parts:
        case () | ("outputMetadataUri",) | ("outputs", "output_file"):
            return True
        case (fact,):
            return fact in _FACTS
        case ("inputs", "parameters", _) | ("outputs", "parameters", _, "output_file"):
            return True
        case ("inputs" | "outputs", "artifacts", _):
            return True
        case ("inputs" | "outputs", "artifacts", _, name):
            return name in _ARTIFACT_FIELDS
        case ("inputs" | "outputs", "artifacts", _, "metadata", _):
            return True
    return False


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def check(value: Any, where: str) -> None:
    """Refuses a placeholder that the runner does not know.

    Raises:
        UserError: naming the placeholder and the place.
    """
    for text in _strings(value):
        for match in _PLACEHOLDER.finditer(text):
            if not _known(_split(match[1])):
                raise UserError(f"{where} uses the placeholder {match[0]}, which the local runner does not support")


def check_command(words: Sequence[str], where: str) -> None:
    """Refuses a `Concat` or `IfPresent` that is not of KFP's form; what is no JSON is a text like others.

    Raises:
        UserError: with the beginning of it, and the place.
    """
    for word in words:
        if not word.startswith(_STRUCTURES):
            continue
        try:
            is_right = _is_structure(json.loads(word))
        except RecursionError:
            is_right = False
        except ValueError:
            continue
        if not is_right:
            raise UserError(
                f"{where} has an argument that looks like KFP's Concat or IfPresent, but is malformed: {word[:80]!r}"
            )


def _is_structure(tree: Any, depth: int = 0) -> bool:
    if isinstance(tree, str):
        return True
    if depth > _MOST_DEPTH:
        return False
    if isinstance(tree, list):
        return all(_is_structure(item, depth + 1) for item in tree)
    if not isinstance(tree, dict):
        return False
    if "Concat" in tree:
        return isinstance(tree["Concat"], list) and all(
            not isinstance(item, list) and _is_structure(item, depth + 1) for item in tree["Concat"]
        )
    branch = tree.get("IfPresent")
    return (
        isinstance(branch, dict)
        and isinstance(branch.get("InputName"), str)
        and _is_structure(branch.get("Then"), depth + 1)
        and _is_structure(branch.get("Else", []), depth + 1)
    )


def lists_of_artifacts(value: Any) -> list[str]:
    """Placeholders inside `value` that name a whole list of artifacts. The SDK writes them, and KFP 2.17's launcher
    leaves them as they are written."""
    found = (match for text in _strings(value) for match in _PLACEHOLDER.finditer(text))
    return list(dict.fromkeys(match[0] for match in found if _is_list(_split(match[1]))))


def _is_list(parts: tuple[str, ...] | None) -> bool:
    return parts is not None and len(parts) == 3 and parts[1] == "artifacts"


def run_specific(value: Any) -> set[str]:
    """Names of the placeholders inside `value` whose text differs from run to run."""
    found = set()
    for text in _strings(value):
        for match in _PLACEHOLDER.finditer(text):
            parts = _split(match[1])
            if parts and len(parts) == 1 and parts[0] in RUN_SPECIFIC:
                found.add(parts[0])
    return found


def resolve(value: Any, executor_input: Mapping[str, Any], facts: Mapping[str, str]) -> Any:
    """`value` with every placeholder replaced, also inside lists and dicts.

    A string that is one placeholder and nothing else becomes the value itself, with its type; inside a longer text a
    value that is no string is written as JSON. `facts` maps the job and task placeholders to their text.

    Raises:
        UserError: the placeholder names an input or output that is not there.
    """
    if isinstance(value, str):
        whole = _PLACEHOLDER.fullmatch(value)
        if whole and value.count("{{$") == 1:
            return _lookup(whole[1], executor_input, facts)
        return _PLACEHOLDER.sub(lambda match: as_text(_lookup(match[1], executor_input, facts)), value)
    if isinstance(value, Mapping):
        return {
            as_text(resolve(key, executor_input, facts)): resolve(item, executor_input, facts)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [resolve(item, executor_input, facts) for item in value]
    return value


def resolve_command(words: tuple[str, ...], executor_input: Mapping[str, Any], facts: Mapping[str, str]) -> list[str]:
    """A command line with its placeholders replaced and `Concat` and `IfPresent` expanded."""
    resolved: list[str] = []
    for word in words:
        expanded = _expand(word, executor_input)
        for part in expanded if isinstance(expanded, list) else [expanded]:
            resolved.append(as_text(resolve(part, executor_input, facts)))
    return resolved


def is_literal(word: str) -> bool:
    """Whether a word of a command line is what it says, whatever the inputs are."""
    return "{{$" not in word and not word.startswith(_STRUCTURES)


def as_text(value: Any) -> str:
    """A value as the text that a command line or a longer string gets."""
    return value if isinstance(value, str) else json.dumps(value)


def _expand(word: str, executor_input: Mapping[str, Any]) -> str | list[str]:
    """`{"Concat": […]}` → one string; `{"IfPresent": {InputName, Then, Else}}` → a string or several words."""
    if not word.startswith(_STRUCTURES):
        return word
    try:
        tree = json.loads(word)
    except ValueError:
        return word
    expanded = _expand_tree(tree, executor_input)
    return [] if expanded is None else expanded


def _expand_tree(tree: Any, executor_input: Mapping[str, Any]) -> Any:
    if isinstance(tree, str):
        return tree
    if isinstance(tree, list):
        words: list[str] = []
        for item in tree:
            expanded = _expand_tree(item, executor_input)
            words.extend(expanded if isinstance(expanded, list) else [] if expanded is None else [expanded])
        return words
    if "Concat" in tree:
        return "".join(_expand_tree(tree["Concat"], executor_input))
    branch = tree["IfPresent"]
    inputs = executor_input.get("inputs", {})
    present = branch["InputName"] in inputs.get("parameterValues", {}) or branch["InputName"] in inputs.get(
        "artifacts", {}
    )
    return (
        _expand_tree(branch["Then"], executor_input)
        if present
        else _expand_tree(branch.get("Else", []), executor_input)
    )


def _lookup(body: str, executor_input: Mapping[str, Any], facts: Mapping[str, str]) -> Any:
    inputs, outputs = executor_input.get("inputs", {}), executor_input.get("outputs", {})
    match _split(body):
        case ():
            return json.dumps(executor_input)
        case ("outputMetadataUri",) | ("outputs", "output_file"):
            return outputs["outputFile"]
        case (fact,):
            return facts[fact]
        case ("inputs", "parameters", name):
            # An input that was not given is null, as in KFP's launcher.
            return inputs.get("parameterValues", {}).get(name)
        case ("outputs", "parameters", name, _):
            return _of(outputs.get("parameters", {}), name, "output parameter")["outputFile"]
        case (_, "artifacts", _):
            return f"{{{{${body}}}}}"
        case (side, _, name, *field):
            artifacts = inputs if side == "inputs" else outputs
            listed = _of(artifacts.get("artifacts", {}), name, f"{side[:-1]} artifact")["artifacts"]
            return _artifact_field(listed[0] if listed else {}, field)
    raise AssertionError(f"unchecked placeholder {body}")


def _of(table: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in table:
        raise UserError(f"a placeholder names the {what} {name!r}, which does not exist")
    return table[name]


def _artifact_field(artifact: Mapping[str, Any], field: list[str]) -> Any:
    if field[0] == "path":
        return local_path(artifact.get("uri", ""))
    value = artifact.get(field[0], "")
    for key in field[1:]:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
