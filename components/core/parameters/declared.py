"""The shared parameters by name, and the check that a stage's configuration makes by them."""

from collections.abc import Mapping
from typing import Any

from components.core.parameters.every_task import COMMON, RELEASE
from components.core.parameters.given_network import GIVEN_NETWORK
from components.core.parameters.images import IMAGES
from components.core.parameters.parameter import Parameter
from components.core.parameters.race import RACE
from components.core.parameters.retraining import RETRAIN
from components.core.parameters.rules import check_between
from components.core.parameters.sequences import SEQUENCES

DECLARED: Mapping[str, Parameter] = {
    parameter.name: parameter for parameter in (*COMMON, *IMAGES, *SEQUENCES, *RELEASE, *RETRAIN, *GIVEN_NETWORK, *RACE)
}  # fmt: skip
"""The parameters of the groups. A task may change a default; the rules are these."""


def check_declared(values: Mapping[str, Any], **called: str) -> None:
    """Checks a stage's values by the rules of the parameters that they are, each alone and then between them.

    Args:
        values: name in the stage → value; what is not declared is not checked here.
        called: name in the stage → name of the declared parameter, where the two differ. Rules between parameters are
            those between the stage's own names.

    Raises:
        UserError: names the value, as the stage calls it, and what would work.
    """
    for name, value in values.items():
        if parameter := DECLARED.get(called.get(name, name)):
            parameter.check(value, called=name)
    check_between({name: value for name, value in values.items() if name in DECLARED})
