"""A folder with one sub-folder of images per class."""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from components.core.data.ingestion.items import Item, Rejection
from components.core.data.ingestion.locations import Location
from components.core.data.ingestion.sources import IMAGE_SUFFIXES, reader


class ClassFolders:
    """One sub-folder per class, images at any depth below it. An image outside of all class folders is unlabelled."""

    kind = "folder"
    colours: Mapping[str, tuple[int, int, int]] = MappingProxyType({})

    def __init__(self, location: Location, folders: Sequence[str]) -> None:
        self.classes: list[str] = []
        self._location, self._folders = location, folders

    def labels(self) -> Iterator[str | None]:
        """Each class once."""
        for name in self._folders:
            if any(file.name.lower().endswith(IMAGE_SUFFIXES) for file in self._location.folder(name).walk()):
                yield name

    def items(self) -> Iterator[Item]:
        for file in self._location.walk():
            label = file.name.partition("/")[0] if "/" in file.name else None
            suffix = posixpath.splitext(file.name)[1].lower()
            rejection = None
            if suffix not in IMAGE_SUFFIXES:
                rejection = Rejection("unsupported", f"files {suffix or 'without a suffix'} are not read")
            read = reader(self._location, file.name)
            yield Item(name=file.name, label=label, size=file.size, read=read, rejection=rejection)

    def slice_values(self) -> Iterator[tuple[str | None, ...]]:
        """None: a folder has no columns."""
        return iter(())

    def facts(self) -> dict[str, str]:
        return {}
