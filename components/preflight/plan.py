"""What may be asked of `optimize`, checked before anything expensive starts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches

from components.core.errors import UserError

CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": ("adamw", "sgd"),
    "schedule": ("polynomial", "step", "cosine", "constant"),
    "precision": ("auto", "float32", "bfloat16"),
    "batch_norm": ("frozen", "train"),
    "importance": ("taylor", "magnitude"),
    "calibration_method": ("minmax", "percentile", "entropy"),
}

Rule = tuple[Callable[[float], bool], str]

POSITIVE: Rule = (lambda v: v > 0, "greater than 0")
NOT_NEGATIVE: Rule = (lambda v: v >= 0, "at least 0")
AT_LEAST_ONE: Rule = (lambda v: v >= 1, "at least 1")
FRACTION: Rule = (lambda v: 0 <= v <= 1, "between 0 and 1")
PROPER_FRACTION: Rule = (lambda v: 0 < v < 1, "greater than 0 and less than 1")
SHARE: Rule = (lambda v: 0 < v <= 1, "greater than 0 and at most 1")
BELOW_ONE: Rule = (lambda v: 0 <= v < 1, "at least 0 and less than 1")

RULES: dict[str, Rule] = {
    "image_size": (
        lambda v: v == 0 or 16 <= v <= 2048,
        "0 (each backbone's own) or between 16 and 2048 pixels",
    ),
    "student_size": (lambda v: v == 0 or 16 <= v <= 2048, "0 (the image size) or between 16 and 2048 pixels"),
    "validation_fraction": PROPER_FRACTION,
    "test_fraction": PROPER_FRACTION,
    "max_image_mb": POSITIVE,
    "epochs": AT_LEAST_ONE,
    "head_epochs": NOT_NEGATIVE,
    "batch_size": AT_LEAST_ONE,
    "learning_rate": POSITIVE,
    "power": POSITIVE,
    "step_epochs": AT_LEAST_ONE,
    "step_gamma": SHARE,
    "warmup_fraction": BELOW_ONE,
    "momentum": BELOW_ONE,
    "weight_decay": NOT_NEGATIVE,
    "layer_decay": SHARE,
    "label_smoothing": BELOW_ONE,
    "ema_decay": BELOW_ONE,
    "patience": NOT_NEGATIVE,
    "checkpoint_seconds": POSITIVE,
    "num_processes": AT_LEAST_ONE,
    "distill_epochs": AT_LEAST_ONE,
    "distill_learning_rate": POSITIVE,
    "distill_alpha": FRACTION,
    "distill_temperature": POSITIVE,
    "round_to": AT_LEAST_ONE,
    "calibration_images": AT_LEAST_ONE,
    "latency_rounds": AT_LEAST_ONE,
    "latency_threads": AT_LEAST_ONE,
    "max_parameters_m": POSITIVE,
    "max_macs_m": POSITIVE,
    "max_backbone_latency_ms": POSITIVE,
    "max_latency_ms": POSITIVE,
    "max_size_mb": POSITIVE,
    "max_drop": NOT_NEGATIVE,
    "seed": NOT_NEGATIVE,
}

MAX_RECIPES = 16


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to compress the tuned model: prune to `macs_fraction`, distil at `student_size` pixels (0: unchanged)."""

    name: str
    macs_fraction: float
    student_size: int

    def to_json(self) -> dict[str, str | float | int]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


def check_values(parameters: Mapping[str, object]) -> None:
    """Refuse the first value outside its range or choices.

    `None` means "not given" and passes: a limit that is not given is no limit.

    Raises:
        UserError: names the parameter, the value and what would work.
    """
    for name, value in parameters.items():
        if value is None:
            continue
        if name in CHOICES and value not in CHOICES[name]:
            raise UserError(
                f"{name} must be one of {', '.join(CHOICES[name])}; got {value!r}{_hint(value, CHOICES[name])}"
            )
        if name in RULES:
            holds, wanted = RULES[name]
            if not isinstance(value, int | float) or isinstance(value, bool) or not holds(value):
                raise UserError(f"{name} must be {wanted}; got {value!r}")


