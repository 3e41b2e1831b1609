"""The protocol of a task. Everything that stages and pages must not know about a task is behind it.

A task is a folder beside this file with the same modules as the others; `task.py` ties them together. Implementations
are stateless, and import torch, onnxruntime and the report only in the methods that need them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from components.core.data.batch import Batch, Transform
from components.core.models.inputs import Graph, InputSpec
from components.core.tasks.card import CardText
from components.core.tasks.metric import Group, Metric

if TYPE_CHECKING:
    from torch import Tensor, nn

    from components.core.data.dataset import Dataset
    from components.core.data.rows import RowFormat
    from components.core.evaluation.document import Evaluation
    from components.core.models.architecture import Architecture
    from components.core.models.catalog import Backbone
    from components.core.recipe import Recipe
    from components.core.report.page import Section
    from components.core.tasks.slimmed import Slimmed


class Assets(Protocol):
    """Assets of a network, which are not its weights: preprocessing, labels, palette, vocabulary."""

    @property
    def labels(self) -> list[str]:
        """Class names in the order of the outputs; empty for a task without classes."""

    def to_files(self) -> dict[str, bytes]:
        """The serving files, by name; equal assets give equal bytes."""

    def to_metadata(self) -> dict[str, Any]:
        """Entries of an ONNX file's own metadata for them; JSON-able, by name."""

    def beside(self) -> dict[str, bytes]:
        """The serving files that the graphs cannot do without, which count in a model's size; by name.

        None where the graphs' own metadata says it all.
        """

    def describe(self) -> dict[str, str]:
        """For people, by title: input size, normalisation, …"""


class Details(Protocol):
    """A task's notes on one model's evaluation, for its own pages; memory flat in the number of rows."""

    def add(self, outputs: Mapping[str, Any], predictions: Any, batch: Batch) -> None:
        """One batch, as `Task.predict` saw it."""

    def finish(self) -> dict[str, Any]:
        """JSON-able; stands in evaluation.json under the model's `details`."""


class Answer(NamedTuple):
    """A teacher's answer to a training row: the row's target columns, and its loss per element, ∞ for no answer."""

    target: dict[str, Any]
    loss: float


TeacherAnswers = Callable[[Sequence[Mapping[str, Any]]], list[Answer]]
"""`answers(rows)` → the answer to each stored row. Equal rows together give equal answers."""


class GeneralChange(NamedTuple):
    """How a training has changed the answers to inputs that are not of its domain: figures by name, and a phrase."""

    figures: dict[str, float]
    text: str


