"""The first rung of a race: all students measured after a short training, and how the time was spent."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.core.artifacts.manifest import Manifest, read_document
from components.core.artifacts.several import unpacked
from components.core.evaluation.parsing import read_fields
from components.core.evaluation.stage_documents import Race
from components.core.recipe import CONTROL, Recipe

if TYPE_CHECKING:
    from components.core.store import Store

_NAMES = {"onnx": "candidate", "model": "model", "evaluation": "evaluation"}


class FirstRung:
    """The students of the first rung, as the stage halve has packed them.

    Raises:
        UserError: race.json of the artifact does not say what is read of it.
    """

    def __init__(self, rung: Manifest, store: "Store") -> None:
        self._rung = rung
        self._document: Mapping[str, Any] = read_document(rung, "race.json", store)
        read_fields(Race, self._document, "race.json")

    @property
    def recipes(self) -> list[Recipe]:
        """Of its students, in order."""
        return [Recipe.from_json(one["recipe"]) for one in self._document["students"]]

    def manifests(self, kind: str) -> list[Manifest]:
        """The ONNX models, networks or evaluations of its students, in the same order."""
        return [unpacked(self._rung, f"{number}/{_NAMES[kind]}") for number in range(len(self.recipes))]

    def told(self, *, finalists: int, now: float, chosen: Recipe) -> dict[str, Any]:
        """The race for decision.json: the rung of each recipe, why it was stopped, and the time of each step.

        Args:
            finalists: recipes of the second rung, which stand before those of the first.
            now: the end of the second rung, in seconds of Unix time.
            chosen: the recipe that is released.
        """
        document, stopped = self._document, [one["stopped"] for one in self._document["students"]]
        steps = [
            {**step, "real": now - document["at"]} if step["name"] == "second rung" else step
            for step in document["steps"]
        ]
        return {
            "rungs": [2] * finalists + [1] * len(stopped),
            "stopped": [""] * finalists + stopped,
            "minutes": document["minutes"],
            "more_epochs": document["more_epochs"],
            "control": f"{document['control']}{_outcome(self.recipes, chosen)}",
            "steps": steps,
        }


def _outcome(recipes: Sequence[Recipe], chosen: Recipe) -> str:
    if CONTROL in chosen.more:
        return f" It won: {chosen.name} is released, since nothing that was made of the selected network is better."
    return " It did not win." if any(CONTROL in one.more for one in recipes) else ""
