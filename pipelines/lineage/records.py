"""The journal of all runs, by what their tasks made."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.core.artifacts.manifest import Manifest, parse_manifest
from components.core.store import Damaged, Store
from components.core.store.care.reachability import releases_of
from components.core.store.contents.journal import output_manifests
from pipelines.runner.records.journal import seal_of

_LATEST = 2**62
"""Seconds; a whole number of JSON may be too large for a float."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A task's record, as evidence that it made something."""

    run: str
    record: Mapping[str, Any]

    @property
    def name(self) -> str:
        """`run: task`"""
        return f"{self.run}: {self.record.get('task')}"

    @property
    def problem(self) -> str:
        """The problem of the record itself, or ""."""
        try:
            is_sealed = self.record.get("sha256") == seal_of(self.record)
        except ValueError:  # it holds what no record of ours can hold: NaN, half a character
            is_sealed = False
        if not is_sealed:
            return f"the journal's record of {self.name} was changed: it does not have its own sha256"
        return ""

    @property
    def started(self) -> float:
        """Seconds of Unix time; 0 where the record does not say."""
        started = self.record.get("started")
        return float(min(started, _LATEST)) if isinstance(started, int | float) else 0.0

    @property
    def inputs(self) -> dict[str, list[str]]:
        """Input → what names each of its artifacts: the digest of its manifest, or a URI."""
        found = self.record.get("input_artifacts")
        listed = found.items() if isinstance(found, dict) else ()
        return {name: [str(item) for item in items] for name, items in listed if isinstance(items, list)}

    def outputs(self) -> Iterator[dict[str, Any]]:
        """The documents of the manifests among its outputs."""
        return output_manifests(self.record)


class Records:
    """Every record of the journal that can be read.

    Attributes:
        unreadable: runs with a record that cannot be read, each with the reason.
    """

    def __init__(self, store: Store) -> None:
        self.unreadable: dict[str, str] = {}
        self._makers: dict[str, list[Made]] = defaultdict(list)
        self._publishers: dict[tuple[str, str], list[Made]] = defaultdict(list)
        for run in store.journal.runs():
            try:
                records = store.journal.read(run)
            except Damaged as error:
                self.unreadable[run] = str(error)
                continue
            for record in records:
                self._add(Made(run=run, record=record))

    def _add(self, made: Made) -> None:
        given = {digest for digests in made.inputs.values() for digest in digests}
        for document in made.outputs():
            digest = str(document.get("digest"))
            # What hands on one of its inputs, as `choose` does, did not make it.
            if digest not in given:
                self._makers[digest].append(made)
        for release in releases_of(dict(made.record)):
            self._publishers[release].append(made)

    def publishers(self, name: str, version: str) -> list[Made]:
        """The tasks that published this release, or found it published."""
        return self._publishers[name, version]

    def maker(self, digest: str) -> tuple[Made | None, Manifest | None]:
        """The first task that made the artifact with this digest, and the artifact's manifest.

        The first, for a later one took it over: from the cache, or from a release that is to be retrained. The manifest
        is None if no record has one whose content has that digest.
        """
        makers = sorted(self._makers[digest], key=lambda made: (bool(made.problem), made.started))
        for made in makers:
            for document in made.outputs():
                try:
                    manifest = parse_manifest(document)
                except ValueError:
                    continue
                if manifest.digest == digest:
                    return made, manifest
        return (makers[0] if makers else None), None
