"""Files that were left out of the dataset, with reasons: ``quarantine.json`` in the dataset artifact."""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from components.core.data.ingestion.items import Rejection

QUARANTINE_NAME = "quarantine.json"


@dataclass
class Quarantine:
    """Files that are not used, and exact copies of which one is used. Names are relative to the dataset."""

    files: list[tuple[str, str | None, Rejection]] = field(default_factory=list)
    duplicates: list[tuple[str, str]] = field(default_factory=list)
    num_across_splits: int = 0
    """Of the duplicates, those whose kept copy is in another given split."""

    def add(self, name: str, label: str | None, rejection: Rejection) -> None:
        """Leave out the file `name`."""
        self.files.append((name, label, rejection))

    def add_duplicate(self, name: str, kept: str, *, across_splits: bool = False) -> None:
        """`name` has the same bytes and label as `kept`, which is used."""
        self.duplicates.append((name, kept))
        self.num_across_splits += across_splits

    @property
    def counts(self) -> dict[str, int]:
        """Files per reason, sorted by reason."""
        return dict(sorted(Counter(rejection.reason for _, _, rejection in self.files).items()))

    def records(self) -> list[dict[str, Any]]:
        """Quarantined files, sorted by name."""
        return [
            {"source": name, "label": label, "reason": rejection.reason, "detail": rejection.detail}
            for name, label, rejection in sorted(self.files, key=lambda file: (file[0], file[2]))
        ]

    def to_json(self) -> bytes:
        """``{"format", "counts", "files": [{source, label, reason, detail}], "duplicates": [{source, kept}]}``."""
        document = {
            "format": 1,
            "counts": self.counts,
            "files": self.records(),
            "duplicates": [{"source": name, "kept": kept} for name, kept in sorted(self.duplicates)],
        }
        # ASCII escapes: a file name on disk need not be valid Unicode.
        return json.dumps(document, indent=1).encode()
