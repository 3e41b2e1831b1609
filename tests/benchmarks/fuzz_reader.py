"""Fuzzing of everything that reads a pipeline before a run starts: the file, the IR, its code, its parameters.

    python tests/benchmarks/fuzz_reader.py --minutes 10

Compiled pipelines (ours, tests/golden) are damaged, as bytes and as trees, and read. Each must be read, or be
refused with one printable line; anything else, or more than `HANG_SECONDS` of CPU time, is kept in a file (--keep) and
printed. Prints counts at the end; exit code 1 if something was found. `tests/runner/reading/test_reader_fuzz.py` runs
some of the same damages.
"""

import argparse
import collections
import copy
import datetime
import faulthandler
import functools
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from components.core.errors import UserError
from pipelines.runner.code.programs import programs
from pipelines.runner.kubernetes_objects.checks import read_kubernetes_objects
from pipelines.runner.options import DEFAULT_OPTIONS
from pipelines.runner.reading.reader import read_pipeline
from pipelines.runner.tasks.input_artifacts import pipeline_inputs

ROOT = Path(__file__).parent.parent.parent
SEEDS = [*sorted((ROOT / "pipelines/compiled").glob("*.yaml")), *sorted((ROOT / "tests/golden").glob("kfp-*/*.yaml"))]
HANG_SECONDS = 20.0
LONGEST_MESSAGE = 2000

TEXTS = [
    "", " ", "\0", "\n", "a\nb", "\x1b[31mred", "\u2028", "\x85", "é", "😀", "\ufeff", "\u202eltr", "a" * 300,
    "../../x", "/", ".", "..",
    "{{$}}", "{{$.inputs.parameters['x']}}", "{{$.inputs", "{{$.outputs.artifacts['model'].path}}",
    "{{channel:task=;name=x;type=String;}}",
    '{"IfPresent": {"InputName": "x", "Then": "y"}}', '{"Concat": [', "[" * 500, "{" * 500, "[1,2", "null", "NaN",
    "1e999", "0x" + "f" * 200,
    "inputs.parameter_values['x'] == 1", "inputs.parameter_values[", "((((", "'" * 7, "parseJson(string_value)[0",
    "true || " * 60 + "true",
    "NUMBER_INTEGER", "STRUCT", "TASK_FINAL_STATUS", "ALL_UPSTREAM_TASKS_COMPLETED", "2.1.0", "kubernetes", "1s",
    "1e3s", "-1s", "9" * 240,
    "500m", "1Gi", "1e400", "...", "1.1.1", "python3", "sh", "kfp.dsl.executor_main", "--function_to_execute",
    "def f(:", "(" * 300, "-" * 5000 + "1", "²", "9" * 400, "9" * 5000,
]  # fmt: skip
KEYS = [  # those that few of the undamaged pipelines have
    "artifactIterator", "artifactUri", "backoffDuration", "backoffFactor", "cacheKey", "constant", "constantValue",
    "cpuRequest",
    "dag", "defaultValue", "dependentTasks", "description", "doubleValue", "env", "executorLabel", "importer",
    "intValue", "isArtifactList",
    "isOptional", "iteratorPolicy", "lifecycle", "literals", "maxRetryCount", "memoryLimit", "metadata", "outputs",
    "parallelismLimit",
    "parameterExpressionSelector", "parameterIterator", "pipelineSpec", "raw", "reimport", "resourceCpuLimit",
    "resources", "retryPolicy",
    "runtimeConfig", "runtimeParameter", "singlePlatformSpecs", "stringValue", "taskFinalStatus", "triggerPolicy",
    "type", "valueFromOneof",
    "workspace",
]  # fmt: skip
NUMBERS = [
    0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**200), 10**240, 0.5, -0.0, 1e308, float("nan"), float("inf"),
    -float("inf"),
]  # fmt: skip
TOKENS = [
    b"\n---\n", b"\n...\n", b"&a ", b"*a", b"<<: *a\n", b"!!int ", b"!!binary ", b"!!set ",
    b"!!python/name:os.system ", b"!x ", b"? ", b"- ",
    b": ", b"'", b'"', b"|\n", b">\n", b"\t", b"%YAML 9.9\n", b"#", b"[", b"]", b"{", b"}", b",", b"\xff\xfe",
    b"\x00", b"\xed\xa0\x80", b"\xc3",
    b"\\ud800", b"\\x00", b"2024-99-99", b"1:" * 40, b"=", b"~", b"\r", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"0o777",
    b".inf",
]  # fmt: skip


