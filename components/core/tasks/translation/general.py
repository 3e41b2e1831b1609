"""General sentences: what tuning on a domain does to everything else, and what can hold it back.

They are of no data set: our own, a file per source language beside this one, or the user's, one per line. The answers
of the network that training begins with are the references: how near to them a later network's answers are says how far
it has drifted, not whether it became better or worse. Of a user's file every second sentence, at most 200, is watched;
the others may be replayed in training, with the untuned network's own answers. What is watched is never trained on.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import UserError
from components.core.models.remote import read_object
from components.core.tasks.base import GeneralChange
from components.core.tasks.translation.cleaning import content_key, normalized
from components.core.tasks.translation.examples import TEXT, TRANSLATION
from components.core.tasks.translation.languages import code_of
from components.core.tasks.translation.metrics import chrf, statistics

if TYPE_CHECKING:
    from components.core.data.dataset import Dataset
    from components.core.tasks.translation.assets import TranslationAssets

FILE, STATE = "general_sentences", "general_state"
"""Settings of training: the user's file, and the sha256 of its content."""
WATCHED = 200
_MOST_BYTES = 64 * 2**20
_HELD_OUT = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """`watched` are translated before and after; of `others` training may make use."""

    watched: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


class GeneralSentences:
    """See `components.core.tasks.base.General`."""

    def state(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """`general_state` for a user's file; nothing without one."""
        if not settings.get(FILE):
            return {}
        content = _content(settings[FILE])
        _sentences(settings[FILE], content)
        return {STATE: hashlib.sha256(content).hexdigest()}

    def rows(self, assets: "TranslationAssets", settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        """General sentences in the source language: the user's, or our own where there are some (English)."""
        watched = sample(assets.source_language, settings).watched
        return [{TEXT: sentence, TRANSLATION: ""} for sentence in watched]

    def is_watched(self, rows: Any, answers: Any) -> bool:
        """Sentences, and a translation of each."""
        if not isinstance(rows, list) or not isinstance(answers, list) or not 0 < len(rows) == len(answers):
            return False
        pairs = all(isinstance(row, dict) and row.keys() == {TEXT, TRANSLATION} for row in rows)
        return pairs and all(isinstance(text, str) for text in (*answers, *chain.from_iterable(map(dict.values, rows))))

    def change(self, before: Sequence[str], after: Sequence[str]) -> GeneralChange:
        """chrF of the answers after against those before, of all sentences together, and the share of equal ones."""
        # A network that begins with nothing may say nothing, before and after: no change.
        score = float(chrf(statistics(after, before).sum(axis=0))) if any((*before, *after)) else 100.0
        same = sum(one == other for one, other in zip(before, after, strict=True)) / len(before)
        return GeneralChange(
            figures={"general_chrf": score, "general_same_fraction": same},
            text=f"chrF {score:.1f} against the answers of the network that training began with, {same:.0%} of "
            f"{len(before)} general sentences the same",
        )

    def replayed(
        self, dataset: "Dataset", assets: "TranslationAssets", settings: Mapping[str, Any], *, rows: int
    ) -> list[dict[str, Any]]:
        """Of the user's sentences those that are not watched; without a file training sources. Spread evenly.

        Sentences that a held-out row has are left out, for no training may see these.
        """
        if settings.get(FILE):
            held = {
                content_key(row[TEXT])
                for row in chain.from_iterable(dataset.iterate(split, columns=(TEXT,)) for split in _HELD_OUT)
            }
            others = sample(assets.source_language, settings).others
            known = [text for text in others if content_key(text) not in held]
            texts = [known[number * len(known) // rows] for number in range(rows)] if rows < len(known) else known
        else:
            texts = [row[TEXT] for row in dataset.iterate("train", columns=(TEXT,), limit=max(rows, 1))]
        return [
            {
                TEXT: text,
                TRANSLATION: "",
                "digest": hashlib.sha256(f"replayed\0{text}".encode()).hexdigest(),
                "source": settings.get(FILE) or "training sources",
            }
            for text in dict.fromkeys(texts)
        ]


def sample(language: str, settings: Mapping[str, Any]) -> Sample:
    """The user's sentences, or our own in a language; without either none.

    Raises:
        UserError: the user's file cannot be read, has fewer than two sentences, or has changed since the run began.
    """
    if not settings.get(FILE):
        return Sample(watched=_own(language))
    name, content = settings[FILE], _content(settings[FILE])
    if settings.get(STATE, "") not in ("", hashlib.sha256(content).hexdigest()):
        raise UserError(f"{FILE} {name} has changed since the run began; start the run again")
    lines = _sentences(name, content)
    return Sample(watched=lines[::2][:WATCHED], others=(*lines[1 : 2 * WATCHED : 2], *lines[2 * WATCHED :]))


@cache
def _own(language: str) -> tuple[str, ...]:
    file = Path(__file__).with_name(f"general_{code_of(language).split('-')[0]}.txt")
    return tuple(file.read_text(encoding="utf-8").splitlines()) if file.is_file() else ()


def _content(name: str) -> bytes:
    try:
        if name.startswith("s3://"):
            content = read_object(name, most_bytes=_MOST_BYTES)
        else:
            with Path(name).open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"cannot read {FILE} {name}: {error.strerror or error}") from None
    if len(content) > _MOST_BYTES:
        raise UserError(f"{FILE} {name} has more than {_MOST_BYTES // 2**20} MB; give fewer sentences")
    return content


def _sentences(name: str, content: bytes) -> tuple[str, ...]:
    """Sentences that differ in more than case, digits and punctuation: one that is watched has no copy in training."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{FILE} {name} is not UTF-8 at byte {error.start}") from None
    found: dict[str, str] = {}
    for line in filter(None, map(normalized, text.splitlines())):
        found.setdefault(content_key(line), line)
    if len(found) < 2:
        raise UserError(f"{FILE} {name} has {len(found)} different sentences, one per line; at least 2 are needed")
    return tuple(found.values())
