"""Records a run in an MLflow server through MLflow's own client."""

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from components.core.errors import UserError
from pipelines.runner.records.redaction import Redaction
from pipelines.tracking.recorded import Recorded

T = TypeVar("T")

_AT_ONCE = {"params": 100, "metrics": 1000}
"""Limits of MLflow for one call."""

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Its default tries for minutes; a user would take that for work.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
_RUN_TAG = "trimtab.run"


class Server(NamedTuple):
    """An MLflow server: its address without user and password, and what hides these in messages."""

    uri: str
    hidden: Redaction


class Entry(NamedTuple):
    """Where the run is recorded, and whether it was there before."""

    run: str
    uri: str
    known: bool


def server_at(uri: str) -> Server:
    """The server at a URI. A user and password in it go into the environment, where MLflow's client looks for them.

    Raises:
        UserError: it is no http(s) address.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        # Not shown: what is wrong with it may be its password.
        raise UserError("--uri must be the address of an MLflow server, such as http://localhost:5000")
    for name, text in (("MLFLOW_TRACKING_USERNAME", parts.username), ("MLFLOW_TRACKING_PASSWORD", parts.password)):
        if text:
            os.environ[name] = unquote(text)
    place = f"[{host}]" if ":" in host else host
    shown = urlunsplit((parts.scheme, place if port is None else f"{place}:{port}", parts.path.rstrip("/"), "", ""))
    known = os.environ.get("MLFLOW_TRACKING_PASSWORD", ""), os.environ.get("MLFLOW_TRACKING_TOKEN", "")
    return Server(uri=shown, hidden=Redaction(text.encode() for text in known if text))


def record(recorded: Recorded, server: Server, *, experiment: str) -> Entry:
    """Records the run in an experiment, which is made if there is none; a run that is there already is left alone.

    The entry ends last: what was broken off is deleted by the next attempt and recorded again.

    Raises:
        UserError: MLflow's client is not installed; the server does not answer, or refuses.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in _QUIET.items()})
    try:
        mlflow = importlib.import_module("mlflow")
    except ImportError:
        raise UserError("trimtab track needs MLflow's client; install trimtab[mlflow]") from None
    client = mlflow.MlflowClient(tracking_uri=server.uri)
    with _one_line(server):
        found = client.get_experiment_by_name(experiment)
        place = found.experiment_id if found else client.create_experiment(experiment)
        for earlier in client.search_runs([place], f"tags.`{_RUN_TAG}` = '{recorded.run}'"):
            if earlier.info.end_time:
                return Entry(earlier.info.run_id, _page(server, place, earlier.info.run_id), known=True)
            client.delete_run(earlier.info.run_id)
        made = client.create_run(
            place, start_time=_milliseconds(recorded.started), tags=recorded.tags, run_name=recorded.run
        ).info.run_id
        _fill(client, made, recorded)
        status = "FINISHED" if recorded.succeeded else "FAILED"
        client.set_terminated(made, status, _milliseconds(recorded.ended))
    return Entry(made, _page(server, place, made), known=False)


def _fill(client: Any, run: str, recorded: Recorded) -> None:
    from mlflow.entities import Metric, Param

    params = [Param(name, value) for name, value in recorded.parameters.items()]
    # Of a curve the order is that of the steps; the time is that of the run's end.
    at = _milliseconds(recorded.ended)
    metrics = [Metric(one.name, one.value, at, one.step) for one in recorded.metrics]
    for some in _parts(params, _AT_ONCE["params"]):
        client.log_batch(run, params=some)
    for some in _parts(metrics, _AT_ONCE["metrics"]):
        client.log_batch(run, metrics=some)
    for name, text in recorded.files.items():
        client.log_text(run, text, name)


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _page(server: Server, experiment: str, run: str) -> str:
    return f"{server.uri}/#/experiments/{experiment}/runs/{run}"


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)


@contextmanager
def _one_line(server: Server) -> Iterator[None]:
    """Errors of MLflow and of the network as one line without a password."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import RequestException

    try:
        yield
    except (MlflowException, RequestException, OSError) as error:
        said = " ".join(server.hidden.text(str(error)).split())
        raise UserError(f"the MLflow server at {server.uri} does not take the run: {said[:500]}") from None
