"""`kfp.Client`, started quickly, with its token from where the client itself looks, and never shown."""

import contextlib
import io
import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kfp
from google.auth.exceptions import GoogleAuthError
from kfp.client import KF_PIPELINES_SA_TOKEN_ENV, KF_PIPELINES_SA_TOKEN_PATH
from kfp.client.token_credentials_base import TokenCredentialsBase

from components.core.errors import UserError
from pipelines.cluster.errors import ClusterError
from pipelines.cluster.rest import CONNECT_SECONDS, BoundedRest

HOST_VARIABLE = "KF_PIPELINES_ENDPOINT"
TOKEN_VARIABLE = "TRIMTAB_KFP_TOKEN"
FIRST_ANSWER_SECONDS = 10.0
_NO_NAMESPACE = "kubeflow"  # what the client takes for "none given"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the API is, and as whom. "" and None: from the environment, or none."""

    host: str = ""
    namespace: str = ""
    token_file: Path | None = None


class Client(kfp.Client):
    """`kfp.Client` whose requests end. Its first one is asked once, not five times with five seconds between."""

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """The API's own description."""
        api = self._healthz_api.api_client
        if not isinstance(api.rest_client, BoundedRest):  # the one that all of the APIs share
            api.rest_client = BoundedRest(api.configuration)
        timeout = (CONNECT_SECONDS, FIRST_ANSWER_SECONDS)
        return self._healthz_api.healthz_service_get_healthz(_request_timeout=timeout)


class _TokenFile(TokenCredentialsBase):
    """As kfp's credentials of a projected token; a file that is gone while a run is followed is no traceback."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def refresh_api_key_hook(self, config: Any) -> None:
        """Called by the client before each request."""
        try:
            config.api_key["authorization"] = self._path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ClusterError(
                f"the token file {self._path} cannot be read any more: {reason}", transient=True
            ) from None


def connect(endpoint: Endpoint) -> Client:
    """A client that has had an answer.

    Raises:
        UserError: no host, one that is no address, an unreadable token, no namespace where one is needed.
        ClusterError: no answer, or one that is not the API's.
    """
    host = _checked_host(endpoint.host or os.environ.get(HOST_VARIABLE, ""))
    credentials = _credentials(endpoint.token_file)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            client = Client(
                host=host,
                namespace=endpoint.namespace or _NO_NAMESPACE,
                existing_token=None if credentials else os.environ.get(TOKEN_VARIABLE) or None,
                credentials=credentials,
                ssl_ca_cert=os.environ.get("SSL_CERT_FILE") or None,
            )
    except GoogleAuthError as error:
        raise ClusterError(f"KF_PIPELINES_IAP_OAUTH2_CLIENT_ID is set, but Google gives no token: {error}") from None
    except json.JSONDecodeError:
        raise UserError(
            f"{kfp.Client._LOCAL_KFP_CONTEXT}, where kfp keeps its context, is not JSON; delete it"
        ) from None
    if client.get_kfp_healthz().multi_user and not client.get_user_namespace():
        raise UserError(f"{host} serves several users, each with a namespace: give yours with --namespace")
    return client


def _checked_host(host: str) -> str:
    if not host:
        raise UserError(f"no cluster is named: give --host URL, or set {HOST_VARIABLE}")
    if "#" in host:
        raise UserError(f"--host {host}: leave out the '#' and what follows it, which is a page of the UI")
    try:
        parts = urlsplit(host)
        named = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        named = False
    if not named:
        raise UserError(f"--host {host!r} is not an address; write it as https://host or http://host:port/path")
    if parts.username or parts.password:
        raise UserError(
            "--host contains a user name or password, which would appear in logs; give a token with --token-file"
        )
    return host.rstrip("/")


def _credentials(token_file: Path | None) -> Any:
    """A token from a file, read again for each request (it is rotated): the one named, or, in a pod, the pod's own."""
    path = token_file or Path(os.environ.get(KF_PIPELINES_SA_TOKEN_ENV) or KF_PIPELINES_SA_TOKEN_PATH)
    if token_file is None and (os.environ.get(TOKEN_VARIABLE) or not path.is_file()):
        return None
    try:
        empty = not path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"the token file {path} cannot be read: {reason}") from None
    if empty:
        raise UserError(f"the token file {path} is empty")
    return _TokenFile(path)


def ui_link(client: Client, kind: str, identifier: str) -> str:
    """Where the UI shows it; `kind` is `runs` or `recurringrun`."""
    return f"{client._get_url_prefix().rstrip('/')}/#/{kind}/details/{identifier}"


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """The client prints links of its own, in its own words."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
