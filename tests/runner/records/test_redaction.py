"""Secrets in the forms in which programs print them."""

import base64
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from pipelines.runner.records.redaction import Redaction

TOKEN = "hunter2/and it's more?"
KEY = "-----BEGIN KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7\n" * 6 + "-----END KEY-----\n"

FORMS: dict[str, Callable[[], str]] = {
    "basic authentication": lambda: base64.b64encode(f"user:{TOKEN}".encode()).decode(),
    "after one byte": lambda: base64.b64encode(f"u{TOKEN}!".encode()).decode(),
    "after two, for a URL": lambda: base64.urlsafe_b64encode(f"u:{TOKEN}@host".encode()).decode(),
    "percent in small letters": lambda: quote(TOKEN, safe="").replace("%2F", "%2f").replace("%3F", "%3f"),
    "a form's": lambda: quote_plus(TOKEN),
    "a shell's": lambda: shlex.quote(TOKEN),
    "wrapped base64": lambda: base64.encodebytes(KEY.encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_found_in_the_forms_that_programs_print(form: str) -> None:
    hide = Redaction([f"{TOKEN}\n".encode(), KEY.encode()])
    said = FORMS[form]()
    shown = hide.text(f"> {said} <")
    assert "***" in shown
    assert not [said[at : at + 9] for at in range(len(said) - 8) if said[at : at + 9] in shown]


def test_other_words_stay_as_they_are() -> None:
    words = base64.b64encode(b"nothing of the kind, at any place in this text").decode()
    assert Redaction([TOKEN.encode(), KEY.encode()]).text(words) == words
