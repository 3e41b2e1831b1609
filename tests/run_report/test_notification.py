"""The webhook, against a receiver on loopback that answers as it is told."""

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from components.run_report import notification
from components.run_report.notification import notify, signature


class Receiver:
    """Keeps what was posted; answers with the codes in `answers`, the last one for ever."""

    def __init__(self) -> None:
        self.answers = [200]
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.delay_s = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.received.append((dict(self.headers), body))
                time.sleep(outer.delay_s)
                code = outer.answers.pop(0) if len(outer.answers) > 1 else outer.answers[0]
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            do_GET = do_POST  # noqa: N815  (a followed redirect would come as one)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks/very-secret-path"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()


def tell(receiver: Receiver, text: str = "hello", key: str = "") -> str:
    return notify(text, environment={"TRIMTAB_WEBHOOK_URL": receiver.url, "TRIMTAB_WEBHOOK_KEY": key}, wait_s=0)


def test_the_body_is_what_slack_takes(receiver):
    assert tell(receiver, "m/2 is the new champion") == "the webhook was notified"
    [(headers, body)] = receiver.received
    assert json.loads(body) == {"text": "m/2 is the new champion"}
    assert headers["Content-Type"].startswith("application/json")
    assert "X-Trimtab-Signature" not in headers


def test_a_receiver_with_the_key_can_verify_the_message(receiver):
    tell(receiver, "çhampion", key="s3cret")
    [(headers, body)] = receiver.received
    stamp, found = (part.partition("=")[2] for part in headers["X-Trimtab-Signature"].split(","))
    wanted = hmac.new(b"s3cret", stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert found == wanted
    assert abs(int(stamp) - time.time()) < 600
    assert signature("other", body, int(stamp)) != headers["X-Trimtab-Signature"]


def test_nothing_in_a_text_becomes_a_mention_or_a_link(receiver):
    tell(receiver, "class <!channel> & <http://evil|click>")
    assert json.loads(receiver.received[0][1])["text"] == ("class &lt;!channel&gt; &amp; &lt;http://evil|click&gt;")


@pytest.mark.parametrize(
    ("answers", "posts", "said"),
    [
        ([500, 503, 200], 3, "was notified"),
        ([429, 200], 2, "was notified"),
        ([500], 3, "not notified: it answered 500"),
        ([403], 1, "not notified: it answered 403"),
        ([302], 1, "not notified: it answered 302"),
    ],
)
def test_a_fault_is_tried_again_a_bounded_number_of_times_and_a_refusal_is_not(receiver, answers, posts, said):
    receiver.answers = answers
    assert said in tell(receiver)
    assert len(receiver.received) == posts


def test_a_receiver_that_does_not_answer_is_given_up(receiver, monkeypatch):
    monkeypatch.setattr(notification, "TIMEOUT_S", 0.2)
    receiver.delay_s = 2
    assert "no answer" in tell(receiver)
    assert len(receiver.received) == 3


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/very-secret-path", "ftp://x/very-secret-path", "http://[very-secret"]
)
def test_what_is_said_of_a_failure_holds_neither_address_nor_key(url):
    said = notify("x", environment={"TRIMTAB_WEBHOOK_URL": url, "TRIMTAB_WEBHOOK_KEY": "k3y"}, wait_s=0)
    assert "notified" in said
    assert "secret" not in said
    assert "k3y" not in said


def test_without_an_address_nobody_is_told():
    assert notify("x", environment={}) == ""


def test_a_password_in_the_address_is_told_to_the_receiver_and_to_no_name_server(receiver, monkeypatch):
    asked, look_up = [], socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: asked.append(host) or look_up(host, *rest))
    receiver.url = receiver.url.replace("//", "//user:p%40ss:word@")
    assert tell(receiver) == "the webhook was notified"
    assert receiver.received[0][0]["Authorization"] == f"Basic {base64.b64encode(b'user:p@ss:word').decode()}"
    assert asked
    assert set(asked) == {"127.0.0.1"}


@pytest.mark.parametrize(
    "password", ["p@ss", "p:ss", "p:12", "p\\ss", "p ss", "p&s=s;", "p%2Fs%3Fs%23s%5Bs", "pässword"]
)
def test_a_password_with_special_characters_arrives_as_it_is(receiver, password):
    receiver.url = receiver.url.replace("//", f"//user:{password}@")
    assert tell(receiver) == "the webhook was notified"
    expected = base64.b64encode(f"user:{urllib.parse.unquote(password)}".encode()).decode()
    assert receiver.received[0][0]["Authorization"] == f"Basic {expected}"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hosts that a name server would have been asked for."""
    hosts: list[str] = []

    def look_up(host: str, *rest: object, **more: object) -> None:
        hosts.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setenv("no_proxy", "*")
    return hosts


@pytest.mark.parametrize(
    "login",
    [
        *(f"user:{password}" for password in ("se/cret", "12/cret", "se?cret", "12?cret", "se#cret", "12#cret")),
        *(f"user:{password}" for password in ("/cret", "?cret", "#cret", "@/cret", "s@se/cret", "s@1?cret", "s@#cret")),
        *(f"user:{password}" for password in ("se[cret", "se]cret", "se.s/cret", "//cret", "s/e@cret", "s℀cret")),
        "12/cret", "se/cret:x", ":12/cret",
    ],
)  # fmt: skip
def test_a_password_that_is_written_wrongly_reaches_no_name_server(asked, login):
    url = f"https://{login}@hooks.example.com/very-secret-path"
    said = notify("x", environment={"TRIMTAB_WEBHOOK_URL": url}, wait_s=0)
    assert said.startswith("nobody was notified: TRIMTAB_WEBHOOK_URL ")
    assert "%" in said
    assert said.isprintable()
    assert not any(part in said for part in ("cret", "user", "hooks.example.com"))
    assert asked == []


def test_a_path_with_an_at_sign_is_no_password(asked):
    url = "https://team.webhook.office.com/webhookb2/1@2/IncomingWebhook/3"
    assert "no answer" in notify("x", environment={"TRIMTAB_WEBHOOK_URL": url}, wait_s=0)
    assert set(asked) == {"team.webhook.office.com"}