def check_processes(num_processes: int, *, batch_size: int, batch_norm: str) -> None:
    """Refuse a number of processes that cannot share each batch evenly, or batch norms that would see a part of it."""
    if batch_size % num_processes:
        raise UserError(f"num_processes must be a divisor of batch_size {batch_size}; got {num_processes}")
    if num_processes > 1 and batch_norm != "frozen":
        raise UserError(f"batch_norm must be frozen with several processes; got {batch_norm!r}")


def check_fractions(*, validation_fraction: float, test_fraction: float) -> None:
    """Refuse splits that leave less than a tenth of the data to train on."""
    left = 1 - validation_fraction - test_fraction
    if left < 0.1 - 1e-9:
        raise UserError(
            f"validation_fraction {validation_fraction:g} and test_fraction {test_fraction:g} leave {max(left, 0):.0%} "
            "of the data for training; at least 10% is needed"
        )


def plan_recipes(prune_targets: Sequence[float], *, student_size: int, image_size: int) -> list[Recipe]:
    """One recipe for each pruning target, largest model first.

    Args:
        prune_targets: fractions of the tuned model's MACs to keep, each in (0, 1]; 1 leaves the model whole.
        student_size: input size of the students in pixels; 0 keeps `image_size`.
        image_size: input size of the tuned model in pixels; 0 is each backbone's own.

    Raises:
        UserError: no target, too many, a duplicate, or one outside (0, 1]; a student larger than its teacher.
    """
    if not prune_targets:
        raise UserError("prune_targets is empty; give at least one fraction of MACs to keep, for instance [0.8, 0.6]")
    if len(prune_targets) > MAX_RECIPES:
        raise UserError(f"prune_targets has {len(prune_targets)} entries; at most {MAX_RECIPES} recipes fit one run")
    for target in prune_targets:
        if not isinstance(target, int | float) or isinstance(target, bool) or not 0 < target <= 1:
            raise UserError(
                f"prune_targets must be fractions of MACs to keep, greater than 0 and at most 1; got {target!r}"
            )
    if len(set(prune_targets)) != len(prune_targets):
        raise UserError(f"prune_targets names one target twice: {list(prune_targets)}")
    if image_size and student_size > image_size:
        raise UserError(
            f"student_size {student_size} is larger than image_size {image_size}; a student may only be smaller"
        )
    size = f", {student_size} px" if student_size else ""
    return [
        Recipe(name=f"{target:.0%} MACs{size}", macs_fraction=float(target), student_size=student_size)
        for target in sorted(prune_targets, reverse=True)
    ]


def check_size_budget(
    *, max_size_mb: float | None, parameters: Mapping[str, int | None], prune_targets: Sequence[float]
) -> None:
    """Refuse a size budget that no recipe can reach.

    A weight takes one byte after quantization, and pruning channels to a fraction f of the MACs leaves at least f² of
    the parameters (both ends of every layer cut). The backbone's published count includes its ImageNet head; a third
    is taken off for that, so that only what is truly impossible is refused.

    Args:
        max_size_mb: allowed file size in megabytes (10⁶ bytes); None is no limit.
        parameters: published parameter count of each candidate, None where the catalog does not know it.
        prune_targets: fractions of MACs to keep.
    """
    known = {name: count for name, count in parameters.items() if count}
    if max_size_mb is None or len(known) < len(parameters):
        return
    name, count = min(known.items(), key=lambda item: item[1])
    smallest_mb = count * (2 / 3) * min(prune_targets) ** 2 / 1e6
    if max_size_mb < smallest_mb:
        raise UserError(
            f"max_size_mb {max_size_mb:g} cannot be met: the smallest candidate, {name}, needs about {smallest_mb:.2g} "
            f"MB as int8 even at {min(prune_targets):.0%} of its MACs; allow more, prune further or add a smaller one"
        )


def distinct_names(names: Sequence[str]) -> list[str]:
    """The backbones to compare, in order, without blanks and repeats.

    Raises:
        UserError: nothing is named.
    """
    distinct = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    if not distinct:
        raise UserError("backbones is empty; name at least one, for instance efficientnet_lite0")
    return distinct


def _hint(value: object, choices: Sequence[str]) -> str:
    close = get_close_matches(str(value), choices, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
