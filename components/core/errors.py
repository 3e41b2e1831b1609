"""The one exception that a user's mistake raises."""

_LONGEST = 2500


class UserError(ValueError):
    """Something the user can mend. Its message is one line: what is wrong, where, and what would work.

    The runner and the command line print the message without a traceback and leave with exit code 2. Anything
    else that a stage raises is a defect or an outage, and is shown with its traceback in the task's log.

    Whatever a message quotes, it is one line of at most some thousand characters, and moves no terminal's cursor.
    """

    def __init__(self, message: str = "") -> None:
        # The end says what would work.
        if len(message) > _LONGEST:
            message = f"{message[: _LONGEST // 2]} ... {message[-_LONGEST // 2 :]}"
        super().__init__("".join(one if one.isprintable() else ascii(one)[1:-1] for one in message))


REPORT_TO = "https://github.com/trimtab/trimtab/issues"
"""Where a defect of trimtab is reported."""
