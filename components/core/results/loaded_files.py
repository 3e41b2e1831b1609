"""Which files of the package a stage may load: read from its source, without importing anything.

From the modules in the stage's folder, imports are followed as far as they stay in the package:

- wherever they stand, in functions too; what only a type checker sees (`if TYPE_CHECKING:`) does not count;
- a module's packages load with it, so their `__init__.py` count;
- a text that names a module of the package, or something in one (`components.prune.surgery:cut`, in quotes), counts as
  its import;
- of `LOADED_BY_NAME`, everything counts: which of it is loaded is known only when the stage runs;
- files that are not Python (a catalog, a template) count with the modules beside them, or else above them;
  documentation does not.

The source is searched and not parsed: Python's parser would take 0.3 s for the package, half of a cached run. To find
too much, such as an import in a docstring, at most loses a result; to find too little would keep a wrong one.
"""

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

LOADED_BY_NAME = ("core.tasks",)
"""Packages whose modules are loaded by a name that comes with the data."""

_NO_CODE = (".pyc", ".md")

_TEXT_LINE_ENDS_OR_COMMENT = re.compile(
    r'''("""(?:[^"\\]++|\\.|"(?!""))*+"""|"(?:[^"\\\n]++|\\.)*+"'''
    r"""|'''(?:[^'\\]++|\\.|'(?!''))*+'''|'(?:[^'\\\n]++|\\.)*+')"""
    r"|(\n)(?:[ \t]*+(?:#[^\n]*+)?\n)*+|#[^\n]*+",
    re.DOTALL,
)
_TYPES_ONLY = re.compile(r"^([ \t]*)if (?:typing\.)?TYPE_CHECKING:[ \t]*\n(?:\1[ \t]+.*\n|[ \t]*\n)*", re.MULTILINE)
_IMPORT = re.compile(
    r"(?:^|[:;])[ \t]*(?:from[ \t]+(?P<source>[.\w]+)[ \t]+import[ \t]*(?P<names>\([^)]*\)|[^\n;]*)"
    r"|import[ \t]+(?P<modules>[^\n;]*))",
    re.MULTILINE,
)


def loaded_files(folder: Path) -> list[str]:
    """The files that a stage may load, as sorted paths relative to the package.

    Args:
        folder: the stage's; all of it counts, with the folders inside. The folder above it is the package.
    """
    package = package_at(folder.parent)
    own = [path for path in package.files if path.startswith(f"{folder.name}/")]
    found, waiting = set(own), [path for path in own if path.endswith(".py")]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        found.add(path)
        found.update(package.beside[path.rpartition("/")[0]])
        new = package.imports(path) - seen
        seen |= new
        waiting.extend(new)
    return sorted(found)


@cache
def package_at(root: Path) -> "Package":
    """The package in a folder, as it is when it is first asked for."""
    return Package(root)


class Package:
    """The code and data files of a package.

    files: their paths relative to it. beside: folder of modules → data files there, or inside in folders without any.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = sorted(path.relative_to(root).as_posix() for path in code_files(root))
        self.beside: dict[str, list[str]] = defaultdict(list)
        self._modules: dict[str, str] = {}
        self._imports: dict[str, frozenset[str]] = {}
        self._sources: dict[str, str] = {}
        self._digests: dict[str, bytes] = {}
        for path in self.files:
            if path.endswith(".py"):
                name = path.removesuffix(".py").replace("/", ".")
                self._modules[name.removesuffix("__init__").removesuffix(".")] = path
        with_modules = {path.rpartition("/")[0] for path in self._modules.values()} | {""}
        for path in self.files:
            if not path.endswith(".py"):
                above = path.rpartition("/")[0]
                while above not in with_modules:
                    above = above.rpartition("/")[0]
                self.beside[above].append(path)
        self._texts = re.compile(rf"""(["'])({re.escape(root.name)}(?:\.\w+)+)(?::\w+)?\1""")

    def imports(self, path: str) -> frozenset[str]:
        """The files of the modules that a module names, with their packages."""
        if path not in self._imports:
            text = self._source(path)
            names = {*imported_names(text, [self.root.name, *path.split("/")[:-1]]), *self._named_in_texts(text)}
            inside = f"{self.root.name}."
            found = {file for name in names if f"{name}.".startswith(inside) for file in self._files_of(name)}
            self._imports[path] = frozenset(found)
        return self._imports[path]

    def digest(self, path: str) -> bytes:
        """sha256 of a file; of Python's without comments and empty lines."""
        if path not in self._digests:
            content = self._source(path).encode() if path.endswith(".py") else (self.root / path).read_bytes()
            self._digests[path] = hashlib.sha256(content).digest()
        return self._digests[path]

    def _source(self, path: str) -> str:
        if path not in self._sources:
            self._sources[path] = without_comments((self.root / path).read_text(encoding="utf-8"))
        return self._sources[path]

    def _named_in_texts(self, text: str) -> Iterator[str]:
        return (match[2] for match in self._texts.finditer(text))

    def _files_of(self, name: str) -> Iterator[str]:
        """The files that an import of a dotted name loads. Its last parts may be no modules, but names in one."""
        parts = name.split(".")[1:]
        for number in range(len(parts) + 1):
            module = ".".join(parts[:number])
            if module in self._modules:
                yield self._modules[module]
            if module in LOADED_BY_NAME:
                yield from (path for name, path in self._modules.items() if name.startswith(f"{module}."))


def code_files(folder: Path) -> Iterator[Path]:
    """The code and data files of a folder and of the folders inside; no documentation, nothing hidden."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
        for name in sorted(names):
            if not name.startswith(".") and not name.endswith(_NO_CODE):
                yield Path(place, name)


def without_comments(source: str) -> str:
    """Python source without comments and empty lines.

    For this package's own source, which Python 3.11 reads as well: later ones allow an f-string's quotes inside of it.
    """
    parts = _TEXT_LINE_ENDS_OR_COMMENT.sub(lambda match: match[1] or match[2] or "\0", f"\n{source}\n").split("\0")
    return "".join([*(part.rstrip(" \t") for part in parts[:-1]), parts[-1]]).strip("\n")


def imported_names(text: str, package: list[str]) -> Iterator[str]:
    """The dotted names that a source imports, and of `from x import y` both `x` and `x.y`.

    Args:
        text: the source, without comments.
        package: the parts of the name of the package that the module is in, for relative imports.
    """
    text = text.replace("\\\n", " ")
    if "TYPE_CHECKING" in text:
        text = _TYPES_ONLY.sub("", text + "\n")
    for match in _IMPORT.finditer(text):
        if match["modules"]:
            yield from re.findall(r"[\w.]+", match["modules"])
            continue
        source = match["source"].lstrip(".")
        level = len(match["source"]) - len(source)
        above = package[: len(package) - level + 1] if level else []
        source = ".".join([*above, *([source] if source else [])])
        yield source
        yield from (f"{source}.{name}" for name in re.findall(r"\w+", match["names"]))
