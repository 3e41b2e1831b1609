"""An artifact as the record of its result in the store has it, found by its digest."""

import re
import time
from collections.abc import Mapping
from typing import Any

from components.core.errors import UserError
from components.core.store import Store, StoreError
from components.core.store.backends.objects import Objects
from pipelines.cluster.task_inputs import Producer

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{8,64})")
_SHOWN = 5

Artifact = Mapping[str, Any]


def find_artifact(objects: Objects, digest: str, producer: Producer | None, *, what: str) -> Artifact:
    """The artifact whose manifest has this digest (or 8 or more of its first digits); the newest record of it.

    Args:
        objects: the store's.
        digest: as the pipeline UI, the report and `trimtab lineage` show it; "" lists what there is.
        producer: whose outputs it is among; None: anybody's.
        what: the input, for messages.

    Raises:
        UserError: no digest, none in the store, or several.
    """
    match = _DIGEST.fullmatch(digest)
    made = sorted(_made(objects, producer), key=lambda found: -found[0])
    if not match:
        given = f"{digest!r} is no digest (8 to 64 hex digits)" if digest else "its digest is missing"
        raise UserError(f"{what}: {given}; give --input NAME=DIGEST{_listed(made, producer)}")
    found = [artifact for _, artifact in made if _digest_of(artifact).startswith(match[1])]
    if not found:
        raise UserError(f"{what}: the store has no result with the digest {digest}{_listed(made, producer)}")
    if len(digests := dict.fromkeys(map(_digest_of, found))) > 1:
        raise UserError(f"{what}: {len(digests)} artifacts begin with {match[1]}: {', '.join(list(digests)[:_SHOWN])}")
    return found[0]


def _made(objects: Objects, producer: Producer | None) -> list[tuple[float, Artifact]]:
    """(time, artifact) of every record that can be read."""
    results, found = Store(objects).results, []
    stages = [producer.component] if producer else objects.folders("results")
    for stage in stages:
        for listed in objects.walk(f"results/{stage}"):
            try:
                record = results.load(stage, listed.key.rpartition("/")[2].removesuffix(".json"))
            except StoreError:
                continue
            for name, items in ((record or {}).get("output_artifacts") or {}).items():
                if producer is None or name == producer.output:
                    found += [(float((record or {}).get("saved", 0.0)), item) for item in items if _digest_of(item)]
    return found


def _digest_of(artifact: Artifact) -> str:
    return str((artifact.get("metadata") or {}).get("digest", ""))


def _listed(made: list[tuple[float, Artifact]], producer: Producer | None) -> str:
    if not made:
        said = f"no result of {producer.component}" if producer else "no results"
        return f" (the store has {said} yet: run the pipeline first)"
    newest: dict[str, float] = {}
    for saved, artifact in made:
        newest.setdefault(_digest_of(artifact), saved)
    shown = [f"{digest[:12]} of {_day(saved)}" for digest, saved in list(newest.items())[:_SHOWN]]
    return f" (newest of {producer.component if producer else 'all'}: {', '.join(shown)})"


def _day(saved: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(saved))
