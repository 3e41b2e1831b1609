"""Names of the classes of masks, and which value or colour of a mask file is which: from a file beside the data.

``classes.txt``, ``labels.txt``, ``class_names.txt``
    a name per line, in the order of the mask's values from 0
``labelmap.txt``
    CVAT's lines ``name:red,green,blue::``
``classes.json``, ``palette.json``, ``labels.json``
    a list of names; or ``{"name": [r, g, b]}``, ``{"name": value}`` or ``{"value": "name"}``
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.core.data.ingestion.labels import check_lengths, class_name
from components.core.data.ingestion.locations import Location, UnreadableError, open_location
from components.core.errors import UserError
from components.core.tasks.segmentation.masks import MAX_CLASSES

FILE_NAMES = (
    "classes.json", "palette.json", "labels.json", "classes.txt", "labels.txt", "class_names.txt", "labelmap.txt",
)  # fmt: skip
"""Looked for beside the data, in this order."""

_MAX_BYTES = 1_000_000
_CVAT_LINE = re.compile(r"([^:]+):(\d+),(\d+),(\d+):.*")
_LABELME = {"_background_": "background"}

Colour = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class ClassList:
    """Declared classes; without names the values of the masks are the classes.

    Attributes:
        names: in the order of the class numbers.
        palette: colour of each class in RGB masks; None when no colours are known.
        numbers: class number of each value in grey and palette masks; None: the value is the number.

    Raises:
        UserError: one name twice, one colour or value twice, too many classes, or a name that is too long.
    """

    names: tuple[str, ...] = ()
    palette: tuple[Colour, ...] | None = None
    numbers: Mapping[int, int] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(map(class_name, self.names)))
        if len(self.names) > MAX_CLASSES:
            raise UserError(f"{len(self.names)} classes are declared; masks hold at most {MAX_CLASSES}")
        check_lengths(self.names, "the list of classes")
        _refuse_twice("class", list(self.names))
        _refuse_twice("colour", list(self.palette or ()))

    @property
    def colours(self) -> Mapping[str, Colour]:
        """The colour of each class, where the list has any; grey values that only number the classes are none."""
        if self.palette is None or self.numbers is not None:
            return {}
        return dict(zip(self.names, self.palette, strict=True))


def find_class_list(location: Location, classes_file: str = "") -> ClassList:
    """The list in `classes_file` (a path or ``s3://`` URI), else in the first of `FILE_NAMES` that the location has.

    Raises:
        UserError: the named file is not there, or a file does not hold a list of classes.
    """
    if classes_file:
        folder, _, name = classes_file.rpartition("/")
        try:
            return parse_class_list(name, open_location(folder or ".").read(name, _MAX_BYTES))
        except UnreadableError as error:
            raise UserError(f"classes_file {classes_file}: {error}") from error
    for name in FILE_NAMES:
        try:
            return parse_class_list(name, location.read(name, _MAX_BYTES))
        except UnreadableError:
            continue
    return ClassList()


def parse_class_list(name: str, data: bytes) -> ClassList:
    """The classes of a file; `name` decides the format and stands in messages.

    Raises:
        UserError: not such a list, with what was expected.
    """
    if len(data) > _MAX_BYTES:
        raise UserError(f"{name} is larger than {_MAX_BYTES // 10**6} MB, too large for a list of classes")
    try:
        text = data.decode("utf-8-sig")
        found = _from_json(json.loads(text)) if name.lower().endswith(".json") else _from_lines(text)
    except UserError:
        raise
    # Endless brackets and endless digits are further ways not to be JSON.
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{name} is not a list of classes: {' '.join(str(error).split())[:120]}") from error
    if not found.names:
        raise UserError(f"{name} names no classes")
    return found


def _from_lines(text: str) -> ClassList:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    matches = [_CVAT_LINE.fullmatch(line) for line in lines]
    if lines and all(matches):
        coloured = [match for match in matches if match]
        return _coloured({match[1]: [int(match[2]), int(match[3]), int(match[4])] for match in coloured})
    # labelme writes "__ignore__" for -1 first, which is no class.
    return ClassList(names=tuple(_LABELME.get(line, line) for line in lines if line != "__ignore__"))


def _from_json(document: Any) -> ClassList:
    if isinstance(document, list) and all(isinstance(name, str) for name in document):
        return ClassList(names=tuple(document))
    if not isinstance(document, dict):
        raise TypeError("expected a list of names, or an object of names and colours or values")
    if all(isinstance(colour, list) for colour in document.values()):
        return _coloured(document)
    if all(key.isascii() and key.isdigit() and isinstance(name, str) for key, name in document.items()):
        document = {name: int(key) for key, name in document.items()}
    if all(type(value) is int and value >= 0 for value in document.values()):
        ordered = sorted(document, key=lambda name: document[name])
        _refuse_twice("value", list(document.values()))
        numbers = {document[name]: number for number, name in enumerate(ordered)}
        consecutive = all(value == number for value, number in numbers.items())
        return ClassList(names=tuple(ordered), numbers=None if consecutive else numbers)
    raise TypeError('expected {"name": [red, green, blue]}, {"name": value} or {"value": "name"}')


def _coloured(colours: Mapping[str, Any]) -> ClassList:
    palette = []
    for name, colour in colours.items():
        if len(colour) != 3 or not all(type(channel) is int and 0 <= channel <= 255 for channel in colour):
            raise TypeError(f"colour of {name!r} must be three whole numbers in 0..255, got {colour!r}")
        palette.append((colour[0], colour[1], colour[2]))
    grey = all(red == green == blue for red, green, blue in palette)
    # A list of greys serves grey masks too: 0 and 255 for background and object.
    numbers = {colour[0]: number for number, colour in enumerate(palette)} if grey else None
    return ClassList(names=tuple(colours), palette=tuple(palette), numbers=numbers)


def _refuse_twice(what: str, values: list[Any]) -> None:
    seen = set()
    for value in values:
        if value in seen:
            raise UserError(f"{what} {value!r} is declared twice")
        seen.add(value)
