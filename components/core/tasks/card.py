"""A task's part of the model card, as Markdown; the rest of the card is the same for every task."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class CardText:
    """Parts of a card, in the order in which they stand there.

    Attributes:
        intro: what the network is, takes and gives.
        figures: of its parts, such as classes; stands below the figures of the whole.
        use: how to use the files without trimtab, with a program.
        limits: one sentence each.
        client: the program of `use`, which lies beside the model too; empty: there is none.
    """

    intro: str
    figures: str
    use: str
    limits: tuple[str, ...]
    client: str = ""


def pruned_words(provenance: Mapping[str, Any]) -> str:
    """How the network was pruned, to follow its name: "", ", pruned", ", 50 % of its weights zero"."""
    zeros = provenance.get("zero_weights")
    return (", pruned" if provenance["pruned"] else "") + (
        f", {100 * zeros:.0f} % of its weights zero" if zeros else ""
    )
