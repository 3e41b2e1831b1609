"""The transfers' own HTTP, against servers that say exactly these bytes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from components.core.store.backends.s3.http import Answer, BadAnswerError, HttpConnection, Server

OK = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "e"\r\n\r\n'
Ask = Callable[..., Answer]


@pytest.fixture
def ask() -> Iterator[Ask]:
    """Sends a request to a server that hears it to its end, says the pieces one after another, and hangs up."""
    with ThreadPoolExecutor(1) as pool, socket.create_server(("127.0.0.1", 0)) as listening:
        opened: list[HttpConnection] = []

        def answer(pieces: list[bytes], request_bytes: int) -> bytes:
            with closing(listening.accept()[0]) as peer:
                heard = b""
                while b"\r\n\r\n" not in heard or len(heard) < request_bytes:
                    heard += peer.recv(1 << 16)
                for piece in pieces:
                    peer.sendall(piece)
                    time.sleep(0.005)  # so that it arrives as a piece
            return heard

        def ask_for(*pieces: bytes, body: bytes = b"", heard: list[Future[bytes]] | None = None) -> Answer:
            future = pool.submit(answer, list(pieces), len(body))
            if heard is not None:
                heard.append(future)
            host, port = listening.getsockname()[:2]
            opened.append(HttpConnection(Server(host=host, port=port, tls=None, connect_timeout=5, read_timeout=5)))
            return opened[-1].ask("PUT" if body else "GET", "/a%20b", {"Host": "h:1", "X": "y"}, body)

        yield ask_for
        for connection in opened:
            connection.close()


def read(answer: Answer, at_once: int = 3) -> bytes:
    found, buffer = b"", memoryview(bytearray(at_once))
    while got := answer.readinto(buffer):
        found += buffer[:got]
    return found


def test_a_request_is_sent_as_http_says(ask: Ask) -> None:
    heard: list[Future[bytes]] = []
    body = bytes(range(256)) * 4096  # more than is sent at once
    ask(OK, b"bytes", body=body, heard=heard)
    assert heard[0].result() == b"PUT /a%20b HTTP/1.1\r\nHost: h:1\r\nX: y\r\n\r\n" + body


@pytest.mark.parametrize("cut", [1, 9, 20, len(OK) - 1, len(OK), len(OK) + 2])
def test_an_answer_may_come_in_pieces(ask: Ask, cut: int) -> None:
    whole = OK + b"bytes"
    answer = ask(whole[:cut], whole[cut:])
    assert (answer.status, answer.num_bytes, answer.headers["etag"]) == (200, 5, '"e"')
    assert not answer.is_last
    assert (read(answer), answer.left) == (b"bytes", 0)


def test_a_large_body_comes_whole(ask: Ask) -> None:
    body = bytes(range(256)) * 10_000
    answer = ask(OK.replace(b"5", b"%d" % len(body)) + body)
    assert read(answer, at_once=100_000) == body


def test_a_body_that_ends_early_has_something_left(ask: Ask) -> None:
    answer = ask(OK + b"by")
    assert (read(answer), answer.left) == (b"by", 3)


def test_an_answer_without_a_body_can_be_followed(ask: Ask) -> None:
    answer = ask(OK.replace(b"5", b"0"))
    assert (answer.num_bytes, answer.left, answer.is_last) == (0, 0, False)


@pytest.mark.parametrize(
    "head",
    [
        OK.replace(b"ETag", b"Connection: close\r\nETag"),
        OK.replace(b"HTTP/1.1", b"HTTP/1.0"),
        OK.replace(b"Content-Length: 5\r\n", b""),
        OK.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked"),
    ],
    ids=["close", "1.0", "until it hangs up", "chunked"],
)
def test_after_some_answers_no_other_may_follow(ask: Ask, head: bytes) -> None:
    answer = ask(head)
    assert answer.is_last
    assert answer.num_bytes == (5 if b"Length" in head else None)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 twohundred OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"bytes",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
        OK + b"bytes" + OK + b"bytes",
    ],
    ids=[
        "nothing", "cut", "ssh", "no status", "two lengths", "no number", "length and chunks", "unasked", "endless",
        "two",
    ],
)  # fmt: skip
def test_what_is_no_answer_is_not_believed(ask: Ask, said: bytes) -> None:
    with pytest.raises(BadAnswerError):
        ask(said)


@contextmanager
def impatient() -> Iterator[tuple[HttpConnection, socket.socket]]:
    """A connection that waits 50 ms for each piece, and the server's end of it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        host, port = listening.getsockname()[:2]
        server = Server(host=host, port=port, tls=None, connect_timeout=5, read_timeout=0.05)
        with closing(HttpConnection(server)) as connection, closing(listening.accept()[0]) as peer:
            yield connection, peer


def test_a_connection_brings_one_answer_after_another() -> None:
    with impatient() as (connection, peer):
        for _ in range(2):
            peer.sendall(OK + b"bytes")
            answer = connection.ask("GET", "/", {})
            assert read(answer, at_once=100) == b"bytes"
            assert not answer.is_last


def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    with impatient() as (connection, _), pytest.raises(TimeoutError):
        connection.ask("GET", "/", {})


def test_a_body_that_stops_is_not_waited_for() -> None:
    with impatient() as (connection, peer):
        peer.sendall(OK + b"by")
        answer = connection.ask("GET", "/", {})
        with pytest.raises(TimeoutError):
            read(answer, at_once=5)


def test_a_server_that_does_not_listen_is_not_waited_for() -> None:
    with impatient() as (connection, _), pytest.raises(TimeoutError):
        connection.ask("PUT", "/", {}, bytes(64 << 20))
