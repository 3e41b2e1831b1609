"""Rows of translation: a sentence and its translation."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from components.core.data.ingestion.items import Inspected, Item, Rejection, Source
from components.core.data.ingestion.locations import PACKAGES, Location
from components.core.data.ingestion.sources import locate
from components.core.data.rows import CONTENT_IN_TWO_SPLITS, Demo, refuse_options, refuse_wrong_texts
from components.core.data.stored_columns import STORED
from components.core.errors import UserError
from components.core.tasks.translation import cleaning, gettext_catalogs, pair_source, pairs, shifts
from components.core.tasks.translation.cleaning import CleaningRules, content_key
from components.core.tasks.translation.examples import TEXT, TRANSLATION
from components.core.tasks.translation.languages import code_of, codes_of, mixes_scripts
from components.core.tasks.translation.lengths import LENGTHS, length_group, num_words
from components.core.tasks.translation.pair_files import CATALOG_SUFFIXES, SUFFIXES, find_pair_files
from components.core.tasks.translation.pair_source import PairSource
from components.core.tasks.translation.parameters import MAX_WORDS

if TYPE_CHECKING:
    import numpy as np

    from components.core.data.dataset import Dataset

DEMO_PACKAGES = (
    "Sphinx", "Django", "djangorestframework", "wagtail", "django-cms", "jupyterlab-language-pack-pt-BR",
)  # fmt: skip
SEVERAL_SCRIPTS = "several scripts"
_LOOKED_AT = 1000
_FIELDS = {name: STORED[name] for name in (TEXT, TRANSLATION, "digest", "source")}
_RAW = {
    "group": pa.string(), "source_key": pa.uint64(), "target_key": pa.uint64(), "source_words": pa.int32(),
    "target_words": pa.int32(),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TranslationRows:
    """Rows (sentence, translation, digest of both, source); see `rows.RowFormat`.

    Attributes:
        source_language, target_language: codes, "en", "pt-BR".
        source_column, target_column: columns of a table; empty: known names and the codes are looked for.
        group_column: column of a table whose equal values stay in one split.
        max_words: pairs with a longer sentence are put aside.
        skipped_rules: cleaning rules that are left out.

    Raises:
        UserError: a wrong value, the same language twice, an unknown rule.
    """

    source_language: str = "en"
    target_language: str = "pt-BR"
    source_column: str = ""
    target_column: str = ""
    group_column: str = ""
    max_words: int = MAX_WORDS
    skipped_rules: Sequence[str] = ()

    task = "translation"
    noun = counted = "sentence pairs"
    accepted = (
        "'demo', a folder with files of lines x.en and x.pt (the codes of the languages) or one of them, a .tsv, .csv, "
        ".jsonl or .parquet file (columns source and target), a .tmx, .po or .mo file, a folder of these, an s3:// URI "
        "of these, or packages:NAME,NAME for the catalogs of installed packages"
    )
    schema = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _FIELDS.items()])
    target_columns = (TRANSLATION,)
    mix_columns = (TEXT,)
    mix_titles = ("length", "lengths")
    # Every catalog has entries that nobody has translated yet, and names that stay as they are.
    usual_reasons = frozenset({"identical", "no target", "few letters", gettext_catalogs.FUZZY, CONTENT_IN_TWO_SPLITS})
    demo = Demo(
        packages=DEMO_PACKAGES,
        extra="translation-demo",
        licence="BSD-2-Clause and BSD-3-Clause (gettext catalogs of installed packages, by their translators)",
        description=f"interface texts from the catalogs of {', '.join(DEMO_PACKAGES)}",
    )
    # One sentence may have several translations; a digest is of both, so that none contradict each other.
    conflict = "conflicting translations"

    raw_schema = pa.schema(list((_FIELDS | _RAW).items()))
    raw_target = TRANSLATION
    raw_target_columns = (TRANSLATION,)
    index_columns = ("source_key", "group")
    measured_columns = ("source_key", "target_key", "source_words", "target_words")
    near = None
    apart_columns: ClassVar[Mapping[str, str]] = {"source_key": "the sentence", "target_key": "the translation"}

    def __post_init__(self) -> None:
        refuse_wrong_texts(self, "source_language", "target_language", "source_column", "target_column", "group_column")
        for name in ("source_language", "target_language"):
            if not code_of(getattr(self, name)):
                raise UserError(f"{name} must be a language code, such as en or pt-BR; got {getattr(self, name)!r}")
        if code_of(self.source_language) == code_of(self.target_language):
            raise UserError(f"source_language and target_language are both {self.source_language!r}")
        try:
            _ = self._rules
        except ValueError as error:
            raise UserError(str(error)) from None

    @property
    def languages(self) -> tuple[str, str]:
        """Codes of source and target."""
        return self.source_language, self.target_language

    @cached_property
    def _rules(self) -> CleaningRules:
        return CleaningRules(
            source=self.source_language,
            target=self.target_language,
            skipped=tuple(self.skipped_rules),
            max_words=self.max_words,
        )

    @property
    def file_suffixes(self) -> tuple[str, ...]:
        """Tables, memories, catalogs; and the codes of the languages, for files of lines."""
        codes = [code for language in self.languages for code in codes_of(language)]
        return (*SUFFIXES, *(f".{spelled}" for code in codes for spelled in (code, code.replace("-", "_"))))

    @property
    def reasons(self) -> Mapping[str, str]:
        """Of reading, and of the cleaning rules."""
        return {**pair_source.REASONS, **pairs.UNREADABLE, **gettext_catalogs.REASONS, **shifts.REASONS,
                **cleaning.REASONS}  # fmt: skip

    def with_options(self, options: Mapping[str, Any]) -> "TranslationRows":
        """The same with other attributes."""
        refuse_options(self.task, options, [field.name for field in fields(self)])
        return replace(self, **options) if options else self

    # Stored rows

    def target_key(self, row: Mapping[str, Any]) -> bytes:
        """The translation in UTF-8."""
        return str(row[TRANSLATION]).encode()

    def class_counts(self, row: Mapping[str, Any], num_classes: int) -> "np.ndarray | None":
        """None: there are no classes."""
        return None

    def mix_groups(self, classes: Sequence[str]) -> list[str]:
        """Lengths of the sentence; apart from them, sentences in several scripts."""
        return [*LENGTHS, SEVERAL_SCRIPTS]

    def mix(self, row: Mapping[str, Any], num_classes: int) -> "np.ndarray":
        """One sentence."""
        import numpy as np

        counts = np.zeros(len(LENGTHS) + 1, dtype=np.int64)
        text = row[TEXT]
        counts[len(LENGTHS) if mixes_scripts(text) else length_group(text)] = 1
        return counts

    # What comes in

    def open_source(
        self, dataset: str, scratch: Path, *, slice_columns: Sequence[str] = (), allow_paths: Sequence[str] = ()
    ) -> Source:
        """All files of the place that hold pairs; these name no other files, so that `allow_paths` has no say."""
        location, file = locate(dataset, self)
        names = [one.name for one in location.walk()] if file is None else _beside(location, file)
        if location.address.startswith(PACKAGES):
            # A program's other files are no data: `.pt` is no Portuguese there.
            names = [name for name in names if name.lower().endswith(CATALOG_SUFFIXES)]
        files = find_pair_files(names, self.languages, f"dataset {dataset}")
        if file is not None:
            files = [one for one in files if file in one.names]
        if not files:
            held = f"holds no sentence pairs ({len(names)} other files)" if names else "is empty"
            raise UserError(f"dataset {dataset} {held}; give {self.accepted}")
        for name, column in (("slice_columns", next(iter(slice_columns), "")), ("group_column", self.group_column)):
            if column and any(one.kind != "table" for one in files):
                raise UserError(
                    f"{name} needs a table, and dataset {dataset} has files without columns; give a .parquet, .csv, "
                    f".tsv or .jsonl file with source, target and {column!r}"
                )
        columns = pairs.pair_columns(
            self.languages, source_column=self.source_column, target_column=self.target_column,
            group=self.group_column, slices=slice_columns,
        )  # fmt: skip
        return PairSource(location, files, scratch, self.languages, columns)

    def look(self, source: Source, dataset: str) -> list[str]:
        """Reads the first 1,000 pairs, or until one can be used."""
        refused: Counter[str] = Counter()
        first = ""
        for item in islice(source.items(), _LOOKED_AT):
            inspected = self.inspect(item, max_bytes=0)
            if inspected.rejection is None:
                return []
            refused[inspected.rejection.reason] += 1
            first = first or f"{inspected.name}: {': '.join(inspected.rejection)}"
        if not refused:
            raise UserError(f"dataset {dataset} has no sentence pairs; give {self.accepted}")
        counted = ", ".join(f"{count} {reason}" for reason, count in refused.most_common())
        raise UserError(
            f"dataset {dataset}: none of the first {refused.total()} pairs can be used: {counted}; first: {first}"
        )

    def inspect(self, item: Item, *, max_bytes: int) -> Inspected:
        """Applies the cleaning rules; the row has both texts, normalised."""
        outcome = self._rules.check(item.target)
        if isinstance(outcome, Rejection):
            return Inspected(name=item.name, rejection=outcome, slices=item.slices)
        text, translation = outcome
        row = {
            TEXT: text,
            TRANSLATION: translation,
            "digest": hashlib.sha256(f"{text}\0{translation}".encode()).hexdigest(),
            "group": item.group,
            "source_key": _key(text),
            "target_key": _key(translation),
            "source_words": num_words(text),
            "target_words": num_words(translation),
        }
        return Inspected(name=item.name, row=row, slices=item.slices)

    # Raw rows

    def target_name(self, raw_target: str) -> str:
        """Empty: a translation is no name."""
        return ""

    def order_classes(self, found: Mapping[str, int], declared: Sequence[str], dataset: str) -> list[str]:
        """None."""
        return []

    def strata(self, found: Mapping[str, int]) -> list[str]:
        """The whole."""
        return [""]

    def stratum_title(self, stratum: str) -> str:
        """The whole."""
        return "the data set"

    def stratum(self, raw: Mapping[str, Any]) -> str:
        """The whole."""
        return ""

    def split_key(self, raw: Mapping[str, Any]) -> str:
        """By the sentence without case, digits and punctuation: all its translations and near copies; or the group."""
        if raw["group"] is not None:
            return hashlib.sha256(f"group\0{raw['group']}".encode()).hexdigest()
        return hashlib.sha256(int(raw["source_key"]).to_bytes(8, "big")).hexdigest()

    def finished(self, raw: Mapping[str, Any], numbers: Mapping[str, int]) -> dict[str, Any]:
        """Without the columns that only the preparation needs."""
        return {name: value for name, value in raw.items() if name not in _RAW}

    def training_facts(self, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """The two `languages`."""
        return {"languages": list(self.languages)}

    def doubts(self, rows: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
        """Near copies, and sentences with several translations."""
        from components.core.tasks.translation.data_page import doubts_of

        return doubts_of(rows)

    # Pages

    def data_blocks(self, dataset: "Dataset") -> list[Any]:
        """Lengths per split."""
        from components.core.tasks.translation.data_page import data_blocks

        return data_blocks(dataset)

    def samples(self, dataset: "Dataset") -> list[Any]:
        """A few pairs."""
        from components.core.tasks.translation.data_page import samples

        return samples(dataset)


def _beside(location: Location, file: str) -> list[str]:
    """The file, and those in its folder that differ in the suffix: one of them may hold the other side's lines."""
    if file.lower().endswith(SUFFIXES):
        return [file]
    stem = file.rpartition(".")[0]
    return [one.name for one in location.walk() if one.name.rpartition(".")[0] == stem]


def _key(text: str) -> int:
    """64 bits of the content's sha256: of ten million texts two meet by chance once in 370,000 data sets."""
    return int.from_bytes(hashlib.sha256(content_key(text).encode()).digest()[:8], "big")
