"""General sentences: what tuning on a domain does to everything else.

The sample is of our own sentences, a file per source language, without translations. A network's answers before
tuning are the references: how near to them the answers after it are says how far it has drifted, not whether it became
better or worse.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.tasks.base import GeneralChange
from components.core.tasks.translation.languages import code_of
from components.core.tasks.translation.learning import torch_translations
from components.core.tasks.translation.metrics import chrf, statistics
from components.core.tasks.translation.serving import padded

if TYPE_CHECKING:
    from torch import nn

    from components.core.tasks.translation.assets import TranslationAssets


@cache
def general_sentences(language: str) -> tuple[str, ...]:
    """The sample in a language; empty where there is none."""
    file = Path(__file__).with_name(f"general_{code_of(language).split('-')[0]}.txt")
    return tuple(file.read_text(encoding="utf-8").splitlines()) if file.is_file() else ()


def watch(module: "nn.Module", assets: "TranslationAssets") -> "Callable[[nn.Module], GeneralChange] | None":
    """See `Task.general_watch`; the sentences are decoded as a release decodes."""
    sentences = general_sentences(assets.source_language)
    if not sentences:
        return None
    source = padded([assets.vocabulary.encode(sentence) for sentence in sentences], assets.vocabulary.eos)
    before = torch_translations(module, source, assets)

    def change(after: "nn.Module") -> GeneralChange:
        return compared(before, torch_translations(after, source, assets))

    return change


def compared(before: list[str], after: list[str]) -> GeneralChange:
    """chrF of the answers after against those before, of all sentences together, and the share of equal ones."""
    score = float(chrf(statistics(after, before).sum(axis=0)))
    same = sum(one == other for one, other in zip(before, after, strict=True)) / len(before)
    return GeneralChange(
        figures={"general_chrf": score, "general_same_fraction": same},
        text=f"chrF {score:.1f} against its own answers before, {same:.0%} of {len(before)} general sentences the same",
    )
