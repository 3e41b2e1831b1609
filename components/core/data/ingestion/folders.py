"""Layout of an image folder, found in one walk: which folders are classes, splits or only wrappers.

Names mislead (a class may be called "train"), so that structure decides where it can: splits hold the same folders.
"""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from components.core.data.ingestion.image_files import IMAGE_SUFFIXES, may_be_image
from components.core.data.ingestion.locations import Location
from components.core.data.ingestion.splits import given_splits, split_roles
from components.core.errors import UserError

_FEW_IMAGES = 3
_LISTED = 6


class FolderTree:
    """Folders of a location with the number of images in them; files themselves are not kept.

    Attributes:
        images: images directly in a folder, by its path without a slash at the end ("" is the location itself).
        tables: names of the files with one of `table_suffixes`.
        num_files: all files.
        unsure: no file has an image's suffix; `images` counts those that may be images all the same.
    """

    def __init__(self, location: Location, table_suffixes: Sequence[str]) -> None:
        self.images: Counter[str] = Counter()
        self.tables: list[str] = []
        self.num_files = 0
        self._below: Counter[str] = Counter()
        self._folders: defaultdict[str, set[str]] = defaultdict(set)
        unsure: Counter[str] = Counter()
        for file in location.walk():
            self.num_files += 1
            folder, name = posixpath.split(file.name)
            if name.lower().endswith(IMAGE_SUFFIXES):
                self.images[folder] += 1
            elif name.lower().endswith(tuple(table_suffixes)):
                self.tables.append(file.name)
            elif may_be_image(name):
                unsure[folder] += 1
            self._add_folder(folder)
        # A README without a suffix makes no class, unless all files are without.
        self.unsure = not self.images
        self.images = self.images or unsure
        for folder, count in self.images.items():
            self._below.update({above: count for above in _and_above(folder)})

    def _add_folder(self, folder: str) -> None:
        while folder:
            above, name = posixpath.split(folder)
            if name in self._folders[above]:
                return
            self._folders[above].add(name)
            folder = above

    def num_images(self, folder: str = "") -> int:
        """Images in the folder, at any depth."""
        return self._below[folder]

    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders directly below that hold images at any depth, sorted."""
        return sorted(name for name in self._folders[folder] if self._below[posixpath.join(folder, name)])


@dataclass(frozen=True, kw_only=True)
class ClassLayout:
    """Where the class folders are.

    Attributes:
        roots: folders (paths, "" is the location itself) whose sub-folders are classes, with the split of each or None.
        below: names of the folders inside of each class that are splits, with the split of each.
    """

    roots: Mapping[str, str | None]
    below: Mapping[str, str] = field(default_factory=dict)

    @property
    def split_from(self) -> str:
        """For people, which folders give the split; empty where none do."""
        names = [posixpath.basename(root) or root for root, split in self.roots.items() if split] or list(self.below)
        return f"the folders {', '.join(names)}" if names else ""

    def place(self, name: str) -> tuple[str | None, str | None]:
        """Class and split of the file `name`; the class is None outside of all class folders."""
        for root, split in self.roots.items():
            if root and not name.startswith(f"{root}/"):
                continue
            parts = name.removeprefix(f"{root}/" if root else "").split("/")
            if self.below:
                split = self.below.get(parts[1]) if len(parts) > 2 else None
            return (parts[0] if len(parts) > 1 else None), split
        return None, None


def find_class_layout(tree: FolderTree, dataset: str) -> ClassLayout:
    """The layout of a folder with images.

    Raises:
        UserError: it cannot be told what the classes are; says what there is and what would work.
    """
    path = ""
    while True:
        names = tree.folders(path)
        inside = {name: posixpath.join(path, name) for name in names}
        if roles := given_splits(names) or _splits_beside_others(tree, inside):
            return _split_first(tree, {inside[name]: role for name, role in roles.items()}, dataset)
        nested = {name: folder for name, folder in inside.items() if not tree.images[folder]}
        if len(names) > 1 and len(nested) == len(names) and (below := _shared_splits(tree, nested.values())):
            return ClassLayout(roots={path: None}, below=below)
        if 2 * len(nested) > len(names):
            _refuse_same_folders(tree, list(nested), nested.values(), dataset)
        # A zip's own folder, a lone train/: there is one way down.
        only = inside[names[0]] if len(names) == 1 else ""
        if not only or tree.images[only] or not tree.folders(only):
            break
        path = only
    _refuse_one_inside(tree, inside, dataset)
    return ClassLayout(roots={path: None})


def refuse_without_classes(tree: FolderTree, dataset: str) -> None:
    """UserError where a table beside images would be the data set, or where the images lie in no folder."""
    if tree.tables:
        raise UserError(
            f"dataset {dataset} holds images without class folders, and {_listed('table', sorted(tree.tables))}; "
            "to use a table that names images and labels, give it as the dataset: "
            f"{posixpath.join(dataset, sorted(tree.tables)[0])}"
        )
    what = "files of unknown kinds that may be images," if tree.unsure else "images"
    raise UserError(f"dataset {dataset} holds {what} but no class folders: put them in one sub-folder per class")


def _splits_beside_others(tree: FolderTree, inside: Mapping[str, str]) -> Mapping[str, str]:
    """Folders of splits that hold the same folders, as no other one does: beside ``runs/``, ``docs/``, ``logs/``."""
    found = {name: set(tree.folders(folder)) for name, folder in inside.items() if not tree.images[folder]}
    roles = split_roles(name for name, folders in found.items() if len(folders) > 1)
    if len(set(roles.values())) < 2:
        return {}
    common = set.intersection(*(found[name] for name in roles))
    others = [folders for name, folders in found.items() if name not in roles]
    return {} if len(common) < 2 or any(common <= folders for folders in others) else roles


def _split_first(tree: FolderTree, roles: Mapping[str, str], dataset: str) -> ClassLayout:
    found = [set(tree.folders(folder)) for folder in roles]
    if not any(found):
        if not tree.tables:
            raise UserError(
                f"dataset {dataset} holds images in {', '.join(sorted(roles))}: these are splits, not classes; put the "
                "images of each into one sub-folder per class"
            )
        refuse_without_classes(tree, dataset)
    classes = {name for names in found if len(names) > 1 for name in names}
    roots = {folder: _descended(tree, folder, classes) for folder in roles}
    for folder, root in roots.items():
        _refuse_another_folder(tree, folder, root, sorted(classes), dataset)
    return ClassLayout(roots={roots[folder]: role for folder, role in roles.items()})


def _refuse_another_folder(tree: FolderTree, split: str, root: str, classes: Sequence[str], dataset: str) -> None:
    """``val/images/`` beside ``train/cats/`` and ``train/dogs/``: the labels of its images stand elsewhere."""
    names = tree.folders(root)
    if not classes or set(names) <= set(classes):
        return
    raise UserError(
        f"dataset {dataset}: {split} has the folder {names[0]}, but other splits have the classes "
        f"{', '.join(classes[:_LISTED])}; sort its images into class folders, or give a table with path and label"
    )


def _descended(tree: FolderTree, folder: str, classes: set[str]) -> str:
    """The folder itself, or the one inside it that holds the classes (``seg_train/seg_train``)."""
    while True:
        names = tree.folders(folder)
        if tree.images[folder] or len(names) != 1 or names[0] in classes:
            return folder
        inside = posixpath.join(folder, names[0])
        if not tree.folders(inside):
            return folder
        folder = inside


def _shared_splits(tree: FolderTree, folders: Iterable[str]) -> Mapping[str, str]:
    """The folders that all of these have, if they are splits: ``cats/train``, ``cats/test``, ``dogs/train``, …"""
    return given_splits(set.intersection(*(set(tree.folders(folder)) for folder in folders)))


def _refuse_same_folders(tree: FolderTree, names: Sequence[str], folders: Iterable[str], dataset: str) -> None:
    found = [set(tree.folders(folder)) for folder in folders]
    common, union = set.intersection(*found), set.union(*found)
    if len(found) < 2 or len(common) < 2 or 2 * len(common) < len(union):
        return
    raise UserError(
        f"dataset {dataset}: {_listed('folder', names)} hold the same sub-folders "
        f"({', '.join(sorted(common)[:_LISTED])}), so it is unclear which level names the classes. If the upper "
        "level names splits, rename the folders to train and test; if one of them is the data set, give that "
        "folder; or give a table with path and label"
    )


def _refuse_one_inside(tree: FolderTree, inside: Mapping[str, str], dataset: str) -> None:
    """A picture in ``assets/`` of a cloned repository makes no class beside ``data/cats`` and ``data/dogs``."""
    holders = [path for path in inside.values() if not tree.images[path] and len(tree.folders(path)) > 1]
    others = [path for path in inside.values() if path not in holders]
    if len(holders) != 1 or not others or any(tree.num_images(path) >= _FEW_IMAGES for path in others):
        return
    counts = ", ".join(f"{tree.num_images(path)} in {path}" for path in others)
    raise UserError(
        f"dataset {dataset} holds {tree.num_images(holders[0])} images in folders of {holders[0]} and {counts}; give "
        f"{posixpath.join(dataset, holders[0])} if its folders are the classes"
    )


def _listed(noun: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"the {noun}{'' if len(names) == 1 else 's'} {', '.join(names[:_LISTED])}{more}"


def _and_above(folder: str) -> list[str]:
    found = [folder]
    while folder:
        folder = posixpath.dirname(folder)
        found.append(folder)
    return found
