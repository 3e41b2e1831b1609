"""Sentence pairs of LibreOffice, English to Brazilian Portuguese, from Debian's packages, as files of lines.

    python tests/benchmarks/libreoffice.py --folder FOLDER

Fetches the interface's catalogs and the help in both languages into FOLDER (6 MB, MPL-2.0; `apt-get download`) and
writes FOLDER/pairs/{ui,help}.{en,pt_BR}, a data set of translation. Paragraphs of the help belong together by page and
id; variants for another system, which a reader does not see, are left out.
"""

import argparse
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from components.core.tasks.translation.cleaning import normalized
from components.core.tasks.translation.gettext_catalogs import catalog_pairs

INTERFACE, HELP = "libreoffice-l10n-pt-br", ("libreoffice-help-en-us", "libreoffice-help-pt-br")
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


def unpacked(folder: Path, package: str) -> Path:
    """The Debian package's files below the folder; fetched once."""
    place = folder / package
    if not place.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        if not list(folder.glob(f"{package}_*.deb")):
            subprocess.run(["apt-get", "download", package], cwd=folder, check=True)
        subprocess.run(["dpkg-deb", "-x", str(next(folder.glob(f"{package}_*.deb"))), str(place)], check=True)
    return place


class _Paragraphs(HTMLParser):
    """Texts of the elements with an id of a paragraph or heading, without what is hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._open: list[tuple[str, bool]] = []
        self._id, self._depth, self._parts = "", 0, list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _VOID:
            return
        given = dict(attrs)
        hidden = given.get("hidden") is not None or bool(self._open and self._open[-1][1])
        self._open.append((tag, hidden))
        name = given.get("id") or ""
        if not self._id and name.startswith(("par_", "hd_")):
            self._id, self._depth, self._parts = name, len(self._open), []

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open[-1][0] != tag and any(one == tag for one, _ in self._open):
            self._open.pop()
        if self._open and self._open[-1][0] == tag:
            self._open.pop()
        if self._id and len(self._open) < self._depth:
            self.found.setdefault(self._id, normalized("".join(self._parts)))
            self._id = ""

    def handle_data(self, data: str) -> None:
        if self._id and not (self._open and self._open[-1][1]):
            self._parts.append(data)


def interface_pairs(folder: Path) -> Iterator[tuple[str, str]]:
    """Texts of the interface that are translated."""
    for path in sorted(unpacked(folder, INTERFACE).rglob("*.mo")):
        for pair in catalog_pairs(path):
            if pair.source and pair.target:
                yield normalized(pair.source), normalized(pair.target)


def help_pairs(folder: Path) -> Iterator[tuple[str, str]]:
    """Paragraphs of the help with the same page and id in both languages."""
    english, portuguese = (
        next(unpacked(folder, package).rglob(f"help/{code}"))
        for package, code in zip(HELP, ("en-US", "pt-BR"), strict=True)
    )
    for path in sorted(english.rglob("*.html")):
        other = portuguese / path.relative_to(english)
        if not other.is_file():
            continue
        ours, theirs = _paragraphs(path), _paragraphs(other)
        yield from ((text, theirs[name]) for name, text in ours.items() if text and theirs.get(name))


def _paragraphs(path: Path) -> dict[str, str]:
    parser = _Paragraphs()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser.found


def written(folder: Path) -> Path:
    """The folder of the four files of lines."""
    place = folder / "pairs"
    place.mkdir(parents=True, exist_ok=True)
    for name, pairs in (("ui", interface_pairs(folder)), ("help", help_pairs(folder))):
        listed = list(dict.fromkeys(pairs))
        for side, code in enumerate(("en", "pt_BR")):
            lines = "".join(f"{pair[side]}\n" for pair in listed)
            (place / f"{name}.{code}").write_text(lines, encoding="utf-8", newline="\n")
        print(f"{name}: {len(listed):,} pairs")
    return place


def main() -> None:
    """Writes the files and says how many pairs they have."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--folder", type=Path, required=True)
    print(written(asked.parse_args().folder))


if __name__ == "__main__":
    main()
