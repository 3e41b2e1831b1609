"""The one exception that a user's mistake raises."""

_LONGEST = 2500


class UserError(ValueError):
    """Something the user can mend. Its message is one line: what is wrong, where, and what would work.

    The runner and the command line print the message without a traceback and leave with exit code 2. Anything
    else that a stage raises is a defect or an outage, and is shown with its traceback in the task's log.

    Whatever a message quotes, it has at most some thousand characters.
    """

    def __init__(self, message: str = "") -> None:
        # The end says what would work.
        long = len(message) > _LONGEST
        super().__init__(f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 2 :]}" if long else message)


REPORT_TO = "https://github.com/trimtab/trimtab/issues"
"""Where a defect of trimtab is reported."""
