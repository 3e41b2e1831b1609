"""The one exception that a user's mistake raises."""

_LONGEST = 2500


class UserError(ValueError):
    """Something the user can mend. Its message is one line: what is wrong, where, and what would work.

    The runner and the command line print the message without a traceback and leave with exit code 2. Anything
    else that a stage raises is a defect or an outage, and is shown with its traceback in the task's log.

    Whatever a message quotes, it stays one line of some thousand characters.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(_one_line(message))


def _one_line(message: str) -> str:
    line = " ".join(message.splitlines()) if len(message.splitlines()) > 1 else message
    # The end says what would work.
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} ... {line[-_LONGEST // 2 :]}"


REPORT_TO = "https://github.com/trimtab/trimtab/issues"
"""Where a defect of trimtab is reported."""
