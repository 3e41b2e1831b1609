"""`packages_to_install`: what a lightweight component wants installed, and what of it is missing here."""

import contextlib
import importlib.metadata
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from components.core.errors import UserError

_PIP_INSTALL = re.compile(r"pip install ([^\n]*?)(?:&&|\n|$)")
_MOST_CHARACTERS = 20_000
"""Of one install's packages and options."""

_WITH_VALUE = ("--index-url", "--extra-index-url", "--trusted-host")
_WITHOUT_EFFECT = ("--quiet", "-q", "--no-warn-script-location", "--no-deps", "--pre", "--no-cache-dir")
"""Options that change nothing when all that is asked for is there already."""


@dataclass(frozen=True, kw_only=True)
class Install:
    """One `pip install`: its options, in order, and its requirements, sorted."""

    options: tuple[str, ...]
    requirements: tuple[str, ...]


def installs(command: Sequence[str], where: str) -> tuple[Install, ...]:
    """The installs that the SDK wrote into a lightweight component's command, but for kfp's own: kfp is here already.

    Raises:
        UserError: a `pip install` that cannot be read.
    """
    found = []
    for word in command:
        for match in _PIP_INSTALL.finditer(word):
            if len(match[1]) > _MOST_CHARACTERS:
                raise UserError(f"{where} holds a pip install of {len(match[1]):,} characters")
            try:
                install = _install(shlex.split(match[1]))
            except ValueError as error:
                raise UserError(f"{where} holds a pip install that cannot be read ({error}): {match[1]!r}") from None
            if install.requirements:
                found.append(install)
    return tuple(found)


def _install(words: list[str]) -> Install:
    options, requirements = [], []
    rest = iter(words)
    for word in rest:
        if word in _WITH_VALUE:
            options += [word, next(rest, "")]
        elif word.startswith("-"):
            options.append(word)
        else:
            requirements.append(word)
    names = [_name(word) for word in requirements]
    # typing-extensions comes along with kfp, for Pythons that are too old for this runner.
    left_out = ("kfp", "typing-extensions") if "kfp" in names else ()
    kept = [word for word, name in zip(requirements, names, strict=True) if name not in left_out]
    return Install(options=tuple(options), requirements=tuple(sorted(kept)))


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement.strip(), maxsplit=1)[0].lower()


def missing(wanted: Sequence[Install]) -> tuple[Install, ...]:
    """Those that this environment does not fulfil."""
    return tuple(
        install
        for install in wanted
        if any(not _is_harmless(option, install) for option in install.options)
        or any(unmet(requirement) for requirement in install.requirements)
    )


def _is_harmless(option: str, install: Install) -> bool:
    if option in _WITHOUT_EFFECT or option in _WITH_VALUE:
        return True
    at = install.options.index(option)
    return at > 0 and install.options[at - 1] in _WITH_VALUE


def unmet(requirement: str) -> str:
    """Why no installed distribution is known to fulfil the requirement; "" if one does."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        parsed = Requirement(requirement)
        if parsed.marker is not None and not parsed.marker.evaluate():
            return ""
        if parsed.url or parsed.extras:
            return "more than a name and a version"
        version = importlib.metadata.version(parsed.name)
    except InvalidRequirement:
        return "not a name and a version"
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
    return "" if parsed.specifier.contains(version, prereleases=True) else f"{version} is installed"


def fingerprint(wanted: Sequence[Install]) -> str:
    """The packages as text for a cache key: what was asked for, and the version of what is here already."""
    found = []
    for install in wanted:
        versions = [_version(requirement) for requirement in install.requirements]
        found.append([list(install.options), list(zip(install.requirements, versions, strict=True))])
    return json.dumps(found)


def _version(requirement: str) -> str:
    if unmet(requirement):
        return ""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(_name(requirement))
    return ""
