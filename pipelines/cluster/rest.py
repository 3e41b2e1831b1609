"""KFP's HTTP client with an end to every request: time-outs, and each failure as one line.

The generated client waits for ever, repeats a refused connection, takes any web page for an answer, and prints headers
(the token among them) in its errors.
"""

import json
from typing import Any
from urllib.parse import urlsplit

import urllib3
from kfp_server_api.configuration import Configuration
from kfp_server_api.exceptions import ApiException
from kfp_server_api.rest import RESTClientObject
from urllib3 import exceptions

from pipelines.cluster.errors import ClusterError

CONNECT_SECONDS, READ_SECONDS = 5.0, 60.0
_MOST_TEXT = 300
_PORT_FORWARD = "kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80"
_TOKEN = "give one with --token-file FILE or in TRIMTAB_KFP_TOKEN"


class BoundedRest(RESTClientObject):
    """Raises `ClusterError` for whatever goes wrong, within CONNECT_SECONDS and READ_SECONDS."""

    def __init__(self, configuration: Configuration) -> None:
        configuration.retries = urllib3.Retry(total=None, connect=0, read=0, redirect=3, status=0, other=0)
        super().__init__(configuration)
        self._host = configuration.host

    def request(self, method: str, url: str, *args: Any, _request_timeout: Any = None, **options: Any) -> Any:
        """As the parent's; `_request_timeout` is seconds to connect and to read."""
        timeout = _request_timeout or (CONNECT_SECONDS, READ_SECONDS)
        try:
            response = super().request(method, url, *args, _request_timeout=timeout, **options)
        except ApiException as error:
            raise _refused(error, self._host) from None
        except exceptions.HTTPError as error:
            raise _unreachable(error, self._host, timeout[1]) from None
        if response.data and not _is_object(response.data):
            raise _no_api(self._host)
        return response


def _is_object(data: bytes) -> bool:
    """Whether it is a JSON object, as every answer of the API is."""
    try:
        return isinstance(json.loads(data), dict)
    except ValueError:
        return False


def _no_api(host: str, status: int = 0) -> ClusterError:
    return ClusterError(
        f"{host} answers{f' ({status})' if status else ''}, but not like the KFP API (it may be a web page or a "
"login): give the address under which /apis/v2beta1/healthz is found, and a token if it needs one", status=status,
    )  # fmt: skip


def _unreachable(error: exceptions.HTTPError, host: str, read_seconds: float) -> ClusterError:
    """No answer at all: what the network says."""
    reason = error.reason if isinstance(error, exceptions.MaxRetryError) and error.reason else error
    name = urlsplit(host).hostname or host
    match reason:
        case exceptions.NameResolutionError():
            text = f"the name {name!r} does not resolve; check --host, and the network or VPN"
        case exceptions.SSLError():
            text = f"its certificate is not trusted ({_short(reason)}); set SSL_CERT_FILE to the CA's file"
        case exceptions.ReadTimeoutError():
            text = f"no answer within {read_seconds:g} s; try again, or look at the API server: deployment ml-pipeline"
        case exceptions.NewConnectionError():
            text = f"nothing listens there ({_short(reason)}); is the port-forward up? {_PORT_FORWARD}"
        case exceptions.ConnectTimeoutError():
            text = f"no connection within {CONNECT_SECONDS:g} s; check --host, and the network or VPN"
        case exceptions.ResponseError():
            text = f"too many redirects; is {host} the address of the KFP API?"
        case exceptions.LocationParseError():
            text = "that is not an address; write it as https://host/path"
        case _:
            text = f"the connection broke ({_short(reason)}); try again"
    permanent = isinstance(reason, exceptions.SSLError | exceptions.LocationParseError | exceptions.ResponseError)
    return ClusterError(f"{host} cannot be reached: {text}", transient=not permanent)


def _refused(error: ApiException, host: str) -> ClusterError:
    """An answer that is no success: what the server says."""
    status, said = error.status or 0, _message(error.body)
    because = f": {said}" if said else ""
    match status:
        case 401:
            text = f"{host} wants to know who asks (401): there is no token, or it has expired; {_TOKEN}"
        case 403:
            text = f"{host} does not allow this (403){because}; ask for the right, or give another --namespace or token"
        case 404 if not said:
            return _no_api(host, 404)
        case 404:
            text = f"{host} has no such thing (404){because}"
        case 409:
            text = f"{host} has it already (409){because}"
        case 400:
            text = f"{host} refuses this (400){because}"
        case 429 | 502 | 503 | 504:
            text = f"{host} is not ready ({status}){because}; try again in a minute"
        case _ if status >= 500:
            text = f"{host} failed ({status}){because}; try again, and look at the log of deployment ml-pipeline"
        case _:
            text = f"{host} answers {status}{because}"
    return ClusterError(text, status=status, transient=status == 429 or status >= 500)


def _message(body: bytes | str | None) -> str:
    """The server's own words: `message` of the API, `error_message` of its upload half; none from a web page."""
    try:
        content = json.loads(body or b"")
    except ValueError:
        return ""
    if not isinstance(content, dict):
        return ""
    said = content.get("message") or content.get("error_message") or content.get("error") or ""
    return _short(said)


def _short(value: Any) -> str:
    text = " ".join(str(value).split()).rpartition("Failed to establish a new connection: ")[2]
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 3] + "..."
