"""Cron expressions as KFP's robfig/cron reads them, and five fields as people mean them."""

import pytest

from components.core.errors import UserError
from pipelines.cluster.cron import parse_cron


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("0 0 3 * * 1", "0 0 3 * * 1"),
        ("  0 0  9 ? * 2-6 ", "0 0 9 ? * 2-6"),
        ("30 */15 0-12/4,23 1,15 jan-MAR/2 Mon,wed-fri", "30 */15 0-12/4,23 1,15 jan-MAR/2 Mon,wed-fri"),
        ("0 5/10 * * * *", "0 5/10 * * * *"),
        ("0 0 0 29 2 *", "0 0 0 29 2 *"),
        ("0 0 0 31 2 1", "0 0 0 31 2 1"),  # the 31st of February or a Monday
    ],
)
def test_six_fields_stay(given: str, found: str) -> None:
    cron = parse_cron(given)
    assert (cron.text, cron.converted) == (found, False)


@pytest.mark.parametrize(
    ("given", "found"), [("0 3 * * 1", "0 0 3 * * 1"), ("*/5 * * * *", "0 */5 * * * *"), ("@weekly", "0 0 0 * * 0")]
)
def test_five_fields_get_their_seconds(given: str, found: str) -> None:
    cron = parse_cron(given)
    assert (cron.text, cron.converted) == (found, True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "has 0 fields"),
        ("weekly", "has 1 fields"),
        ("@every 1h", "has 2 fields"),
        ("0 0 0 3 * * 1", "has 7 fields"),
        ("60 3 * * 1", "minutes must be 0 to 59, got '60'"),
        ("0 24 * * *", "hours must be 0 to 23, got '24'"),
        ("0 0 0 * *", "day of month must be 1 to 31, got '0'"),
        ("0 0 * 13 *", "month must be 1 to 12 or jan to dec, got '13'"),
        ("0 3 * * 7", "day of week must be 0 to 6 or sun to sat, got '7'; Sunday is 0"),
        ("0 3 * * monday", "got 'monday'"),
        ("0 3 * * fri-mon", "runs backwards"),
        ("0 3 L * *", "got 'L'"),
        ("0 3 * * 1#2", "'1#2' is not valid for day of week"),
        ("*/0 3 * * 1", "'*/0' is not valid for minutes"),
        ("1,,2 3 * * 1", "'' is not valid for minutes"),
        ("1- 3 * * 1", "not valid for minutes"),
        ("-1 3 * * 1", "not valid for minutes"),
        ("0 0 31 2,4,6 *", "never runs"),
        ("* * * * * *", "starts 60 runs per minute"),
        ("0,30 0 3 * * 1", "starts 2 runs per minute"),
        ("0/20 0 3 * * 1", "starts 3 runs per minute"),
    ],
)
def test_nonsense_is_refused_in_one_line(given: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_cron(given)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) == 1