class General(Protocol):
    """Inputs that are of no data set: what training does to the answers to them, and what can hold it back.

    `settings` are a training stage's. Each raises UserError for a file that they name and that cannot be used.
    """

    def state(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Digests of the files that the settings name, to be added to these: results follow the files.

        Needs no torch, since it is asked before anything starts.
        """

    def rows(self, assets: Any, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A fixed sample, to be answered before and after training: JSON-able rows without targets, often none."""

    def is_watched(self, rows: Any, answers: Any) -> bool:
        """Whether JSON out of a manifest can be `rows` and the predictions for them, at least one."""

    def change(self, before: Sequence[Any], after: Sequence[Any]) -> GeneralChange:
        """Compares predictions for `rows`: of the network that training began with, and of a later one."""

    def replayed(
        self, dataset: "Dataset", assets: Any, settings: Mapping[str, Any], *, rows: int
    ) -> list[dict[str, Any]]:
        """Up to so many stored rows, none of them watched, whose targets are to be an untrained network's answers."""


class Probabilities(Protocol):
    """Of a task whose releases state softmax(logits / temperature): what temperature scaling needs to know."""

    def labelled(self, outputs: Mapping[str, Any], batch: Batch) -> tuple[np.ndarray, np.ndarray]:
        """Of `Task.run`'s outputs the logits `(M, classes)` and their labels `(M,)`."""

    def scaled(self, assets: Any, temperature: float) -> Any:
        """The assets with this temperature, above 0."""


class Corruptions(Protocol):
    """How a task's inputs look when they are damaged: what an evaluation of robustness compares."""

    @property
    def kinds(self) -> tuple[tuple[str, int], ...]:
        """Every corruption with every severity, from 1, the mildest, upwards."""

    @property
    def method(self) -> str:
        """How rows are damaged, in sentences."""

    def versions(self, row: Mapping[str, Any], assets: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """The stored row undamaged, then damaged by each of `kinds` in turn; equal rows give equal versions.

        `assets` are those of the models that will see them, who all see the same.
        """


class Task(Protocol):
    """See the module. `name` is what parameters, manifests and architectures call it."""

    name: str
    title: str
    """For people: "image classification"."""
    row_noun: str
    """The noun for rows, in the plural: "images", "sentence pairs"."""
    large_batch: int
    """Rows per call where throughput counts: what an evaluation reads at a time, and times beside one row."""

    validation_batch: int
    """Rows per call where training validates: forward passes alone."""
    int8: str
    """How int8 files are made: "static", with ranges from training rows, or "dynamic", with ranges of each call."""

    stay_float: tuple[str, ...]
    """Kinds of ONNX operators that quantization leaves alone: as integers they would be slower, or wrong."""
    timed_units: str
    """The noun for what `timed_call` counts, in the plural: "pieces"; empty where there is no such call."""

    # Data

    @property
    def rows(self) -> "RowFormat":
        """Format of the rows, and how a user's data become rows; all that a data set knows of its task."""

    def transform(
        self, assets: Any, *, full_size: bool = False, settings: Mapping[str, Any] | None = None
    ) -> Transform:
        """How rows become batches for a network with these assets.

        `full_size` keeps targets at each row's own size, as a release is judged; a training run compares at the
        network's size, which is cheaper. `settings`: what the task's user chose of the augmentation.
        """

    # Assets and inputs

    def assets(
        self, backbone: "Backbone", dataset: "Dataset", image_size: int, *, settings: Mapping[str, Any] | None = None
    ) -> Any:
        """Of a fresh network on this backbone; `image_size` 0 is the backbone's own.

        `settings`: what the task's user chose of its networks, as in `candidates`.
        """

    def read_assets(self, files: Mapping[str, bytes] | None = None) -> Any:
        """The inverse of `Assets.to_files`; other files are ignored. ValueError naming what is missing or wrong."""

    def read_metadata(self, metadata: Mapping[str, Any], files: Mapping[str, bytes]) -> Any:
        """The inverse of `Assets.to_metadata`; ValueError naming what is missing or wrong.

        `files` are the serving files beside the graph, for what is too large to stand in each of them (a vocabulary).
        """

    def check_classes(self, dataset: "Dataset", assets: Any, *, model: str = "model") -> None:
        """UserError when a model was made for other classes, another order of them, or other languages."""

    def inputs(self, assets: Any) -> tuple[InputSpec, ...]:
        """Inputs of the network, in its order."""

    def teacher_of(self, module: "nn.Module", teacher: Any, student: Any) -> "tuple[nn.Module, Any]":
        """The teacher's network and assets as a student with the assets `student` can be compared with.

        Most often they are as they are; a student that chooses from fewer answers needs a teacher that does.
        """

    def teacher_answers(self, module: "nn.Module", assets: Any, *, beam: int) -> TeacherAnswers | None:
        """A teacher's answers in place of the labels: per row, of `beam` hypotheses the one nearest to its label.

        None for a task whose labels are no sequences: there the loss against the teacher says all that it knows.
        `module` is in eval mode, on the device where it is to answer.
        """

    def student_assets(self, teacher: Any, student: Any, size: int) -> Any:
        """A student's assets at another input size; 0 is the teacher's. UserError for a size that cannot be."""

    def student_inputs(self, inputs: Mapping[str, "Tensor"], teacher: Any, student: Any) -> dict[str, "Tensor"]:
        """The student's view of inputs that were prepared for its teacher: the same content, prepared its own way."""

    # Networks

    def candidates(
        self, backbones: Sequence["Backbone"], settings: Mapping[str, Any]
    ) -> "list[tuple[str, Backbone, dict[str, Any]]]":
        """Networks to compare: a name, the backbone, and the `options` of its architecture.

        UserError for a backbone or settings that cannot be. Needs no torch, since it is asked before anything starts.
        """

    def num_outputs(self, assets: Any) -> int:
        """How many outputs the head has: classes, or pieces of a vocabulary."""

    def network_options(self, backbone: "Backbone", options: Mapping[str, Any], assets: Any) -> dict[str, Any]:
        """The `options` of the architecture, once the assets are known; most often those of the candidate."""

    def create_network(self, architecture: "Architecture") -> "nn.Module":
        """The network before any surgery, with random weights drawn from torch's generator."""

    def reset_head(self, module: "nn.Module") -> None:
        """Draws fresh weights of the head from torch's generator: first outputs near 0."""

    def load_pretrained(self, module: "nn.Module", backbone: "Backbone", classes: Sequence[str]) -> str:
        """Copies the backbone's published weights in and says in a few words which; UserError naming what does not fit.

        `classes` are the data set's. What makes the outputs is copied only from a whole network for the same classes.
        """

    def trained_options(self, source: str) -> dict[str, Any]:
        """`options` of the architecture of a network that a user has trained, "timm:NAME" or "torchvision:NAME".

        UserError for one that cannot be taken over. Needs no torch.
        """

    def load_trained(
        self, module: "nn.Module", tensors: "Mapping[str, Tensor]", source: str, classes: Sequence[str]
    ) -> None:
        """Copies all tensors of a user's checkpoint in, head included; UserError naming the first that does not fit."""

    def output_layers(self, module: "nn.Module") -> tuple[str, ...]:
        """Dotted names of the layers whose outputs are the classes: pruning keeps these outputs.

        Empty where channels are not what is pruned.
        """

    def slim(
        self, module: "nn.Module", assets: Any, dataset: "Dataset", recipe: "Recipe", *, rows: int, round_to: int
    ) -> "Slimmed | None":
        """A smaller copy of the network, made in the task's own way; None where channels are pruned.

        Args:
            module: in eval mode, on the CPU; left alone.
            assets: of the module.
            dataset: its training split says what matters.
            recipe: what to keep.
            rows: training rows on which importance is measured.
            round_to: units left in a layer are a multiple of this.
        """

    def split(self, module: "nn.Module") -> "tuple[Callable[..., tuple[Tensor, ...]], nn.Module] | None":
        """`features(*inputs)` and the head, with `head(*features(*inputs))` equal to `module(*inputs)` in eval mode.

        Each feature is `(N, …)`. The head is made of the module's own layers: training it trains the module. None where
        no network begins with a fresh head: there is none to be trained first.
        """

    def labelled_vectors(self, module: "nn.Module") -> "Callable[[Batch], tuple[Tensor, Tensor, Tensor]] | None":
        """Frozen features `(M, D)`, their labels `(M,)` and rows of the batch `(M,)`: how well do classes lie apart?

        None where there are no classes: then networks are compared by what they do before any training.
        """

    def embeddings(self, module: "nn.Module") -> "Callable[..., Tensor]":
        """One vector per row, `(N, D)`, of the inputs: what drift compares."""

    def training_module(self, module: "nn.Module", settings: Mapping[str, Any]) -> "nn.Module":
        """The module to train in place of this one, with heads that only training has; most often the module itself."""

    def training_settings(self, settings: Mapping[str, Any], dataset: "Dataset") -> dict[str, Any]:
        """`settings` of a training stage, with what the loss needs to know of the data set (class weights)."""

    # Losses: sums over what counts; whoever steps divides by the count over all ranks and parts of a batch.

    def loss(self, outputs: Any, batch: Batch, *, settings: Mapping[str, Any] | None = None) -> "Tensor":
        """The training loss L₀ summed over what counts, a scalar; without settings what validation uses."""

    def comparable(self, outputs: Any, batch: Batch) -> "Tensor":
        """Logits `(M, classes)` of what counts, M = `batch.count`: what distillation compares."""

    @property
    def soft_losses(self) -> "Mapping[str, Callable[[Any, Any, Batch, float], Tensor] | None]":
        """Losses against a teacher by the value of the parameter `distillation`; None is Hinton's on `comparable`.

        Each takes the student's outputs, the teacher's, the batch and the temperature; it gives a sum over what counts.
        """

    # Metrics

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """All metrics; the first is the one that choices are made by."""

    def statistics(self, predictions: Any, batch: Batch, num_classes: int) -> np.ndarray:
        """Additive statistics of each row `(N, K)` float64, for every one of `metrics`. Numpy only."""

    @property
    def training_metric(self) -> Metric:
        """The metric that epochs of a training are compared by; most often the first of `metrics`.

        Another one where the outputs that training computes are no predictions of a release.
        """

    def training_statistics(self, guesses: Any, batch: Batch, num_classes: int) -> np.ndarray:
        """As `statistics`, of `guess` and for `training_metric`."""

    def guess(self, outputs: Any, batch: Batch) -> Any:
        """The network's answers while it is trained, from its outputs (tensors, on any device), on the CPU."""

    def groups(self, dataset: "Dataset") -> list[Group]:
        """Per class, or whatever the task compares besides the whole."""

    def group_rows(self, batch: Batch, num_classes: int) -> np.ndarray:
        """Bool `(N, groups)`: which rows belong to each of `groups`."""

    # Serving

    def graphs(self, module: "nn.Module", assets: Any) -> dict[str, Graph]:
        """The parts of the network that become ONNX files, by name; the file is `<name>.onnx`."""

    def run(self, sessions: Mapping[str, Any], batch: Batch, assets: Any) -> dict[str, Any]:
        """The outputs of onnxruntime sessions for a numpy batch, by names of the task; or what is left of them.

        A row that takes many calls is better reduced here than kept: memory stays flat.
        """

    def predict(self, outputs: Mapping[str, Any], batch: Batch, assets: Any) -> Any:
        """Predictions from `run`'s outputs, as `statistics` takes them; what the reference client does. Numpy only."""

    def details(self, dataset: "Dataset", assets: Any) -> Details:
        """A fresh collector for the evaluation of one model with these assets."""

    @property
    def general(self) -> General | None:
        """Inputs outside of every data set that are watched while training; None where there can be none."""

    @property
    def corruptions(self) -> Corruptions | None:
        """Damage to inputs under which models are compared; None where none is defined."""

    @property
    def probabilities(self) -> "Probabilities | None":
        """How a release states probabilities; None for a task whose releases state none."""

    def timed_call(
        self, sessions: Mapping[str, Any], batch: Batch, assets: Any, *, rows: int
    ) -> Callable[[int], int] | None:
        """The timed call: number n runs the n-th part of `rows` rows of the batch, in a circle, as a client does.

        It gives how many `timed_units` it made. None where each graph runs once on inputs of which only the shape
        counts.
        """

    def reference(self, module: "nn.Module", batch: Batch, assets: Any) -> Any:
        """Predictions of the torch network itself for a batch of numpy arrays, as `predict` gives those of its files.

        None where equal outputs are all that there is to compare.
        """

    @property
    def pages(self) -> "Pages":
        """The pages of the task."""


class Pages(Protocol):
    """Pages of a task: its blocks, and its part of the model card. Imported without torch or onnxruntime."""

    def sample(
        self, row: Mapping[str, Any], batch: Batch, predictions: Mapping[str, Any], dataset: "Dataset"
    ) -> dict[str, Any]:
        """One row to look at, JSON-able and small: what `evaluation_sections` draws of it.

        An entry that is a bytes column of the row as base64 is stored once: it is left out of `Sample.shown` where
        `Sample.row` holds it.

        Args:
            row: all stored columns but `source`.
            batch: the row alone, as the candidate takes it.
            predictions: of `Task.predict`, for "candidate" and "baseline".
            dataset: where the row is from.
        """

    def said(self, predictions: Any, classes: Sequence[str]) -> str | None:
        """The prediction for one row as a short text (a class, a sentence); None where no short text says it."""

    def evaluation_sections(self, evaluation: "Evaluation", *, candidate: str = "candidate") -> "list[Section]":
        """Of an evaluation and of the run report: per class, confusions, samples.

        `candidate` is what the candidate is called there.
        """

    def card_text(self, evaluation: "Evaluation", assets: Any, provenance: Mapping[str, Any]) -> CardText:
        """Its part of the model card; names from outside go through `core.report.markdown.escape`."""

    def log_metrics(self, evaluation: "Evaluation", visualization: Any) -> None:
        """Into KFP's ClassificationMetrics: a confusion matrix, where the task has one."""
