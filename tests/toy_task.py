"""A task that is only in the tests: of each image, whether it is bright and whether its upper half is the brighter."""

from types import SimpleNamespace

import numpy as np
import torch

from components.core.data.batch import Batch
from components.core.tasks.card import CardText
from components.core.tasks.classification.examples import LabelledImages
from components.core.tasks.classification.rows import ClassificationRows
from components.core.tasks.classification.task import Classification
from components.core.tasks.metric import Metric

RIGHT = Metric(name="right", label="answers right", reduce=lambda sums: sums[..., 0] / np.maximum(sums[..., 1], 1))


class Questions(LabelledImages):
    key = "toy"

    def collate(self, examples, digests, draws):
        images = super().collate([(pixels, 0) for pixels, _ in examples], digests, draws)
        light = [(pixels.mean() > 70, pixels[:4].mean() > pixels[-4:].mean()) for pixels, _ in examples]
        answers = np.array(light, dtype=np.float32).reshape(-1, 2)
        return Batch(inputs=images.inputs, targets=answers, weight=np.ones(answers.shape, bool), digests=digests)


class ToyRows(ClassificationRows):
    task = "toy"


class Toy(Classification):
    name, title, rows, metrics = "toy", "two questions", ToyRows(), (RIGHT,)
    probabilities = None
    pages = SimpleNamespace(
        sample=lambda *_: {}, said=lambda *_: None, evaluation_sections=lambda *_, **__: [],
        log_metrics=lambda *_: None,
        card_text=lambda *_: CardText(intro="Two answers.", figures="", use="Ask.", limits=()),
    )  # fmt: skip
    num_outputs = lambda self, assets: 2  # noqa: E731
    transform = lambda self, assets, **_: Questions(preprocess=assets.preprocess)  # noqa: E731
    groups = lambda self, dataset: []  # noqa: E731
    group_rows = lambda self, batch, num_classes: np.zeros((len(batch), 0), dtype=bool)  # noqa: E731
    details = lambda self, dataset, assets: SimpleNamespace(add=lambda *_: None, finish=dict)  # noqa: E731
    guess = lambda self, outputs, batch: outputs.cpu().numpy() > 0  # noqa: E731
    predict = lambda self, outputs, batch, assets: outputs["logits"] > 0  # noqa: E731

    def loss(self, outputs, batch, *, settings=None):
        return (outputs.clamp(min=0) - outputs * batch.targets + (-outputs.abs()).exp().log1p()).sum()

    def comparable(self, outputs, batch):
        return outputs.reshape(-1, 1) * outputs.new_tensor([[0.0, 1.0]])

    def labelled_vectors(self, module):
        compute = self.embeddings(module)
        return lambda batch: (compute(*batch.inputs.values()), batch.targets[:, 0].long(), torch.arange(len(batch)))

    def statistics(self, predictions, batch, num_classes):
        right = (predictions == (np.asarray(batch.targets) > 0.5)).sum(axis=1)
        return np.stack([right, np.full(len(right), 2)], axis=1).astype(np.float64)
