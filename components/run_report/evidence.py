"""The stages' JSON files, found through the manifests in the journal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from components.core.artifacts.manifest import Manifest, parse_manifest, read_file
from components.core.errors import UserError
from components.core.evaluation.document import FILE as EVALUATION
from components.core.evaluation.document import Evaluation
from components.core.json_documents import parse_json
from components.core.parameters import ADVANCED
from components.core.store import StoreError
from components.core.tasks.parameters import forms
from components.run_report.records import Task, lane_names

if TYPE_CHECKING:
    from components.core.store import Store

# KFP up to 2.17 has the words of ML Metadata, later ones those of its own API.
_ENDINGS = {
    "COMPLETE": "succeeded", "CACHED": "succeeded", "SUCCEEDED": "succeeded",
    "CANCELED": "cancelled", "CANCELLED": "cancelled",
}  # fmt: skip
_LARGEST_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Document:
    """One JSON file of one task's artifact."""

    task: Task
    content: Mapping[str, Any]


@dataclass(kw_only=True)
class Evidence:
    """Everything that the report may show; what is missing is None or empty, what was unreadable is in `problems`."""

    run_id: str
    pipeline: str
    store_uri: str
    parameters: Mapping[str, Any]
    state: str
    error: str
    tasks: Sequence[Task]
    manifests: Sequence[tuple[Task, str, Manifest]] = ()
    documents: Mapping[str, Sequence[Document]] = field(default_factory=dict)
    evaluations: Sequence[Evaluation] = ()
    problems: list[str] = field(default_factory=list)

    @property
    def ending(self) -> str:
        """How the run ended: succeeded, failed, cancelled, or what else the backend says."""
        return _ENDINGS.get(self.state.upper(), self.state.lower())

    @property
    def succeeded(self) -> bool:
        """Whether the pipeline ran to its end."""
        return self.ending == "succeeded"

    @property
    def lanes(self) -> dict[str, str]:
        """Names of the loop iterations."""
        return lane_names(self.tasks)

    @property
    def failed(self) -> list[Task]:
        """The tasks that failed, in order."""
        return [task for task in self.tasks if task.status == "failed"]

    def first(self, name: str) -> Mapping[str, Any] | None:
        """The content of the first file called `name`."""
        found = self.documents.get(name) or ()
        return found[0].content if found else None

    @property
    def ranking(self) -> Mapping[str, Any] | None:
        """ranking.json"""
        return self.first("ranking.json")

    @property
    def decision(self) -> Mapping[str, Any] | None:
        """decision.json of a choice between recipes; a challenger that was fine-tuned was chosen from nothing."""
        documents = self.documents.get("decision.json") or ()
        return next((document.content for document in documents if document.content.get("recipes")), None)

    @property
    def final(self) -> Evaluation | None:
        """The evaluation on the test split, against the float32 network and not against a champion or an anchor."""
        before = {
            found.digest for task, _, found in self.manifests if task.component == _INCUMBENT and found.kind == "onnx"
        }
        for evaluation in self.evaluations:
            if evaluation.split == "test" and evaluation.baseline.digest not in before:
                return evaluation
        return None

    def manifest(self, kind: str, *, component: str = "") -> Manifest | None:
        """The first manifest of a kind, from a component if one is named."""
        for task, _, manifest in self.manifests:
            if manifest.kind == kind and component in ("", task.component):
                return manifest
        return None


FILES = (
    "ranking.json", "curves.json", EVALUATION, "decision.json", "quarantine.json", "drift.json",
    "retraining.json", "judgement.json",
)  # fmt: skip

_INCUMBENT = "incumbent"
"""Task whose artifacts are the champion's and not this run's: its data set is not the data of the run."""

_FIRST_TASK = "preflight"
"""It is given the form and resolves every parameter of the pipeline before anything is done."""


def collect(
    store: "Store",
    tasks: Sequence[Task],
    *,
    run_id: str,
    pipeline: str,
    parameters: Mapping[str, Any],
    state: str,
    error: str,
) -> Evidence:
    """Read the JSON files of all tasks from the store; a file that cannot be read becomes a line in `problems`."""
    evidence = Evidence(
        run_id=run_id,
        pipeline=pipeline,
        store_uri=store.uri,
        parameters=parameters or _asked(tasks),
        state=state,
        error=error,
        tasks=tasks,
    )
    evidence.manifests = list(_manifests(tasks, evidence.problems))
    documents: dict[str, list[Document]] = {}
    for task, _, manifest in evidence.manifests:
        for name in FILES if task.component not in (_INCUMBENT, "export") else ():
            if any(entry.path == name and entry.bytes <= _LARGEST_BYTES for entry in manifest.files):
                content = _load(store, manifest, name, task, evidence.problems)
                if content is not None:
                    documents.setdefault(name, []).append(Document(task=task, content=content))
    evidence.documents = documents
    evidence.evaluations = list(_evaluations(documents.get(EVALUATION) or (), evidence.problems))
    return evidence


def _evaluations(documents: Sequence[Document], problems: list[str]) -> Iterator[Evaluation]:
    for document in documents:
        try:
            yield Evaluation.from_json(document.content)
        except UserError as error:
            problems.append(f"{document.task.path}: {error}")


def _asked(tasks: Sequence[Task]) -> Mapping[str, Any]:
    """Every parameter under its flat name: as the first task resolved them or, if it failed, as far as it was asked."""
    flat = {one.field: one.name for form in forms().values() for one in form.fields.values()}
    declared = {one.name for form in forms().values() for one in form.parameters}
    asked: dict[str, Any] = {}
    for task in tasks:
        if task.component != _FIRST_TASK:
            continue
        given = {**task.parameters}
        advanced = given.pop(ADVANCED, None)
        asked |= {flat.get(name, name): value for name, value in given.items()}
        asked |= advanced if isinstance(advanced, Mapping) else {}
        asked |= {name: value for name, value in task.output_parameters.items() if name in declared}
    return asked


def _manifests(tasks: Sequence[Task], problems: list[str]) -> list[tuple[Task, str, Manifest]]:
    found = []
    for task in tasks:
        for name, artifacts in task.artifacts.items():
            for artifact in artifacts:
                if not artifact.get("manifest"):
                    continue
                try:
                    found.append((task, name, parse_manifest(artifact["manifest"])))
                except ValueError as error:
                    problems.append(f"{task.path}, {name}: {error}")
    return found


def _load(store: "Store", manifest: Manifest, name: str, task: Task, problems: list[str]) -> Mapping[str, Any] | None:
    try:
        content = parse_json(read_file(manifest, name, store))
    except (StoreError, UserError, ValueError, OSError) as error:
        problems.append(f"{task.path}, {name}: {error}")
        return None
    if isinstance(content, Mapping):
        return content
    if isinstance(content, list):
        return {"rows": content}
    problems.append(f"{task.path}, {name}: neither an object nor a list")
    return None
