"""The task "classification": one label per image."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.data.batch import Batch
from components.core.errors import UserError
from components.core.json_documents import parse_json
from components.core.models.inputs import BATCH, Graph, InputSpec, OutputSpec
from components.core.models.resampling import INTERPOLATIONS
from components.core.tasks.classification import metrics, serving
from components.core.tasks.classification.examples import LabelledImages
from components.core.tasks.classification.parameters import AUTO
from components.core.tasks.classification.rows import ClassificationRows
from components.core.tasks.images.assets import (
    TEMPERATURE,
    ImageAssets,
    check_classes,
    read_image_files,
    read_image_metadata,
    read_temperature,
)
from components.core.tasks.images.corruptor import ImageCorruptions
from components.core.tasks.images.levels import stated_levels
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.images.sizes import shorter_side
from components.core.tasks.metric import Group, Metric

if TYPE_CHECKING:
    from torch import Tensor, nn

    from components.core.data.dataset import Dataset
    from components.core.models.architecture import Architecture
    from components.core.models.catalog import Backbone
    from components.core.recipe import Recipe
    from components.core.tasks.classification.details import ClassificationDetails
    from components.core.tasks.classification.pages import ClassificationPages


class Classification:
    """Rows (image, label, digest, source); logits `(N, classes)`; cross-entropy; top-1."""

    name = "classification"
    title = "image classification"
    row_noun = "images"
    rows = ClassificationRows()
    large_batch = 32
    int8 = "static"
    stay_float = ()
    timed_units = ""
    general = None
    probabilities = serving.Probabilities()
    corruptions = ImageCorruptions()
    validation_batch = 256

    def transform(
        self, assets: ImageAssets, *, full_size: bool = False, settings: Mapping[str, Any] | None = None
    ) -> LabelledImages:
        """Labels have no size, so `full_size` changes nothing, and no setting does."""
        return LabelledImages(preprocess=assets.preprocess)

    def assets(
        self, backbone: "Backbone", dataset: "Dataset", image_size: int, *, settings: Mapping[str, Any] | None = None
    ) -> ImageAssets:
        """The backbone's normalisation, the data set's classes.

        Of `settings` it knows `resize` and `crop_ratio`. The filter, and with `resize` "auto" the crop, are those that
        the backbone was evaluated with. Images that must be enlarged are the exception, unless `image_size` is the
        backbone's own: their filter is bilinear, and "auto" is "squash", for they have no border to spare.
        """
        asked = settings or {}
        side = image_size or backbone.image_size
        as_trained = side == backbone.image_size or shorter_side(dataset) >= side
        resize = asked.get("resize", AUTO)
        if resize == AUTO:
            resize = "crop" if as_trained else "squash"
        return ImageAssets(
            preprocess=Preprocess(
                image_size=side,
                mean=backbone.mean,
                std=backbone.std,
                interpolation=backbone.interpolation if as_trained else INTERPOLATIONS[0],
                resize=resize,
                crop_ratio=(asked.get("crop_ratio") or backbone.crop_ratio) if resize == "crop" else 1.0,
                levels=stated_levels(dataset),
            ),
            labels=list(dataset.classes),
        )

    def read_assets(self, files: Mapping[str, bytes]) -> ImageAssets:
        preprocess, labels = read_image_files(files)
        temperature = read_temperature(parse_json(files.get(TEMPERATURE, b"null")))
        return ImageAssets(preprocess=preprocess, labels=labels, temperature=temperature)

    def read_metadata(self, metadata: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> ImageAssets:
        preprocess, labels = read_image_metadata(metadata)
        temperature = read_temperature(metadata.get("temperature"))
        return ImageAssets(preprocess=preprocess, labels=labels, temperature=temperature)

    def check_classes(self, dataset: "Dataset", assets: ImageAssets, *, model: str = "model") -> None:
        check_classes(dataset.classes, assets.labels, model=model)

    def inputs(self, assets: ImageAssets) -> tuple[InputSpec, ...]:
        return assets.inputs

    def teacher_of(
        self, module: "nn.Module", teacher: ImageAssets, student: ImageAssets
    ) -> "tuple[nn.Module, ImageAssets]":
        return module, teacher

    def teacher_answers(self, module: "nn.Module", assets: Any, *, beam: int) -> None:
        """None: a label is no sequence."""
        return None

    def student_assets(self, teacher: ImageAssets, student: ImageAssets, size: int) -> ImageAssets:
        return student.resized(teacher, size)

    def student_inputs(
        self, inputs: Mapping[str, "Tensor"], teacher: ImageAssets, student: ImageAssets
    ) -> "dict[str, Tensor]":
        from components.core.tasks.images.views import student_view

        return {name: student_view(values, teacher.preprocess, student.preprocess) for name, values in inputs.items()}

    def candidates(
        self, backbones: "Sequence[Backbone]", settings: Mapping[str, Any]
    ) -> "list[tuple[str, Backbone, dict[str, Any]]]":
        """Every backbone, under its own name.

        Raises:
            UserError: whole weights: of a classification network the backbone is taken, and no more.
        """
        for backbone in backbones:
            if backbone.task:
                raise UserError(
                    f"{backbone.origin}: backbone {backbone.name!r}: leave out 'task', 'options' and 'classes'; of a "
                    "classification network all but the classifier is taken"
                )
        return [(backbone.name, backbone, {}) for backbone in backbones]

    def num_outputs(self, assets: ImageAssets) -> int:
        """One logit per class."""
        return len(assets.labels)

    def network_options(self, backbone: "Backbone", options: Mapping[str, Any], assets: ImageAssets) -> dict[str, Any]:
        return dict(options)

    def create_network(self, architecture: "Architecture") -> "nn.Module":
        from components.core.models.zoo import create_module

        return create_module(architecture.source, architecture.num_outputs)

    def reset_head(self, module: "nn.Module") -> None:
        from components.core.models.zoo import reset_head

        reset_head(module)

    def load_pretrained(self, module: "nn.Module", backbone: "Backbone", classes: Sequence[str]) -> str:
        from components.core.models.zoo import load_pretrained

        load_pretrained(module, backbone)
        return "all but the classifier, which is new"

    def trained_options(self, source: str) -> dict[str, Any]:
        """None: the library's own network.

        Raises:
            UserError: SqueezeNet, whose head is another one here.
        """
        if "squeezenet" in source:
            raise UserError(
                f"the classifier of architecture {source} is a convolution followed by a ReLU, which trimtab "
                "cannot build; a trained SqueezeNet is not supported"
            )
        return {}

    def load_trained(
        self, module: "nn.Module", tensors: "Mapping[str, Tensor]", source: str, classes: Sequence[str]
    ) -> None:
        from components.core.models.checkpoint import fitted

        wanted = module.state_dict()
        head = self.output_layers(module)
        module.load_state_dict(fitted(tensors, wanted, source=source, outputs=head, classes=len(classes)))

    def output_layers(self, module: "nn.Module") -> tuple[str, ...]:
        from components.core.models.zoo import find_head

        return (find_head(module)[0],)

    def slim(
        self,
        module: "nn.Module",
        assets: ImageAssets,
        dataset: "Dataset",
        recipe: "Recipe",
        *,
        rows: int,
        round_to: int,
    ) -> None:
        return None

    def split(self, module: "nn.Module") -> "tuple[Callable[..., tuple[Tensor, ...]], nn.Module]":
        from components.core.tasks.classification.networks import split

        return split(module)

    def labelled_vectors(self, module: "nn.Module") -> "Callable[[Batch], tuple[Tensor, Tensor, Tensor]]":
        from components.core.tasks.classification.networks import labelled_vectors

        return labelled_vectors(module)

    def embeddings(self, module: "nn.Module") -> "Callable[..., Tensor]":
        """The pooled features."""
        from components.core.models.zoo import split_features

        return split_features(module)[0]

    def training_module(self, module: "nn.Module", settings: Mapping[str, Any]) -> "nn.Module":
        return module

    def training_settings(self, settings: Mapping[str, Any], dataset: "Dataset") -> dict[str, Any]:
        """`class_weight` per class where `class_weights` is "balanced"."""
        from components.core.tasks.images.balance import balanced

        return balanced(settings, dataset)

    def loss(self, outputs: "Tensor", batch: Batch, *, settings: Mapping[str, Any] | None = None) -> "Tensor":
        """Cross-entropy; of `settings` it knows `label_smoothing` and `class_weight` (a number per class)."""
        from components.core.tasks.classification.losses import cross_entropy

        asked = settings or {}
        listed = asked.get("class_weight")
        return cross_entropy(
            outputs,
            batch.targets,
            label_smoothing=asked.get("label_smoothing", 0.0),
            class_weight=None if listed is None else outputs.new_tensor(listed),
        )

    soft_losses: "Mapping[str, Callable[[Any, Any, Batch, float], Tensor] | None]" = MappingProxyType({})

    def comparable(self, outputs: "Tensor", batch: Batch) -> "Tensor":
        """The logits: each image counts."""
        return outputs

    metrics: tuple[Metric, ...] = metrics.METRICS

    def statistics(self, predictions: np.ndarray, batch: Batch, num_classes: int) -> np.ndarray:
        return metrics.statistics(predictions, np.asarray(batch.targets))

    def groups(self, dataset: "Dataset") -> list[Group]:
        """The classes, by recall."""
        return metrics.class_groups(dataset.classes)

    def group_rows(self, batch: Batch, num_classes: int) -> np.ndarray:
        return metrics.class_rows(np.asarray(batch.targets), num_classes)

    def guess(self, outputs: "Tensor", batch: Batch) -> np.ndarray:
        """The class of the largest logit, `(N,)`."""
        return outputs.argmax(dim=1).cpu().numpy()

    def graphs(self, module: "nn.Module", assets: ImageAssets) -> dict[str, Graph]:
        """One graph, `images` → `logits`."""
        output = OutputSpec(name=serving.OUTPUT, shape=(BATCH, len(assets.labels)))
        return {serving.GRAPH: Graph(module=module, inputs=assets.inputs, outputs=(output,))}

    def run(self, sessions: Mapping[str, Any], batch: Batch, assets: ImageAssets) -> dict[str, np.ndarray]:
        return serving.run(sessions, batch.inputs)

    def predict(self, outputs: Mapping[str, np.ndarray], batch: Batch, assets: ImageAssets) -> np.ndarray:
        return serving.predict(outputs)

    @property
    def training_metric(self) -> Metric:
        return self.metrics[0]

    def training_statistics(self, guesses: np.ndarray, batch: Batch, num_classes: int) -> np.ndarray:
        return self.statistics(guesses, batch, num_classes)

    def timed_call(
        self, sessions: Mapping[str, Any], batch: Batch, assets: ImageAssets, *, rows: int
    ) -> Callable[[int], int] | None:
        return None

    def reference(self, module: "nn.Module", batch: Batch, assets: ImageAssets) -> None:
        return None

    def details(self, dataset: "Dataset", assets: ImageAssets) -> "ClassificationDetails":
        from components.core.tasks.classification.details import ClassificationDetails

        return ClassificationDetails(dataset.classes, temperature=assets.temperature)

    @property
    def pages(self) -> "ClassificationPages":
        from components.core.tasks.classification.pages import ClassificationPages

        return ClassificationPages()
