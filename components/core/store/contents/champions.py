"""Which release is the champion: a ref that carries its own history."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from components.core.errors import UserError
from components.core.store.backends.objects import Objects
from components.core.store.contents.refs import Ref, Refs
from components.core.store.contents.releases import Releases
from components.core.store.errors import Damaged, NotFound

CHAMPION = "champion"
PROMOTED, ROLLED_BACK = "promoted", "rolled back"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One change of the champion: which release became champion, how, by whom, when (ISO 8601, UTC) and why.

    `action` is "promoted" or "rolled back"; `run` is the run that did it, empty for a person at a command line.
    """

    action: str
    name: str
    version: str
    who: str
    when: str
    why: str
    run: str = ""

    @property
    def release(self) -> str:
        """`name/version`"""
        return f"{self.name}/{self.version}"


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The champion, and every step that led there, oldest first. `state` names this very state of the ref."""

    ref: str
    history: tuple[Step, ...]
    state: str

    @property
    def step(self) -> Step:
        """The step that made the present release the champion."""
        return self.history[-1]

    @property
    def line(self) -> list[str]:
        """The releases that a rollback can return to, oldest first, the champion last.

        A rollback takes away what came after its target, so that a second one goes further back, and does not return
        to the release that the first one left.
        """
        line: list[str] = []
        for step in self.history:
            if step.action == ROLLED_BACK:
                while line and line[-1] != step.release:
                    line.pop()
            if not line or line[-1] != step.release:
                line.append(step.release)
        return line


class Champions:
    """The champion of each ref. Compare-and-swap: pointer and history are one object and move together.

    Of two who promote from one state, one wins and the other gets `RefConflict`; a writer that is killed has moved
    both or nothing.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._refs = Refs(objects)
        self._releases = Releases(objects)

    def read(self, ref: str = CHAMPION) -> Champion | None:
        """The champion now, or None if there has never been one. `Damaged` if the ref is no champion's."""
        found = self._refs.read(ref)
        return None if found is None else self._parse(found)

    def promote(
        self,
        name: str,
        version: str,
        *,
        who: str,
        why: str,
        ref: str = CHAMPION,
        state: str | None = None,
        run: str = "",
    ) -> Champion:
        """Atomic: promotes a whole release. One that is the champion already stays so, without a step.

        Args:
            name: of the release.
            version: of the release.
            who: for the history.
            why: for the history; a text.
            ref: the pointer's name.
            state: `Champion.state` of the champion that the release was compared with, "" if there was none; None takes
                the champion as it is now.
            run: the run that promotes. A retry of the same run finds its own step and adds no second one.

        Raises:
            UserError: no such release, or one that is not whole; a `why` or `who` without a word.
            RefConflict: another was promoted since `state`.
        """
        self.check_whole(name, version)
        now = self.read(ref)
        if now is not None and now.step.release == f"{name}/{version}":
            mine = bool(run) and now.step.run == run
            if mine or state is None or state == now.state:
                return now
        step = _step(PROMOTED, name, version, who=who, why=why, run=run)
        return self._move(ref, now, step, state)

    def roll_back(self, *, who: str, why: str, to: str = "", ref: str = CHAMPION) -> Champion:
        """Atomic: promotes an earlier champion again, by default the one before.

        Args:
            who: for the history.
            why: for the history; a text.
            to: `name/version` of an earlier champion.
            ref: the pointer's name.

        Raises:
            UserError: there is no champion, none before it, `to` never was one, or the release is not whole any more.
            RefConflict: somebody else moved the champion at the same moment.
        """
        now = self.read(ref)
        if now is None:
            raise UserError(f"there is no champion to roll back: the ref {ref!r} does not exist")
        earlier = now.line[:-1]
        if not earlier:
            raise UserError(
                f"{now.step.release} is the first champion, so there is none to go back to; trimtab promote makes "
                "another release the champion"
            )
        target = to or earlier[-1]
        if target not in earlier:
            raise UserError(f"{target} was not champion before {now.step.release}; earlier ones: {', '.join(earlier)}")
        name, _, version = target.partition("/")
        self.check_whole(name, version)
        return self._move(ref, now, _step(ROLLED_BACK, name, version, who=who, why=why, run=""), None)

    def check_whole(self, name: str, version: str) -> None:
        """UserError unless the release is there and every file of it has the sha256 that its marker says."""
        try:
            self._releases.verify(name, version)
        except (NotFound, Damaged) as error:
            raise UserError(f"{name}/{version} is not a complete release: {error}") from error

    def _move(self, ref: str, now: Champion | None, step: Step, state: str | None) -> Champion:
        # Whoever compared with an older champion must not overwrite a newer one, even if it was read a moment ago.
        etag = (now.state if now else "") if state is None else state
        history = [*(now.history if now else ()), step]
        value = {"name": step.name, "version": step.version, "history": [asdict(one) for one in history]}
        expected = Ref(name=ref, value={}, etag=etag) if etag else None
        return self._parse(self._refs.move(ref, value, expected=expected))

    def _parse(self, found: Ref) -> Champion:
        steps = found.value.get("history")
        try:
            history = tuple(Step(**step) for step in steps or ())
        except TypeError:
            history = ()
        if not history:
            raise Damaged(f"{self._objects.address(f'refs/{found.name}.json')} is damaged: it holds no champion")
        return Champion(ref=found.name, history=history, state=found.etag)


def _step(action: str, name: str, version: str, *, who: str, why: str, run: str) -> Step:
    words: Mapping[str, Any] = {"who": " ".join(who.split()), "why": " ".join(why.split())}
    for field, text in words.items():
        if not text:
            raise UserError(f"{field} must not be empty; it is kept in the champion's history")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Step(action=action, name=name, version=version, when=when, run=run, **words)
