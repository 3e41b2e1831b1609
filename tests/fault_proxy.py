"""An HTTP proxy on loopback between a store and its real server, which does to requests what networks do."""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any
from urllib.parse import urlsplit

STALL_S = 3.0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A request that arrived. `connection` is the client's port: one for each connection."""

    method: str
    path: str
    headers: Message
    connection: int
    num_under_way: int

    @property
    def is_part(self) -> bool:
        return self.method == "PUT" and "partNumber=" in self.path

    @property
    def moves_bytes(self) -> bool:
        """Whether it carries an object's bytes, to or fro, and no XML."""
        asked = {pair.partition("=")[0] for pair in urlsplit(self.path).query.split("&")}
        return self.is_part or (self.method in ("GET", "PUT") and not asked & {"uploads", "list-type", "uploadId"})


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        # Here, in the connection's thread, and not on the listening socket: one client's refusal would hold up all.
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        with suppress(ssl.SSLError), self.tls.wrap_socket(request, server_side=True) as wrapped:
            super().finish_request(wrapped, client_address)


class FaultProxy:
    """Passes requests on. `faults`, one for each coming request, say what goes wrong; then `always`; then `choose`:

    - None: nothing;
    - (status, code): the request is answered so and not passed on;
    - a number: the connection closes after so many bytes of the answer's body;
    - "reset": the connection is reset after half of the answer's body;
    - "lose the answer": the request is passed on, and the connection is reset;
    - "wrong bytes": one bit of the object's bytes changes on the way, up or down;
    - "no ranges": the answer looks like a whole object's, as from a server that knows no ranges;
    - "no length": the answer comes in chunks, and does not say its length beforehand;
    - "stall": nothing is heard for 3 s, then the answer comes.
    """

    def __init__(self, target: str, *, certificate: Path | None = None) -> None:
        self.faults: deque[object] = deque()
        self.always: object = None
        self.choose: Callable[[Seen], object] = lambda seen: None
        self.requests: list[Seen] = []
        self._target = urlsplit(target).netloc
        self._lock = Lock()
        self._num_under_way = 0
        self._server = _Server(("127.0.0.1", 0), self._handler())
        if certificate is not None:
            self._server.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._server.tls.load_cert_chain(certificate)
        self.endpoint = f"{'https' if certificate else 'http'}://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _begin(self, handler: BaseHTTPRequestHandler) -> tuple[Seen, object]:
        with self._lock:
            self._num_under_way += 1
            seen = Seen(
                method=handler.command,
                path=handler.path,
                headers=handler.headers,
                connection=handler.client_address[1],
                num_under_way=self._num_under_way,
            )
            self.requests.append(seen)
            if self.faults:
                return seen, self.faults.popleft()
            return seen, self.always if self.always is not None else self.choose(seen)

    def _end(self) -> None:
        with self._lock:
            self._num_under_way -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16
            _real: http.client.HTTPConnection | None = None

            def handle_expect_100(self) -> bool:
                going_on = super().handle_expect_100()
                self.wfile.flush()  # or the client waits a second for the word
                return going_on

            def handle_request(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                seen, fault = proxy._begin(self)
                try:
                    if isinstance(fault, tuple):
                        self._answer(*fault)
                    else:
                        self._pass_on(body, fault, seen)
                    self.wfile.flush()
                except ConnectionError:
                    self.close_connection = True  # the client has had enough
                finally:
                    proxy._end()

            do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_request  # noqa: N815

            def _pass_on(self, body: bytes, fault: object, seen: Seen) -> None:
                wrong = fault == "wrong bytes" and seen.moves_bytes
                if wrong and self.command == "PUT":
                    body = with_one_bit_flipped(body)
                answer, data = self._ask(body)
                if fault == "stall":
                    time.sleep(STALL_S)
                if fault == "lose the answer":
                    self._reset()
                    return
                if wrong and self.command == "GET" and answer.status < 300:
                    data = with_one_bit_flipped(data)
                self._send(answer, data, fault)

            def _ask(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
                while True:
                    is_fresh = self._real is None
                    self._real = self._real or http.client.HTTPConnection(proxy._target, timeout=60)
                    try:
                        # The Host header goes on unchanged: it is part of the signature.
                        self._real.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                        for name, value in self.headers.items():
                            if name.lower() != "expect":
                                self._real.putheader(name, value)
                        self._real.endheaders(body)
                        answer = self._real.getresponse()
                        return answer, answer.read()
                    except (http.client.HTTPException, ConnectionError):
                        self._real.close()
                        self._real = None
                        if is_fresh:  # not merely a connection that was kept too long
                            raise

            def _send(self, answer: http.client.HTTPResponse, data: bytes, fault: object) -> None:
                knows_ranges = fault != "no ranges"
                self.send_response(answer.status if knows_ranges or answer.status != 206 else 200)
                withheld = ["transfer-encoding", "connection", "date", "server", "content-length"]
                withheld += [] if knows_ranges else ["content-range"]
                for name, value in answer.getheaders():
                    if name.lower() not in withheld:
                        self.send_header(name, value)
                if fault == "no length":
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
                    return
                length = answer.getheader("Content-Length") if self.command == "HEAD" else len(data)
                self.send_header("Content-Length", str(length or 0))
                self.end_headers()
                if isinstance(fault, int):
                    self.wfile.write(data[:fault])
                    self.close_connection = True  # not a reset, which would take back what is still on its way
                elif fault == "reset":
                    self.wfile.write(data[: len(data) // 2])
                    self.wfile.flush()
                    self._reset()
                else:
                    self.wfile.write(data)

            def _reset(self) -> None:
                self.close_connection = True
                # A reset, as from a server that died.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

            def _answer(self, status: int, code: str) -> None:
                xml = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(xml)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(xml)

            def log_message(self, *args: object) -> None:
                pass

        return Handler


def with_one_bit_flipped(data: bytes) -> bytes:
    """The bytes with the last bit of the middle one changed; no bytes stay none."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :] if data else data