def junk(chance: random.Random) -> Any:
    """Something that YAML can hold and a pipeline does not."""
    match chance.randrange(8):
        case 0:
            return chance.choice(NUMBERS)
        case 1 | 2:
            return chance.choice(TEXTS)
        case 3:
            return chance.choice([None, True, False, [], {}, [[]], [{}], {"": None}])
        case 4:
            return [junk(chance) for _ in range(chance.randrange(4))]
        case 5:
            return {
                chance.choice([*TEXTS[:20], "name", 1, None, True]): junk(chance) for _ in range(chance.randrange(4))
            }
        case 6:
            return chance.choice([datetime.date(2024, 1, 1), datetime.datetime(2024, 1, 1), b"\xff", {"a", "b"}])
        case _:
            deep: Any = chance.choice(NUMBERS)
            for _ in range(chance.choice([3, 60, 95, 150])):
                deep = [deep] if chance.random() < 0.5 else {"a": deep}
            return deep


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a tree; what an alias shares comes once."""
    stack, seen = [node], {id(node)}
    while stack:
        node = stack.pop()
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            yield node, key
            if isinstance(node[key], dict | list) and id(node[key]) not in seen:
                seen.add(id(node[key]))
                stack.append(node[key])


def damage_tree(tree: Any, chance: random.Random) -> None:
    """One change at a random place."""
    everywhere = list(places(tree))
    if not everywhere:
        return
    node, key = chance.choice(everywhere)
    match chance.randrange(9):
        case 0:
            del node[key]
        case 1 | 2:
            node[key] = junk(chance)
        case 3 if isinstance(node, dict):
            node[chance.choice([*TEXTS, 1, None, True, 0.5])] = node.pop(key)
        case 4:
            other, place = chance.choice(everywhere)
            # Shared, it is written as an alias, which may even contain itself.
            node[key] = other[place] if chance.random() < 0.3 else copy.deepcopy(other[place])
        case 5:
            node[key] = chance.choice([[node[key]], {"a": node[key]}, str(node[key])])
        case 6 if isinstance(node, dict):
            node[chance.choice(KEYS)] = junk(chance)
        case 7 if isinstance(node, list):
            node.extend(copy.deepcopy(node) * chance.randrange(1, 4))
        case _ if isinstance(node[key], str):
            text = node[key]
            at = chance.randrange(len(text) + 1)
            node[key] = text[:at] + chance.choice([*TEXTS, "", "'", "]", "}}"]) + text[at + chance.randrange(4) :]
        case _:
            node[key] = junk(chance)


def damage_bytes(content: bytes, chance: random.Random) -> bytes:
    """One change of a file's bytes."""
    at, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    near = min(end, at + chance.randrange(1, 60))
    match chance.randrange(8):
        case 0:
            return content[:at]
        case 1:
            return content[:at] + content[near:]
        case 2:
            return content[:at] + chance.choice(TOKENS) + content[at:]
        case 3:
            return content[:at] + chance.randbytes(chance.randrange(1, 5)) + content[near:]
        case 4:
            lines = content.split(b"\n")
            line = chance.randrange(len(lines))
            return b"\n".join([*lines[:line], lines[line], *lines[line:]])  # a key twice
        case 5:
            lines = content.split(b"\n")
            line = chance.randrange(len(lines))
            lines[line] = chance.choice([b" ", b"  ", b"    "]) + lines[line]
            return b"\n".join(lines)
        case 6:
            return content[:at] + content[at:near] * chance.randrange(2, 30) + content[near:]
        case _:
            return chance.randbytes(chance.randrange(200)) if chance.random() < 0.2 else content[at:end]


def damaged(number: int, trees: list[list[Any]], contents: list[bytes]) -> bytes:
    """The file of one number: always the same one."""
    chance = random.Random(number)
    seed = chance.randrange(len(contents)) if chance.random() < 0.9 else 0
    if chance.random() < 0.4:
        content = contents[seed]
        for _ in range(chance.choice([1, 1, 2, 5])):
            content = damage_bytes(content, chance)
        return content
    documents = copy.deepcopy(trees[seed])
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        damage_tree(documents, chance)
    return _written(documents)


@functools.cache
def seeds() -> tuple[list[list[Any]], list[bytes]]:
    """The undamaged pipelines, as documents and as bytes."""
    trees = [list(yaml.load_all(path.read_bytes(), Loader=yaml.CSafeLoader)) for path in SEEDS]
    (main,) = (tree for tree in trees if tree[0]["pipelineInfo"]["name"] == "optimize")
    trees += [_as_job(main[0]), _as_manifest(trees[1][0]), [copy.deepcopy(trees[2][0]), _platform(trees[2][0])]]
    contents = [path.read_bytes() for path in SEEDS]
    return trees, contents + [_written(tree) for tree in trees[len(SEEDS) :]]


def _written(documents: list[Any]) -> bytes:
    return yaml.dump_all(documents, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True, encoding="utf-8")


