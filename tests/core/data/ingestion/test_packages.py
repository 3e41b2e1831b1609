"""Files of installed packages as a place of data."""

from importlib.metadata import distribution
from itertools import islice
from pathlib import Path

import pytest

from components.core.data.ingestion.locations import PACKAGES, UnreadableError, open_location
from components.core.data.ingestion.sources import display_name
from components.core.errors import UserError


def test_files_are_those_that_the_installer_recorded_with_their_digests(tmp_path: Path) -> None:
    location = open_location("packages:pytest, pluggy")
    names = {file.name for file in location.walk()}
    assert {"pytest/__init__.py", "pluggy/__init__.py"} <= names
    assert not [name for name in names if name.endswith(".pyc") or ".." in name]
    file = location.find("pluggy/__init__.py")
    recorded = next(one for one in distribution("pluggy").files if str(one) == file.name)
    assert (file.stamp, file.size) == (recorded.hash.value, recorded.size)
    content = location.read(file.name, None)
    assert len(content) == file.size
    assert location.fetch(file.name, tmp_path).read_bytes() == content
    assert location.read(file.name, 10) == content[:11]
    assert "pluggy" in location.folders()
    below = {one.name for one in islice(location.folder("pluggy").walk(), 1000)}
    assert "__init__.py" in below
    with pytest.raises(UnreadableError):
        location.find("pluggy/none.py")


def test_a_package_is_named_as_it_is_given_and_a_missing_one_is_refused() -> None:
    assert display_name("packages:pluggy") == "packages:pluggy"
    with pytest.raises(UserError, match="the package 'no-such-one' is not installed; pip install it first"):
        open_location(f"{PACKAGES}pluggy,no-such-one")
    with pytest.raises(UserError, match="names no package; expected packages:NAME,NAME"):
        open_location(f"{PACKAGES} , ")
