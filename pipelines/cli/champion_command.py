"""`trimtab champion`, `trimtab promote` and `trimtab rollback`."""

import getpass
import os
import socket

from components.core.errors import UserError
from components.core.store import Champion, RefConflict, Store, open_store
from components.core.store.errors import Damaged
from pipelines.runner.records.logs import printable
from pipelines.runner.run import home_folder


def show_champion(ref: str, store: str) -> None:
    """Prints the champion and its history, latest first."""
    opened = _store(store)
    champion = _read(opened, ref)
    if champion is None:
        raise UserError(
            f"there is no champion {ref!r} yet in the store {opened.uri}; promote a release: trimtab promote "
            "NAME/VERSION"
        )
    print(printable(champion.step.release))
    for step in reversed(champion.history):
        by = f"{step.who}, run {step.run}" if step.run else step.who
        print(printable(f"  {step.when}  {step.action} {step.release}  by {by}: {step.why}"))


def promote(release: str, *, why: str, ref: str, store: str) -> None:
    """Promotes a release without comparing it with the champion; `trimtab run retrain` compares first."""
    opened = _store(store)
    before = _read(opened, ref)
    name, version = find_release(release, opened.releases.list())
    try:
        champion = opened.champions.promote(name, version, who=who(), why=why, ref=ref)
    except RefConflict:
        raise _overtaken(opened, ref) from None
    if before is not None and champion.state == before.state:
        print(f"{champion.step.release} is the champion already; nothing was moved")
        return
    _say(champion, before)


def roll_back(*, to: str, why: str, ref: str, store: str) -> None:
    """Makes an earlier champion the champion again."""
    opened = _store(store)
    before = _read(opened, ref)
    target = "/".join(find_release(to, opened.releases.list())) if to else ""
    try:
        champion = opened.champions.roll_back(who=who(), why=why, to=target, ref=ref)
    except RefConflict:
        raise _overtaken(opened, ref) from None
    _say(champion, before)


def find_release(text: str, known: list[tuple[str, str]]) -> tuple[str, str]:
    """(name, version) of `NAME/VERSION`, or of a name or version that identifies one release.

    Raises:
        UserError: no release or several match; lists the known ones.
    """
    found = [(name, version) for name, version in known if text in (f"{name}/{version}", name, version)]
    if len(found) == 1:
        return found[0]
    if not known:
        raise UserError(
            f"there is no release {text!r}: the store has no releases yet; make one with trimtab run, or give another "
            "--store"
        )
    shown = ", ".join(f"{name}/{version}" for name, version in (found or known)[:10])
    problem = f"{len(found)} releases are called {text!r}" if found else f"there is no release {text!r}"
    raise UserError(f"{problem}; give one as NAME/VERSION: {shown}")


def who() -> str:
    """Who acts: `$TRIMTAB_USER`, else user and machine."""
    named = os.environ.get("TRIMTAB_USER", "").strip()
    if named:
        return named
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's numeric user has no name
        user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _store(uri: str) -> Store:
    return open_store(uri or os.environ.get("TRIMTAB_STORE") or str(home_folder() / "store"))


def _read(store: Store, ref: str) -> Champion | None:
    try:
        return store.champions.read(ref)
    except Damaged as error:
        raise UserError(str(error)) from None


def _overtaken(store: Store, ref: str) -> UserError:
    champion = _read(store, ref)
    now = f"{champion.step.release}, by {champion.step.who}" if champion else "another"
    return UserError(f"somebody else moved the champion at the same moment, to {now}; look at it and decide again")


def _say(champion: Champion, before: Champion | None) -> None:
    print(f"champion: {before.step.release if before else 'none'} -> {champion.step.release}")
