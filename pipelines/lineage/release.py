"""A release's own files: whether they are what its marker, its checksums and its version say."""

import hashlib
from typing import Any

from components.core.bundles.release_files import PROVENANCE, SUMS, serving_names
from components.core.json_documents import parse_json
from components.core.store import Damaged, NotFound, Store
from components.export.release import VERSION_DIGITS, release_digest


class ReleaseFiles:
    """The files of one release, read and checked.

    Attributes:
        problems: what is wrong, one line each.
        digests: file → sha256 of its bytes, for those that are whole.
        provenance: what provenance.json says; empty if it cannot be read.
    """

    def __init__(self, store: Store, name: str, version: str) -> None:
        self.problems: list[str] = []
        self.digests: dict[str, str] = {}
        self.provenance: dict[str, Any] = {}
        contents: dict[str, bytes] = {}
        for file in store.releases.files(name, version):
            try:
                contents[file] = store.releases.read(name, version, file)
            except (Damaged, NotFound) as error:
                self.problems.append(f"{file}: {error}")
        self.digests = {file: hashlib.sha256(data).hexdigest() for file, data in contents.items()}
        self._check_sums(contents)
        if release_digest(contents)[:VERSION_DIGITS] != version:
            self.problems.append("its version is not the digest of its serving files")
        self._read_provenance(contents)

    @property
    def served(self) -> list[str]:
        """The files that a server needs."""
        return serving_names(self.digests)

    @property
    def artifacts(self) -> dict[str, str]:
        """Title → digest of the manifest, of what it was made of."""
        found = self.provenance.get("artifacts")
        return {str(title): str(digest) for title, digest in found.items()} if isinstance(found, dict) else {}

    def _check_sums(self, contents: dict[str, bytes]) -> None:
        if SUMS not in contents:
            return
        lines = contents[SUMS].decode(errors="replace").splitlines()
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        for file, digest in self.digests.items():
            # What was added later, such as a signature, has no line, and needs none.
            if file != SUMS and file in sums and sums[file] != digest:
                self.problems.append(f"{SUMS} has another sha256 for {file}")
        for file in sorted(sums.keys() - self.digests.keys()):
            self.problems.append(f"{SUMS} lists {file}, which is not there or damaged")

    def _read_provenance(self, contents: dict[str, bytes]) -> None:
        try:
            found = parse_json(contents.get(PROVENANCE, b"{}"))
        except ValueError:
            found = {}
        self.provenance = found if isinstance(found, dict) else {}
        if not self.artifacts:
            self.problems.append(f"{PROVENANCE} does not say what it was made of")
