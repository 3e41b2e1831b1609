"""Settings of data preparation."""

from collections.abc import Sequence
from dataclasses import dataclass

from components.core.data.rows import RowFormat
from components.core.data.slices import parse_slice_columns
from components.core.parameters import check_declared
from components.data_prep.splitting import Fractions

REFUSE, LEAVE_OUT = "refuse", "leave_out"
REPORT, GROUP = "report", "group"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Data set and settings of a preparation; see the stage's card. `rows` is the task's.

    Raises:
        UserError: a value out of range.
    """

    dataset: str
    rows: RowFormat
    validation_fraction: float = 0.15
    test_fraction: float = 0.25
    max_image_mb: float = 20.0
    slice_columns: str = ""
    split: str = "auto"
    rare_classes: str = REFUSE
    near_duplicates: str = REPORT
    allow_paths: Sequence[str] = ()

    def __post_init__(self) -> None:
        _ = self.fractions
        check_declared(vars(self))

    @property
    def fractions(self) -> Fractions:
        """Shares of the splits."""
        return Fractions(validation=self.validation_fraction, test=self.test_fraction)

    @property
    def slices(self) -> tuple[str, ...]:
        """`slice_columns` one by one."""
        return parse_slice_columns(self.slice_columns)

    @property
    def max_image_bytes(self) -> int:
        """`max_image_mb` in bytes (1 MB = 10⁶ bytes)."""
        return round(self.max_image_mb * 1e6)
