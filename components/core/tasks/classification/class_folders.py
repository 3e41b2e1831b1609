"""A folder with one sub-folder of images per class."""

import posixpath
from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from components.core.data.ingestion.folders import ClassLayout, FolderTree
from components.core.data.ingestion.image_files import is_image_name, not_read
from components.core.data.ingestion.items import Item, Rejection
from components.core.data.ingestion.labels import class_name
from components.core.data.ingestion.locations import Location
from components.core.data.ingestion.table_source import reader

_LISTED = 6


class ClassFolders:
    """One sub-folder per class, images at any depth below it. An image outside of all class folders is unlabelled."""

    kind = "folder"
    colours: Mapping[str, tuple[int, int, int]] = MappingProxyType({})

    def __init__(self, location: Location, tree: FolderTree, layout: ClassLayout) -> None:
        self.classes: list[str] = []
        self.split_from = layout.split_from
        self._location, self._tree, self._layout = location, tree, layout

    def labels(self) -> Iterator[str | None]:
        """Each class once per split."""
        for root in self._layout.roots:
            yield from map(class_name, self._tree.folders(root))

    def items(self) -> Iterator[Item]:
        files: Counter[str] = Counter()
        for file in self._location.walk():
            label, split = self._layout.place(file.name)
            for root in self._layout.roots:
                if label and file.name.startswith(posixpath.join(root, label) + "/"):
                    files[posixpath.join(root, label)] += 1
            yield Item(
                name=file.name,
                label=None if label is None else class_name(label),
                size=file.size,
                read=reader(self._location, file.name),
                rejection=not_read(file.name),
                split=split,
                unsure=not is_image_name(file.name),
            )
        for root in self._layout.roots:
            inside = self._inside(root)
            for name in inside.folders():
                if not files[posixpath.join(root, name)]:
                    rejection = Rejection("empty folder", "the folder holds no file; remove it if it is no class")
                    shown = f"{posixpath.join(root, name)}/"
                    yield Item(name=shown, label=class_name(name), read=lambda limit: b"", rejection=rejection)

    def _inside(self, root: str) -> Location:
        location = self._location
        for part in root.split("/") if root else []:
            location = location.folder(part)
        return location

    def slice_values(self) -> Iterator[tuple[str | None, ...]]:
        """None: a folder has no columns."""
        return iter(())

    def referenced(self) -> Iterator[str]:
        """None: all files are in the folder."""
        return iter(())

    def facts(self) -> dict[str, str]:
        """Where the classes are, if they are not directly below, and folders in them that might be classes too."""
        inside = [root for root, split in self._layout.roots.items() if root and not split]
        deeper = [
            f"{posixpath.join(root, name, one)}"
            for root in self._layout.roots
            for name in self._tree.folders(root)
            for one in self._tree.folders(posixpath.join(root, name))
            if not self._tree.images[posixpath.join(root, name)] and not self._layout.below
        ]
        more = ", …" if len(deeper) > _LISTED else ""
        return {
            **({"class folders in": inside[0]} if inside else {}),
            **({"folders inside of classes, not told apart": ", ".join(deeper[:_LISTED]) + more} if deeper else {}),
        }
