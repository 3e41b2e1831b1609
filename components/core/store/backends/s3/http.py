"""HTTP/1.1 as transfers need it: one request at a time, and an answer's bytes straight into the caller's buffer.

llhttp (Node's parser) reads the heads. See `infra/decisions/2026-11-26-http-of-the-transfers.md` for why not
`http.client`.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from httptools import HttpParserError, HttpResponseParser

_READ_BYTES = 4 << 10  # a head, and little of the body, for that is copied once more
_MOST_HEAD_BYTES = 64 << 10
_SEND_BYTES = 256 << 10  # what must leave within the time-out: not so much that a slow line breaks


class BadAnswerError(Exception):
    """The answer is not HTTP/1.1, or its head is incomplete."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where connections lead, and how long they wait, in seconds, for it to accept and for each piece of an answer."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    connect_timeout: float
    read_timeout: float


class HttpConnection:
    """An open connection. The next request may only follow when the answer before it has been read."""

    def __init__(self, server: Server) -> None:
        """Raises OSError, of which TLS's errors are."""
        plain = socket.create_connection((server.host, server.port), server.connect_timeout)
        try:
            self._socket = server.tls.wrap_socket(plain, server_hostname=server.host) if server.tls else plain
        except BaseException:
            plain.close()
            raise
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._whole = 0  # what `recv` is told, to bring all that is asked for
        if server.tls:
            self._socket.settimeout(server.read_timeout)
            return
        # The kernel's time-outs, not Python's, which ask the kernel before each call and take what is there: threads
        # that wake for every packet wait for one another.
        self._socket.settimeout(None)
        for direction in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, direction, _timeval(server.read_timeout))
        self._whole = socket.MSG_WAITALL

    def ask(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """Sends a request, and reads the head of its answer. `headers` has the body's length, if there is one.

        Raises:
            OSError: the connection broke, or nothing came in time.
            BadAnswerError: what came is not understood.
        """
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        rest = memoryview(body)
        try:
            self._socket.sendall("\r\n".join(lines).encode("latin-1"))
            while rest:
                self._socket.sendall(rest[:_SEND_BYTES])
                rest = rest[_SEND_BYTES:]
        except BlockingIOError:
            raise TimeoutError from None
        return Answer(self)

    def receive(self, buffer: memoryview, *, is_whole: bool) -> int:
        """Brings what is there, waiting for the first of it; or waits until the buffer is full.

        Returns how many bytes: none, or not all, if the connection has ended. Raises OSError, `TimeoutError` if nothing
        came.
        """
        got = 0
        while got < len(buffer):
            rest = buffer[got:]
            try:
                read = self._socket.recv_into(rest, len(rest), self._whole if is_whole else 0)
            except BlockingIOError:
                raise TimeoutError from None
            got += read
            if not read or not is_whole:
                break
        return got

    def close(self) -> None:
        self._socket.close()


class Answer:
    """The head of an answer, and its body, of which no byte has been handed out yet.

    `headers` have lower-case names. `num_bytes` is the body's length, None if the head does not say it, and then there
    is no body to read here; `left` is what has not been read of it. `is_last`: no other request may follow.
    """

    def __init__(self, connection: HttpConnection) -> None:
        head = _Head()
        parser = HttpResponseParser(head)
        head.parser = parser
        buffer, got = memoryview(bytearray(_READ_BYTES)), 0
        try:
            while not head.num_complete:
                read = connection.receive(buffer, is_whole=False)
                got += read
                if not read or got > _MOST_HEAD_BYTES:
                    raise BadAnswerError
                parser.feed_data(buffer[:read])
        except HttpParserError as error:
            raise BadAnswerError from error
        finally:
            head.parser = None  # which knows the head: nothing is left for the garbage collector
        if head.num_complete > 1:
            raise BadAnswerError
        length = head.headers.get("content-length", "")
        self.status: int = parser.get_status_code()
        self.headers = head.headers
        self.num_bytes = int(length) if length.isdecimal() else None
        self.is_last = self.num_bytes is None or not head.is_followed
        self.left = self.num_bytes or 0
        self._connection = connection
        self._begun = memoryview(b"".join(head.body))

    def readinto(self, buffer: memoryview) -> int:
        """Brings up to `buffer`'s length of bytes, and returns how many; none at the end, and if the connection ended.

        Raises OSError.
        """
        got = min(len(buffer), len(self._begun))
        if got:
            buffer[:got] = self._begun[:got]
            self._begun = self._begun[got:]
        if rest := buffer[got : self.left]:
            got += self._connection.receive(rest, is_whole=True)
        self.left -= got
        return got


class _Head:
    """Callbacks of llhttp for an answer."""

    def __init__(self) -> None:
        self.parser: HttpResponseParser | None = None
        self.headers: dict[str, str] = {}
        self.is_followed = False  # by another answer, if there is another request
        self.num_complete = 0
        self.body: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.num_complete += 1
        self.is_followed = self.parser is not None and self.parser.should_keep_alive()  # later it forgets

    def on_body(self, body: bytes) -> None:
        self.body.append(body)


def _timeval(seconds: float) -> bytes:
    return struct.pack("@ll", int(seconds), int(seconds % 1 * 1e6))
