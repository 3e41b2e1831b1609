"""The parameters of the pipelines, each declared once: type, default, rule, explanation, and its place on the form.

Knows no stage, no task and neither torch nor kfp. A task composes its parameters from the groups here and adds its own
(`components/core/tasks/TASK/parameters.py`).
"""

from components.core.parameters.declared import DECLARED, check_declared
from components.core.parameters.every_task import COMMON, RELEASE
from components.core.parameters.form import ADVANCED, MOST_FIELDS, Form
from components.core.parameters.given_network import GIVEN_NETWORK
from components.core.parameters.images import IMAGES
from components.core.parameters.parameter import Parameter, near, with_defaults
from components.core.parameters.race import PLANNED, RACE, TIME_LIMIT
from components.core.parameters.retraining import RETRAIN
from components.core.parameters.rules import NO_LIMIT, Range, check_between, limit
from components.core.parameters.sequences import SEQUENCES

__all__ = [
    "ADVANCED",
    "COMMON",
    "DECLARED",
    "GIVEN_NETWORK",
    "IMAGES",
    "MOST_FIELDS",
    "NO_LIMIT",
    "PLANNED",
    "RACE",
    "RELEASE",
    "RETRAIN",
    "SEQUENCES",
    "TIME_LIMIT",
    "Form",
    "Parameter",
    "Range",
    "check_between",
    "check_declared",
    "limit",
    "near",
    "with_defaults",
]
