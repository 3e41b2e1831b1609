"""The one exception that a user's mistake raises."""


class UserError(ValueError):
    """Something the user can mend. Its message is one line: what is wrong, where, and what would work.

    The runner and the command line print the message without a traceback and leave with exit code 2. Anything
    else that a stage raises is a defect or an outage, and is shown with its traceback in the task's log.
    """


REPORT_TO = "https://github.com/trimtab/trimtab/issues"
"""Where a defect of trimtab is reported."""