def _as_job(spec: dict[str, Any]) -> list[Any]:
    values = {"parameterValues": {"search_seed": 3}, "parameters": {"search_image_size": {"intValue": "32"}}}
    return [{"displayName": "job", "pipelineSpec": copy.deepcopy(spec), "runtimeConfig": values}]


def _as_manifest(spec: dict[str, Any]) -> list[Any]:
    kind = {"apiVersion": "pipelines.kubeflow.org/v2beta1", "metadata": {"name": "p"}}
    version = {**kind, "kind": "PipelineVersion", "spec": {"pipelineSpec": copy.deepcopy(spec), "platformSpec": {}}}
    return [{**kind, "kind": "Pipeline", "spec": {}}, version]


def _platform(spec: dict[str, Any]) -> dict[str, Any]:
    """Settings for Kubernetes for the first executor of a pipeline."""
    plain = {"runtimeValue": {"constant": "name"}}
    settings = {
        "activeDeadlineSeconds": "30", "nodeSelector": {"labels": {"a": "b"}}, "podMetadata": {"labels": {"a": "b"}},
        "secretAsEnv": [{"secretName": "s", "secretNameParameter": plain, "optional": True,
                         "keyToEnv": [{"secretKey": "k", "envVar": "K"}]}],
        "configMapAsVolume": [{"configMapName": "c", "configMapNameParameter": plain, "mountPath": "/c"}],
        "pvcMount": [{"constant": "v", "pvcNameParameter": plain, "mountPath": "/data", "subPath": "a"}],
        "emptyDirMounts": [{"volumeName": "e", "mountPath": "/e", "sizeLimit": "1Gi"}],
        "fieldPathAsEnv": [{"name": "POD", "fieldPath": "metadata.name"}],
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    }  # fmt: skip
    label = next(iter(spec["deploymentSpec"]["executors"]))
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {label: settings}}}}}


def received(path: Path) -> str:
    """A file's fate: how far it came, and the refusal if there was one."""
    stage = "reader"
    try:
        pipeline = read_pipeline(path)
        stage = "code"
        programs(pipeline, [])
        stage = "parameters"
        values, _ = pipeline_inputs(pipeline.root, {})
        stage = "stand-ins"
        read_kubernetes_objects(pipeline, values, DEFAULT_OPTIONS, path.parent)
    except UserError as error:
        return f"{stage} refused: {error}"
    return "could be run"


def outcome_and_fault(path: Path) -> tuple[str, str]:
    """How far a file came, and what is wrong with how it was received ("" if nothing)."""
    started = time.process_time()
    try:
        said = received(path)
    except Exception:  # noqa: BLE001  (whatever it is, it is what this program looks for)
        return "fault", traceback.format_exc()
    seconds = time.process_time() - started
    if seconds > HANG_SECONDS:
        return "fault", f"it took {seconds:.0f} s of CPU time"
    if not said.isprintable():
        return "fault", f"{said!r}\na message that is not one printable line"
    if len(said) > LONGEST_MESSAGE:
        return "fault", f"{said}\na message of more than {LONGEST_MESSAGE} characters"
    return said.partition(":")[0], ""


def main() -> int:
    """Fuzzes for a while."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--minutes", type=float, default=10.0)
    arguments.add_argument("--first", type=int, default=1_000_000, help="number of the first damage")
    arguments.add_argument("--keep", type=Path, default=Path("fuzz-found"), help="folder for what was found")
    given = arguments.parse_args()
    trees, contents = seeds()
    counts: collections.Counter[str] = collections.Counter()
    faults: collections.Counter[str] = collections.Counter()
    end, number, slowest = time.monotonic() + given.minutes * 60, given.first, 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.yaml"
        while time.monotonic() < end:
            number += 1
            path.write_bytes(damaged(number, trees, contents))
            faulthandler.dump_traceback_later(60, exit=True)  # a hang in C hears nothing else
            started = time.process_time()
            outcome, found = outcome_and_fault(path)
            slowest = max(slowest, time.process_time() - started)
            faulthandler.cancel_dump_traceback_later()
            counts[outcome] += 1
            if found:
                kind = found.strip().splitlines()[-1][:150]
                faults[kind] += 1
                if faults[kind] == 1:
                    given.keep.mkdir(exist_ok=True)
                    (given.keep / f"{number}.yaml").write_bytes(path.read_bytes())
                    print(f"damage {number}:\n{found}", flush=True)
    print(f"{number - given.first} damaged pipelines in {given.minutes:g} min, the slowest {slowest:.1f} s of CPU time")
    for words, times in [*counts.most_common(), *faults.most_common()]:
        print(f"{times:7} × {words}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
