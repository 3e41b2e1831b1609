"""The task "translation": a sentence in one language becomes one in another."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from components.core.data.batch import Batch
from components.core.errors import UserError
from components.core.models.inputs import Graph, InputSpec
from components.core.tasks.metric import Group, Metric
from components.core.tasks.translation import assets as translation_assets
from components.core.tasks.translation import metrics, pretrained, serving
from components.core.tasks.translation.assets import SOURCE, TranslationAssets
from components.core.tasks.translation.examples import TEXT, TRANSLATION, Reference, SentencePairs
from components.core.tasks.translation.general import GeneralSentences
from components.core.tasks.translation.languages import languages_of
from components.core.tasks.translation.lengths import LENGTHS, length_group
from components.core.tasks.translation.parameters import BEAM_SIZE, LENGTH_PENALTY
from components.core.tasks.translation.rows import TranslationRows

if TYPE_CHECKING:
    from torch import Tensor, nn

    from components.core.data.dataset import Dataset
    from components.core.models.architecture import Architecture
    from components.core.models.catalog import Backbone
    from components.core.recipe import Recipe
    from components.core.tasks.base import TeacherAnswers
    from components.core.tasks.slimmed import Slimmed
    from components.core.tasks.translation.details import TranslationDetails
    from components.core.tasks.translation.pages import TranslationPages

PIECES = "pieces"
"""The output of `run`: the pieces of each translation, lists of whole numbers without eos."""


class Translation:
    """Rows (text, translation, digest, source); logits `(N, T, pieces)`; cross-entropy per piece; BLEU and chrF."""

    name = "translation"
    title = "machine translation"
    row_noun = "sentence pairs"
    rows = TranslationRows()
    large_batch = 32
    int8 = "dynamic"
    stay_float = ()
    general = GeneralSentences()
    probabilities = None
    corruptions = None
    timed_units = "pieces"
    # Logits of 256 rows of 100 pieces and a vocabulary of 32,000 would take 3 GB.
    validation_batch = 32

    def transform(
        self, assets: TranslationAssets, *, full_size: bool = False, settings: Mapping[str, Any] | None = None
    ) -> SentencePairs:
        """With `full_size` the targets are the reference sentences; no setting changes anything."""
        return SentencePairs(vocabulary=assets.vocabulary, full_size=full_size)

    def assets(
        self, backbone: "Backbone", dataset: "Dataset", image_size: int, *, settings: Mapping[str, Any] | None = None
    ) -> TranslationAssets:
        """The backbone's vocabulary, or one trained on the training split; of `settings` it knows the decoding.

        `image_size` means nothing here.

        Raises:
            UserError: weights that cannot be used, other languages than the data set's, or too few sentences.
        """
        asked = settings or {}
        source, target = languages_of(dataset)
        pretrained.check_languages(backbone, (source, target))
        never: tuple[int, ...] = ()
        if backbone.weights == "none":
            vocabulary = pretrained.own_vocabulary(backbone, dataset)
        else:
            found = pretrained.describe(backbone)
            vocabulary, never = found.vocabulary, found.config.never
        return TranslationAssets(
            vocabulary=vocabulary,
            source_language=source,
            target_language=target,
            beam_size=asked.get("beam_size", BEAM_SIZE),
            length_penalty=asked.get("length_penalty", LENGTH_PENALTY),
            never=never,
        )

    def read_assets(self, files: Mapping[str, bytes]) -> TranslationAssets:
        return translation_assets.read_files(files)

    def read_metadata(self, metadata: Mapping[str, Any], files: Mapping[str, bytes] | None = None) -> TranslationAssets:
        return translation_assets.read_metadata(metadata, files or {})

    def check_classes(self, dataset: "Dataset", assets: TranslationAssets, *, model: str = "model") -> None:
        """UserError when the model translates between other languages than the data set's."""
        ours, theirs = (assets.source_language, assets.target_language), languages_of(dataset)
        if [pretrained.base_code(code) for code in ours] != [pretrained.base_code(code) for code in theirs]:
            raise UserError(
                f"the {model} translates {ours[0]} to {ours[1]}, the data set is {theirs[0]} to {theirs[1]}"
            )

    def inputs(self, assets: TranslationAssets) -> tuple[InputSpec, ...]:
        return assets.inputs

    def teacher_of(
        self, module: "nn.Module", teacher: TranslationAssets, student: TranslationAssets
    ) -> "tuple[nn.Module, TranslationAssets]":
        """The teacher with the student's vocabulary: both see the same pieces, and choose from the same."""
        from components.core.tasks.translation.learning import network_of
        from components.core.tasks.translation.slimming import with_vocabulary

        return with_vocabulary(network_of(module), teacher.vocabulary, student.vocabulary), student

    def teacher_answers(self, module: "nn.Module", assets: TranslationAssets, *, beam: int) -> "TeacherAnswers":
        """Translations: of the beam's the one nearest to the reference by chrF."""
        from components.core.tasks.translation.learning import network_of
        from components.core.tasks.translation.serving import TorchDecoder
        from components.core.tasks.translation.teaching import answers_of

        return answers_of(TorchDecoder(network_of(module)), assets, beam=beam)

    def student_assets(self, teacher: TranslationAssets, student: TranslationAssets, size: int) -> TranslationAssets:
        """The student's own; a sentence has no size.

        Raises:
            UserError: a size was asked for.
        """
        if size:
            raise UserError(f"student_size must be 0 for {self.row_noun}, which have no size; got {size}")
        return student

    def student_inputs(
        self, inputs: Mapping[str, "Tensor"], teacher: TranslationAssets, student: TranslationAssets
    ) -> "dict[str, Tensor]":
        """The same pieces."""
        return dict(inputs)

    def candidates(
        self, backbones: "Sequence[Backbone]", settings: Mapping[str, Any]
    ) -> "list[tuple[str, Backbone, dict[str, Any]]]":
        """Every entry under its own name; its options are known when its files have been read.

        Raises:
            UserError: an entry that is of no translation network.
        """
        for backbone in backbones:
            pretrained.check_entry(backbone, self.name)
        return [(backbone.name, backbone, {}) for backbone in backbones]

    def num_outputs(self, assets: TranslationAssets) -> int:
        """One logit per piece of the target's vocabulary."""
        return assets.vocabulary.target_size

    def network_options(
        self, backbone: "Backbone", options: Mapping[str, Any], assets: TranslationAssets
    ) -> dict[str, Any]:
        """The network's config: of the weights, or of the entry's options with the vocabulary's size."""
        if backbone.weights != "none":
            return pretrained.describe(backbone).config.to_json()
        return pretrained.fresh_config(backbone, assets.vocabulary.source_size).to_json()

    def create_network(self, architecture: "Architecture") -> "nn.Module":
        from components.core.tasks.translation.config import EncoderDecoderConfig
        from components.core.tasks.translation.networks import EncoderDecoder

        return EncoderDecoder(EncoderDecoderConfig.from_json(architecture.options))

    def reset_head(self, module: "nn.Module") -> None:
        """Nothing: the output layer is most often the embedding, and is drawn with it."""

    def load_pretrained(self, module: "nn.Module", backbone: "Backbone", classes: Sequence[str]) -> str:
        from components.core.tasks.translation.learning import network_of

        return pretrained.load_weights(backbone, network_of(module))

    def output_layers(self, module: "nn.Module") -> tuple[str, ...]:
        """None: there are no classes."""
        return ()

    def slim(
        self,
        module: "nn.Module",
        assets: TranslationAssets,
        dataset: "Dataset",
        recipe: "Recipe",
        *,
        rows: int,
        round_to: int,
    ) -> "Slimmed":
        """Fewer pieces, layers, heads and neurons."""
        from components.core.tasks.translation.learning import network_of
        from components.core.tasks.translation.slimming import SlimConfig, slim

        config = SlimConfig.of(recipe.more, macs_fraction=recipe.macs_fraction, round_to=round_to)
        sample = list(islice(_pairs(dataset), rows))
        return slim(network_of(module), assets, config, pairs=_pairs(dataset), sample=sample)

    def split(self, module: "nn.Module") -> None:
        """None: no network begins with a fresh head."""
        return None

    def labelled_vectors(self, module: "nn.Module") -> None:
        """None: there are no classes."""
        return None

    def embeddings(self, module: "nn.Module") -> "Callable[..., Tensor]":
        """The mean of the encoder's states over a source's pieces."""
        from components.core.tasks.translation.learning import embeddings

        return embeddings(module)

    def training_module(self, module: "nn.Module", settings: Mapping[str, Any]) -> "nn.Module":
        return module

    def training_settings(self, settings: Mapping[str, Any], dataset: "Dataset") -> dict[str, Any]:
        return dict(settings)

    def loss(self, outputs: "Tensor", batch: Batch, *, settings: Mapping[str, Any] | None = None) -> "Tensor":
        """Cross-entropy per piece; of `settings` it knows `label_smoothing`."""
        from components.core.tasks.translation.losses import token_cross_entropy_sum

        smoothing = (settings or {}).get("label_smoothing", 0.0)
        return token_cross_entropy_sum(outputs, batch.targets, batch.weight, smoothing=smoothing)

    soft_losses: "Mapping[str, Callable[[Any, Any, Batch, float], Tensor]]" = MappingProxyType({})

    def comparable(self, outputs: "Tensor", batch: Batch) -> "Tensor":
        """The logits of the pieces that count."""
        from components.core.tasks.translation.losses import comparable

        return comparable(outputs, batch.weight)

    training_metric: Metric = metrics.TRAINING_METRIC
    metrics: tuple[Metric, ...] = metrics.METRICS

    def statistics(self, predictions: Sequence[str], batch: Batch, num_classes: int) -> np.ndarray:
        return metrics.statistics(predictions, batch.targets)

    def training_statistics(self, guesses: np.ndarray, batch: Batch, num_classes: int) -> np.ndarray:
        return metrics.training_statistics(guesses, np.asarray(batch.targets), np.asarray(batch.weight))

    def guess(self, outputs: "Tensor", batch: Batch) -> np.ndarray:
        """The most probable piece at each place, given the reference's pieces before it, `(N, T)`."""
        return outputs.argmax(dim=-1).cpu().numpy()

    def groups(self, dataset: "Dataset") -> list[Group]:
        """Sentences by the length of the source, each by BLEU."""
        return [Group(kind="length", name=name, metric=self.metrics[0]) for name in LENGTHS]

    def group_rows(self, batch: Batch, num_classes: int) -> np.ndarray:
        numbers = np.array([length_group(_source(target)) for target in batch.targets], dtype=np.int64)
        return numbers[:, None] == np.arange(len(LENGTHS))

    def graphs(self, module: "nn.Module", assets: TranslationAssets) -> dict[str, Graph]:
        """`encoder`, and `step` of the decoder."""
        from components.core.tasks.translation.graphs import graphs
        from components.core.tasks.translation.learning import network_of

        return graphs(network_of(module))

    def run(self, sessions: Mapping[str, Any], batch: Batch, assets: TranslationAssets) -> dict[str, Any]:
        """`pieces` of each translation.

        Raises:
            UserError: a logit is no number.
        """
        decoder = serving.OnnxDecoder(sessions, eos=assets.vocabulary.eos)
        pieces = serving.translate(decoder, batch.inputs[SOURCE], **assets.decoding)
        if not decoder.finite:
            raise UserError(
                f"the model's output is NaN or infinite for some of {len(batch)} {self.row_noun}; train it again "
                "with a lower learning rate or without mixed precision"
            )
        return {PIECES: pieces}

    def predict(self, outputs: Mapping[str, Any], batch: Batch, assets: TranslationAssets) -> list[str]:
        """The sentence of each row."""
        return [assets.vocabulary.decode(pieces) for pieces in outputs[PIECES]]

    def timed_call(
        self, sessions: Mapping[str, Any], batch: Batch, assets: TranslationAssets, *, rows: int
    ) -> Callable[[int], int]:
        """Call number n translates the n-th `rows` sources of the batch, in a circle; it gives the pieces it made.

        The end of a sentence counts as a piece: it takes a step.
        """
        eos = assets.vocabulary.eos
        decoder = serving.OnnxDecoder(sessions, eos=eos)
        source = np.asarray(batch.inputs[SOURCE])

        def call(number: int) -> int:
            part = source[(number * rows + np.arange(rows)) % len(source)]
            # As a client would have it: no wider than its longest sentence.
            used = int((np.cumsum(part == eos, axis=1) == 0).sum(axis=1).max()) + 1
            found = serving.translate(decoder, part[:, :used], **assets.decoding)
            return sum(len(pieces) + 1 for pieces in found)

        return call

    def reference(self, module: "nn.Module", batch: Batch, assets: TranslationAssets) -> list[str]:
        """Translations by the torch network."""
        from components.core.tasks.translation.learning import torch_translations

        return torch_translations(module, batch.inputs[SOURCE], assets)

    def details(self, dataset: "Dataset", assets: TranslationAssets) -> "TranslationDetails":
        from components.core.tasks.translation.details import TranslationDetails

        return TranslationDetails()

    @property
    def pages(self) -> "TranslationPages":
        from components.core.tasks.translation.pages import TranslationPages

        return TranslationPages()


def _source(target: Any) -> str:
    """The source sentence of a reference; of a plain text that text, which is about as long."""
    return target.source if isinstance(target, Reference) else str(target)


def _pairs(dataset: "Dataset") -> "Iterator[tuple[str, str]]":
    """Sentences of the training split and their translations."""
    return ((row[TEXT], row[TRANSLATION]) for row in dataset.iterate("train", columns=(TEXT, TRANSLATION)))
