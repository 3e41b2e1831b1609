"""The task "segmentation": a class for every pixel."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.data.batch import Batch
from components.core.errors import UserError
from components.core.models.inputs import BATCH, Graph, InputSpec, OutputSpec
from components.core.tasks.images.assets import INPUT, check_classes
from components.core.tasks.images.corruptor import ImageCorruptions
from components.core.tasks.images.levels import stated_levels
from components.core.tasks.images.preprocess import Preprocess
from components.core.tasks.metric import Group, Metric
from components.core.tasks.segmentation import assets as segmentation_assets
from components.core.tasks.segmentation import figures, serving
from components.core.tasks.segmentation.assets import SegmentationAssets, palette_of
from components.core.tasks.segmentation.augment import Augmentation
from components.core.tasks.segmentation.examples import MaskedImages
from components.core.tasks.segmentation.forms import PUBLISHED, whole_options
from components.core.tasks.segmentation.inference import Inference, find_mask
from components.core.tasks.segmentation.parameters import DEFAULT_HEAD, HEADS, INFERENCES
from components.core.tasks.segmentation.rows import SegmentationRows

if TYPE_CHECKING:
    from torch import Tensor, nn

    from components.core.data.dataset import Dataset
    from components.core.models.architecture import Architecture
    from components.core.models.catalog import Backbone
    from components.core.recipe import Recipe
    from components.core.tasks.segmentation.details import SegmentationDetails
    from components.core.tasks.segmentation.pages import SegmentationPages

GRAPH, OUTPUT = "model", "logits"
MASKS, CALLS, LARGEST = "masks", "calls", "largest_logits"
"""In place of logits `run` may give finished masks, how many calls of the graph each took, and its largest logit."""


class Segmentation:
    """Rows (image, mask, digest, source); logits `(N, classes, H, W)`; cross-entropy per pixel; mIoU."""

    name = "segmentation"
    title = "semantic segmentation"
    row_noun = "images"
    large_batch = 8
    # The two products that enlarge the logits: measured at batch 8, a network is 7 % slower with them as integers.
    int8 = "static"
    stay_float = ("MatMul",)
    general = None
    probabilities = None
    corruptions = ImageCorruptions(same_size=True)
    timed_units = ""
    validation_batch = 256
    rows = SegmentationRows()

    def transform(
        self, assets: SegmentationAssets, *, full_size: bool = False, settings: Mapping[str, Any] | None = None
    ) -> MaskedImages:
        """Of `settings` it knows `smallest_scale`, `largest_scale` and `colour_jitter`."""
        asked = settings or {}
        augmentation = Augmentation(
            smallest_scale=asked.get("smallest_scale", Augmentation.smallest_scale),
            largest_scale=asked.get("largest_scale", Augmentation.largest_scale),
            colour=asked.get("colour_jitter", Augmentation.colour),
        )
        return MaskedImages(
            preprocess=assets.preprocess,
            augmentation=augmentation,
            classes=len(assets.labels),
            full_size=full_size,
            native=not assets.inference.is_resize,
        )

    def assets(
        self, backbone: "Backbone", dataset: "Dataset", image_size: int, *, settings: Mapping[str, Any] | None = None
    ) -> SegmentationAssets:
        """The backbone's normalisation, images fitted with their aspect ratio, the data set's classes and colours.

        Of `settings` it knows `inference`.
        """
        side = image_size or backbone.image_size
        return SegmentationAssets(
            preprocess=Preprocess(
                image_size=side,
                mean=backbone.mean,
                std=backbone.std,
                resize="fit",
                levels=stated_levels(dataset),
            ),
            labels=list(dataset.classes),
            palette=palette_of(dataset),
            inference=Inference.of((settings or {}).get("inference", INFERENCES[0]), side),
        )

    def read_assets(self, files: Mapping[str, bytes]) -> SegmentationAssets:
        return segmentation_assets.read_files(files)

    def read_metadata(
        self, metadata: Mapping[str, Any], files: Mapping[str, bytes] | None = None
    ) -> SegmentationAssets:
        return segmentation_assets.read_metadata(metadata)

    def check_classes(self, dataset: "Dataset", assets: SegmentationAssets, *, model: str = "model") -> None:
        check_classes(dataset.classes, assets.labels, model=model)

    def inputs(self, assets: SegmentationAssets) -> tuple[InputSpec, ...]:
        return assets.inputs

    def teacher_of(
        self, module: "nn.Module", teacher: SegmentationAssets, student: SegmentationAssets
    ) -> "tuple[nn.Module, SegmentationAssets]":
        return module, teacher

    def teacher_answers(self, module: "nn.Module", assets: Any, *, beam: int) -> None:
        """None: a label is no sequence."""
        return None

    def student_assets(self, teacher: SegmentationAssets, student: SegmentationAssets, size: int) -> SegmentationAssets:
        return student.resized(teacher, size)

    def student_inputs(
        self, inputs: Mapping[str, "Tensor"], teacher: SegmentationAssets, student: SegmentationAssets
    ) -> "dict[str, Tensor]":
        from components.core.tasks.images.views import student_view

        return {name: student_view(values, teacher.preprocess, student.preprocess) for name, values in inputs.items()}

    def candidates(
        self, backbones: "Sequence[Backbone]", settings: Mapping[str, Any]
    ) -> "list[tuple[str, Backbone, dict[str, Any]]]":
        """Every backbone with every head of `settings["heads"]`, as "backbone+head"; whole weights with their own.

        Raises:
            UserError: an unknown head; whole weights of a network that is none of ours.
        """
        heads = list(dict.fromkeys(settings.get("heads") or [DEFAULT_HEAD]))
        for head in heads:
            if head not in HEADS:
                raise UserError(f"heads must be some of {', '.join(HEADS)}; got {head!r}")
        found: list[tuple[str, Backbone, dict[str, Any]]] = []
        for backbone in backbones:
            if backbone.task:
                options = whole_options(backbone)
                found.append((f"{backbone.name}+{options['head']}", backbone, options))
            elif backbone.architecture in PUBLISHED:
                raise UserError(
                    f"{backbone.origin}: backbone {backbone.name!r}: {backbone.architecture} is a whole network; "
                    f"give 'task: {self.name}' with it"
                )
            else:
                found += [(f"{backbone.name}+{head}", backbone, {"head": head}) for head in heads]
        return found

    def num_outputs(self, assets: SegmentationAssets) -> int:
        """One logit per class and pixel."""
        return len(assets.labels)

    def network_options(
        self, backbone: "Backbone", options: Mapping[str, Any], assets: SegmentationAssets
    ) -> dict[str, Any]:
        return dict(options)

    def create_network(self, architecture: "Architecture") -> "nn.Module":
        from components.core.tasks.segmentation.features import create_network

        return create_network(architecture)

    def reset_head(self, module: "nn.Module") -> None:
        """Nothing: a fresh head has small weights as it is built."""

    def load_pretrained(self, module: "nn.Module", backbone: "Backbone", classes: Sequence[str]) -> str:
        from components.core.tasks.segmentation.features import load_pretrained

        return load_pretrained(module, backbone, classes)

    def trained_options(self, source: str) -> dict[str, Any]:
        """The head of one of torchvision's whole networks.

        Raises:
            UserError: any other network.
        """
        if source not in PUBLISHED:
            raise UserError(
                f"architecture {source!r} is not a whole segmentation network that trimtab knows; known: "
                f"{', '.join(PUBLISHED)}"
            )
        return {"head": PUBLISHED[source].head}

    def load_trained(
        self, module: "nn.Module", tensors: "Mapping[str, Tensor]", source: str, classes: Sequence[str]
    ) -> None:
        from components.core.tasks.segmentation.features import network_of
        from components.core.tasks.segmentation.whole import load_trained

        load_trained(network_of(module), tensors, source, len(classes))

    def output_layers(self, module: "nn.Module") -> tuple[str, ...]:
        from components.core.tasks.segmentation.features import network_of

        return network_of(module).output_layers

    def slim(
        self,
        module: "nn.Module",
        assets: SegmentationAssets,
        dataset: "Dataset",
        recipe: "Recipe",
        *,
        rows: int,
        round_to: int,
    ) -> None:
        return None

    def split(self, module: "nn.Module") -> "tuple[Callable[..., tuple[Tensor, ...]], nn.Module]":
        from components.core.tasks.segmentation.features import split

        return split(module)

    def labelled_vectors(self, module: "nn.Module") -> "Callable[[Batch], tuple[Tensor, Tensor, Tensor]]":
        from components.core.tasks.segmentation.features import labelled_vectors

        return labelled_vectors(module)

    def embeddings(self, module: "nn.Module") -> "Callable[..., Tensor]":
        """The mean of the deepest feature map."""
        from components.core.tasks.segmentation.features import embeddings

        return embeddings(module)

    def training_module(self, module: "nn.Module", settings: Mapping[str, Any]) -> "nn.Module":
        """With an auxiliary head where `auxiliary_weight` is above 0."""
        from components.core.tasks.segmentation.features import with_auxiliary

        return with_auxiliary(module, seed=settings["seed"]) if settings.get("auxiliary_weight") else module

    def training_settings(self, settings: Mapping[str, Any], dataset: "Dataset") -> dict[str, Any]:
        """`class_weight` per class where `class_weights` is "balanced"."""
        from components.core.tasks.images.balance import balanced

        return balanced(settings, dataset)

    def loss(self, outputs: Any, batch: Batch, *, settings: Mapping[str, Any] | None = None) -> "Tensor":
        """The loss that `settings` names, plus that of the auxiliary head; of logits at the targets' size."""
        from components.core.tasks.segmentation.features import training_loss

        return training_loss(outputs, batch, settings or {})

    @property
    def soft_losses(self) -> "Mapping[str, Callable[[Any, Any, Batch, float], Tensor] | None]":
        """ "pixel", and "channel": every class's map as a distribution over the pixels."""
        from components.core.tasks.segmentation.features import channel_loss

        return {"pixel": None, "channel": channel_loss}

    def comparable(self, outputs: Any, batch: Batch) -> "Tensor":
        """Logits at the targets' size, of the pixels that count, in the order of rows, lines and columns."""
        from components.core.tasks.segmentation.features import main_logits

        return main_logits(outputs, batch).permute(0, 2, 3, 1)[batch.weight]

    metrics: tuple[Metric, ...] = figures.METRICS

    def statistics(self, predictions: Sequence[np.ndarray], batch: Batch, num_classes: int) -> np.ndarray:
        targets = [np.asarray(target) for target in batch.targets]
        return figures.statistics(predictions, targets, num_classes)

    def groups(self, dataset: "Dataset") -> list[Group]:
        """The classes, by IoU over the images that show them."""
        return figures.class_groups(dataset.classes)

    def group_rows(self, batch: Batch, num_classes: int) -> np.ndarray:
        return figures.class_rows([np.asarray(target) for target in batch.targets], num_classes)

    def guess(self, outputs: Any, batch: Batch) -> np.ndarray:
        """The class of the largest logit of each pixel at the targets' size, uint8 `(N, H, W)`."""
        from components.core.tasks.segmentation.features import main_logits

        return main_logits(outputs, batch).argmax(dim=1).cpu().numpy().astype(np.uint8)

    def graphs(self, module: "nn.Module", assets: SegmentationAssets) -> dict[str, Graph]:
        """One graph, `images` → `logits` at the images' size: the network's, or free where images are taken whole."""
        side, classes = assets.preprocess.image_size, len(assets.labels)
        if assets.inference.mode != "whole":
            output = OutputSpec(name=OUTPUT, shape=(BATCH, classes, side, side))
            return {GRAPH: Graph(module=module, inputs=assets.inputs, outputs=(output,))}
        from components.core.tasks.segmentation.features import network_of

        free = {size: side for size in ("height", "width")}
        graph = Graph(
            module=network_of(module).with_free_size(),
            inputs=tuple(replace(spec, shape=(BATCH, 3, *free)) for spec in assets.inputs),
            outputs=(OutputSpec(name=OUTPUT, shape=(BATCH, classes, *free)),),
            free=tuple(free.items()),
            multiples=tuple((size, assets.inference.divisor) for size in free),
        )
        return {GRAPH: graph}

    def run(self, sessions: Mapping[str, Any], batch: Batch, assets: SegmentationAssets) -> dict[str, Any]:
        """`logits` float32 `(N, classes, S, S)`; of images at their own size `masks`, `calls` and `largest_logits`.

        Such an image goes through alone and is decoded before the next: logits of many large images need not fit.
        """
        session = sessions[GRAPH]
        if assets.inference.is_resize:
            return {OUTPUT: session.run([OUTPUT], dict(batch.inputs))[0]}

        peaks: list[np.float32] = []

        def network(images: np.ndarray) -> np.ndarray:
            logits = np.asarray(session.run([OUTPUT], {INPUT: images})[0])
            peaks.append(logits.max())
            return logits

        found = [find_mask(pixels, network, assets.preprocess, assets.inference) for pixels in batch.inputs[INPUT]]
        calls = np.array([count for _, count in found], dtype=np.int64)
        # A mask does not show that a logit was no number; the largest one does.
        largest = [np.max(part) for part in np.split(np.array(peaks, dtype=np.float32), np.cumsum(calls)[:-1])]
        return {MASKS: [mask for mask, _ in found], CALLS: calls, LARGEST: np.array(largest, dtype=np.float32)}

    def predict(self, outputs: Mapping[str, Any], batch: Batch, assets: SegmentationAssets) -> list[np.ndarray]:
        """A mask uint8 `(H, W)` per image, at the size of its target."""
        if MASKS in outputs:
            return list(outputs[MASKS])
        found = []
        for logits, target in zip(outputs[OUTPUT], batch.targets, strict=True):
            height, width = target.shape
            columns, rows = assets.preprocess.placed((width, height))
            found.append(serving.decode_mask(serving.cropped(logits, rows, columns), height, width))
        return found

    @property
    def training_metric(self) -> Metric:
        return self.metrics[0]

    def training_statistics(self, guesses: Sequence[np.ndarray], batch: Batch, num_classes: int) -> np.ndarray:
        return self.statistics(guesses, batch, num_classes)

    def timed_call(
        self, sessions: Mapping[str, Any], batch: Batch, assets: SegmentationAssets, *, rows: int
    ) -> Callable[[int], int] | None:
        return None

    def reference(self, module: "nn.Module", batch: Batch, assets: SegmentationAssets) -> None:
        return None

    def details(self, dataset: "Dataset", assets: SegmentationAssets) -> "SegmentationDetails":
        from components.core.tasks.segmentation.details import SegmentationDetails

        return SegmentationDetails(dataset.classes)

    @property
    def pages(self) -> "SegmentationPages":
        from components.core.tasks.segmentation.pages import SegmentationPages

        return SegmentationPages()
