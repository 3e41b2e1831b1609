"""Errors of a cluster that end a command."""


class ClusterError(Exception):
    """The cluster could not be reached or did not do what was asked. Its message is one line that says what to do.

    Args:
        status: of HTTP; 0 if there was no answer.
        transient: whether the same request may succeed a little later.
    """

    def __init__(self, message: str, *, status: int = 0, transient: bool = False) -> None:
        super().__init__(" ".join(message.split()))
        self.status = status
        self.transient = transient
