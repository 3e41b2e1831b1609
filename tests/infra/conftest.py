"""The rendered manifests, once a session."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from manifests.objects import EXTRAS, INFRA, OVERLAYS, Object, render


@pytest.fixture(scope="session")
def rendered() -> dict[str, list[Object]]:
    """Every overlay, and every folder that is applied beside one, by name."""
    overlays = {name: render(INFRA / "overlays" / name) for name in OVERLAYS}
    return overlays | {name: render(INFRA / name) for name in EXTRAS}


@pytest.fixture
def installation(rendered: dict[str, list[Object]]) -> Callable[[str], list[Object]]:
    """Everything that is applied with an overlay, as a copy to break."""

    def of(overlay: str) -> list[Object]:
        return copy.deepcopy(rendered[overlay] + [obj for name in EXTRAS for obj in rendered[name]])

    return of
