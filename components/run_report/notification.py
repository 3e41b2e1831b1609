"""Tells a webhook how the run ended. It never fails the run, and never says where it sends to, or with which key."""

import base64
import hashlib
import hmac
import json
import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from typing import IO, Any

URL_VARIABLE, KEY_VARIABLE = "TRIMTAB_WEBHOOK_URL", "TRIMTAB_WEBHOOK_KEY"
SIGNATURE_HEADER = "X-Trimtab-Signature"

ATTEMPTS = 3
TIMEOUT_S = 10.0
"""Of one attempt, from its start to the status line."""

_LONGEST_TEXT = 3000
_PLAIN_HOST = re.compile(r"[\w-]+(\.[\w-]+)+")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A webhook does not move; following it would hand the message to whoever answers there."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


def notify(text: str, *, environment: Mapping[str, str] = os.environ, wait_s: float = 1.0) -> str:
    """Posts `{"text": …}`, as Slack and its imitators take it, and returns what to write into the log.

    Three attempts at most, each with a time-out; a refusal (4xx) is not tried again. Without `$TRIMTAB_WEBHOOK_URL`
    nobody is told; `user:password@` in it becomes basic authentication. With `$TRIMTAB_WEBHOOK_KEY` the body is signed,
    see `signature`.

    Args:
        text: plain text; `&`, `<` and `>` are escaped, so that nothing in it becomes a link or a mention.
        environment: where the two variables are.
        wait_s: seconds before the second attempt; twice as many before the third.
    """
    url = environment.get(URL_VARIABLE, "").strip()
    if not url:
        return ""
    if not url.lower().startswith(("https://", "http://")):
        return f"nobody was notified: {URL_VARIABLE} is not an http(s) address"
    try:
        address, login = _without_credentials(url)
    except ValueError as error:
        return f"nobody was notified: {URL_VARIABLE} {error}"
    body = json.dumps({"text": _escaped(text)}, ensure_ascii=False).encode()
    said = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(wait_s * 2 ** (attempt - 1))
        status = _post(address, login, body, environment.get(KEY_VARIABLE, "").strip())
        if isinstance(status, int) and 200 <= status < 300:
            return "the webhook was notified"
        said = f"it answered {status}" if isinstance(status, int) else status
        if isinstance(status, int) and 300 <= status < 500 and status != 429:
            break
    return f"the webhook was not notified: {said}"


def signature(key: str, body: bytes, stamp: int) -> str:
    """`t=<stamp>,v1=<hex HMAC-SHA256(key, "<stamp>." + body)>`.

    The stamp (seconds since the epoch) is signed too, so that a receiver can refuse an old message sent again.
    """
    digest = hmac.new(key.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={stamp},v1={digest}"


def _escaped(text: str) -> str:
    short = text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
    return short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _without_credentials(url: str) -> tuple[str, dict[str, str]]:
    """The address without `user:password@`, and the header that says the two.

    urllib asks DNS for all that stands before the path, credentials included; and with a bare `/`, `?` or `#` in the
    password, the path begins there. Such an address has an `@` in its path, and no plain host name before it. Behind a
    plain host name an `@` is the path's own (Microsoft Teams has such).

    Raises:
        ValueError: what to write otherwise; nothing of the address is in it.
    """
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:  # brackets and letters that no host has; the error repeats them
        raise ValueError("is not a valid address: write the special characters of a name or password as %XX") from None
    if "@" in parts.path + parts.query + parts.fragment and not _PLAIN_HOST.fullmatch(parts.netloc):
        raise ValueError(
            "has an @ behind its host: write a / of a password as %2F, a ? as %3F, a # as %23; an @ of the path as %40"
        )
    said, separator, host = parts.netloc.rpartition("@")
    if not separator:
        return url, {}
    token = base64.b64encode(urllib.parse.unquote_to_bytes(said)).decode()
    return parts._replace(netloc=host).geturl(), {"Authorization": f"Basic {token}"}


def _post(address: str, login: dict[str, str], body: bytes, key: str) -> int | str:
    """The status code, or why there is none."""
    headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": "trimtab"}
    if key:
        headers[SIGNATURE_HEADER] = signature(key, body, int(time.time()))
    answers: list[int | str] = []

    def send() -> None:
        try:
            request = urllib.request.Request(address, data=body, headers=headers | login, method="POST")
            with urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT_S) as answer:
                answers.append(answer.status)
        except urllib.error.HTTPError as error:
            answers.append(error.code)
        except (OSError, ValueError, HTTPException) as error:
            # Not the error's text: it may repeat the address, which is a secret with most webhooks.
            cause = getattr(error, "reason", error)
            answers.append(
                f"no answer ({type(cause).__name__ if not isinstance(cause, str) else type(error).__name__})"
            )

    # The socket's own time-out starts again with every byte; a receiver that drips must not hold the run.
    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    sender.join(TIMEOUT_S)
    return answers[0] if answers else f"no answer within {TIMEOUT_S:g} s"
