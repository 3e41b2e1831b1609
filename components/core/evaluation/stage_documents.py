"""Fields that stages read of the documents of other stages: which must be there, and of which type.

`parsing.read_fields` holds a document to one of these dataclasses: whoever may write to the store may write any other.
Fields that nobody reads are not here.
"""

from dataclasses import dataclass, field
from typing import Any

from components.core.split_part import SplitPart

_LONGEST_NAME = 300


def _check_names(*names: str) -> None:
    for name in names:
        if len(name) > _LONGEST_NAME or not name.isprintable():
            raise ValueError(f"{name[:_LONGEST_NAME]!r} is no short name")


@dataclass(frozen=True, kw_only=True)
class ReleaseName:
    """A release."""

    name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Images:
    """Rows of drift.json; ValueError for numbers that count none."""

    new: int
    reference: int
    moved_to_test: int

    def __post_init__(self) -> None:
        if self.reference < 1 or min(self.new, self.moved_to_test) < 0:
            raise ValueError("its images are not counts, or the champion's data have none")


@dataclass(frozen=True, kw_only=True)
class Classes:
    """Classes of drift.json that are others than the champion's; ValueError for what is no short name."""

    added: tuple[str, ...]
    gone: tuple[str, ...]
    reordered: bool

    def __post_init__(self) -> None:
        _check_names(*self.added, *self.gone)


@dataclass(frozen=True, kw_only=True)
class Quarantine:
    """Files of drift.json that cannot be used, and their share of what arrived."""

    new: int
    share: float


@dataclass(frozen=True, kw_only=True)
class LabelTest:
    """Label shift in drift.json."""

    distance: float
    p_value: float


@dataclass(frozen=True, kw_only=True)
class FeatureTest:
    """Feature drift in drift.json."""

    auc: float
    p_value: float


@dataclass(frozen=True, kw_only=True)
class Drift:
    """drift.json, for the decision; ValueError for what is no short name."""

    images: Images
    classes: Classes
    quarantine: Quarantine
    labels: LabelTest | None
    features: FeatureTest | None
    noun: str = "images"
    mixed: str = "labels"

    def __post_init__(self) -> None:
        _check_names(self.noun, self.mixed)


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """retraining.json, for the judgement."""

    champion: ReleaseName


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A side of a judgement."""

    value: float | None


@dataclass(frozen=True, kw_only=True)
class MeasuredChampion(Measured, ReleaseName):
    """The champion of a judgement."""


@dataclass(frozen=True, kw_only=True)
class JudgedMetric:
    """The metric of a judgement."""

    label: str
    percent: bool


@dataclass(frozen=True, kw_only=True)
class JudgedCheck:
    """A check of a judgement."""

    check: str
    allowed: float | None
    measured: float | None
    met: bool
    rows: int | None = None
    unit: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class JudgedAnchor:
    """An anchor of a judgement, and the change since."""

    title: str
    release: str
    deleted: str
    points: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class NewImages:
    """Rows of drift.json that are new."""

    new: int


@dataclass(frozen=True, kw_only=True)
class ShownDrift:
    """drift.json, for the card."""

    images: NewImages
    labels: LabelTest | None
    features: FeatureTest | None


@dataclass(frozen=True, kw_only=True)
class ShownRetraining:
    """retraining.json, for the card."""

    reason: str
    drift: ShownDrift


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """judgement.json, for the card of the release that it judges."""

    promote: bool
    reason: str
    rows: int
    metric: JudgedMetric
    champion: MeasuredChampion
    challenger: Measured
    checks: tuple[JudgedCheck, ...]
    retraining: ShownRetraining
    anchors: tuple[JudgedAnchor, ...] | None = None
    test_uses: int | None = None
    test_part: SplitPart | None = None


@dataclass(frozen=True, kw_only=True)
class ReleasedJudgement:
    """retraining.json of a release, which is its judgement.json, for the next retraining."""

    next_anchor: ReleaseName | None = None
    test_part: SplitPart | None = None


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A recipe that was tried."""

    recipe: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """decision.json, for the card; ValueError if it chose a recipe that is not there."""

    reason: str
    recipes: tuple[Tried, ...] = ()
    chosen: int | None = None

    def __post_init__(self) -> None:
        if self.recipes and (self.chosen is None or not 0 <= self.chosen < len(self.recipes)):
            raise ValueError(f"it chose recipe {self.chosen} of {len(self.recipes)}, which are numbered from 0")


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How activations were calibrated."""

    dataset: str
    method: str
    split: str
    images: int
    corrected_layers: int
    percentile: float | None
    float_convolutions: int = 0


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How the integer network answers beside the float one."""

    split: str
    rows: int
    argmax: float
    signal_to_noise_db: float


@dataclass(frozen=True, kw_only=True)
class Fused:
    """Operators that run as integers."""

    convolutions: int
    convolutions_total: int
    operators: int
    operators_total: int


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """Layers put back to float, and what was lost then."""

    drop_points: float


@dataclass(frozen=True, kw_only=True)
class AccuracyControl:
    """Accuracy control of a graph; ValueError without an attempt."""

    allowed_points: float
    split: str
    rows: int
    reverted: tuple[Any, ...]
    tries: tuple[Attempt, ...]

    def __post_init__(self) -> None:
        if not self.tries:
            raise ValueError("its accuracy control tried nothing")


@dataclass(frozen=True, kw_only=True)
class Temperature:
    """A temperature; ValueError for one that was not fitted for no reason."""

    value: float | None
    rows: int
    split: str
    why: str | None = None

    def __post_init__(self) -> None:
        if self.value is None and self.why is None:
            raise ValueError("it has no temperature and does not say why")


@dataclass(frozen=True, kw_only=True)
class Versions:
    """Versions of packages."""

    onnxruntime: str


@dataclass(frozen=True, kw_only=True)
class Host:
    """The machine of an evaluation, for the card."""

    processor: str
    cores: int
    load_average_1m: float | None
    versions: Versions
    flags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The kind of int8."""

    kind: str


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """provenance.json of an ONNX bundle, for the card; ValueError for a calibration that nothing came of."""

    scheme: str
    backbone: str
    opset: int
    pruned: Any
    source_model: str
    float32_graph: Any
    zero_weights: float | None = None
    calibration: Calibration | None = None
    agreement: Agreement | None = None
    fused: Fused | None = None
    accuracy_control: dict[str, AccuracyControl] = field(default_factory=dict)
    temperature: Temperature | None = None
    int8: Kind = Kind(kind="")

    def __post_init__(self) -> None:
        if self.calibration and not (self.agreement and self.fused):
            raise ValueError("it has a calibration, and no 'agreement' or no 'fused'")


@dataclass(frozen=True, kw_only=True)
class Student:
    """A student of the first rung of a race, and why it was stopped."""

    recipe: dict[str, Any]
    stopped: str


@dataclass(frozen=True, kw_only=True)
class RaceStep:
    """A step of a race, in seconds."""

    name: str
    planned: float | None
    real: float | None


@dataclass(frozen=True, kw_only=True)
class Race:
    """race.json, for the choice."""

    students: tuple[Student, ...]
    steps: tuple[RaceStep, ...]
    at: float
    minutes: float
    more_epochs: float
    control: str


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """Facts of a learning curve, for a race."""

    epoch_seconds: float | None = None
