"""One link of the chain, and the tree that they make."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Link:
    """Something that the release was made of.

    Attributes:
        title: what it was to what was made of it: `student`, `dataset`, `raw data`.
        kind: `release`, the kind of an artifact's manifest, `raw data` or `pretrained weights`.
        digest: what names its content.
        made_by: the task that made it, as `run: task`; "" if nothing did.
        problems: what is broken, one line each; none means that it was verified.
        recorded_only: it is outside of the store, so its digest is known and its bytes are not here to be verified.
        repeated: what it was made of is shown where it was met first.
        facts: what it says of itself.
        inputs: what it was made of.
    """

    title: str
    kind: str
    digest: str
    made_by: str = ""
    problems: list[str] = field(default_factory=list)
    recorded_only: bool = False
    repeated: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    inputs: list["Link"] = field(default_factory=list)

    def all(self) -> Iterator["Link"]:
        """This link and all that it was made of."""
        yield self
        for link in self.inputs:
            yield from link.all()

    @property
    def is_whole(self) -> bool:
        """Whether no link from here on is broken."""
        return not any(link.problems for link in self.all())

    def to_json(self) -> dict[str, Any]:
        """For programs; `state` is `verified`, `recorded` or `broken`."""
        return {
            "title": self.title,
            "kind": self.kind,
            "digest": self.digest,
            "made_by": self.made_by,
            "state": self.state,
            "problems": self.problems,
            "repeated": self.repeated,
            "facts": self.facts,
            "inputs": [link.to_json() for link in self.inputs],
        }

    @property
    def state(self) -> str:
        """`broken`, `recorded` or `verified`."""
        return "broken" if self.problems else "recorded" if self.recorded_only else "verified"
