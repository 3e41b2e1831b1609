"""A KFP API server on loopback: the endpoints that `kfp.Client` uses, state in memory, faults on demand.

It refuses what the real one refuses: unknown fields, a name twice, a reference to nothing, a missing or wrong token.
"""

import contextlib
import json
import re
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
import yaml

PREFIX = "/apis/v2beta1"
CREATED = "2026-11-25T21:00:00Z"
MODELS = {
    "pipelines": "V2beta1Pipeline", "experiments": "V2beta1Experiment",
    "runs": "V2beta1Run", "recurringruns": "V2beta1RecurringRun",
}  # fmt: skip
IDS = {
    "pipelines": "pipeline_id", "versions": "pipeline_version_id", "experiments": "experiment_id",
    "runs": "run_id", "recurringruns": "recurring_run_id",
}  # fmt: skip
LISTS = {"versions": "pipeline_versions", "recurringruns": "recurringRuns"}


class RefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Request:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Fault:
    """A fault instead of an answer: a status with the API's error, `html`, `text`, `hang`, `drop`, or `after` (the
    work is done and the answer is lost)."""

    method: str
    pattern: str
    kind: int | str
    times: int


@dataclass
class KfpServer:
    """The state. `steps` is what a run goes through, one step each time it is looked at: (state, task → state)."""

    url: str = ""
    token: str = ""
    multi_user: bool = False
    page_size: int = 100
    steps: list[tuple[str, dict[str, str]]] = field(default_factory=lambda: [("SUCCEEDED", {})])
    error: str = ""
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    objects: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in IDS})
    looks: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, pattern: str, kind: int | str, *, method: str = "", times: int = 10**6) -> None:
        """The next `times` requests whose path matches end in this fault."""
        self.faults.append(Fault(method=method, pattern=pattern, kind=kind, times=times))

    def sent(self, method: str, pattern: str) -> list[Request]:
        """The requests that arrived, in order."""
        return [one for one in self.requests if one.method == method and re.search(pattern, one.path)]

    def names(self, kind: str) -> list[str]:
        """Display names of what there is."""
        return [item["display_name"] for item in self.objects[kind].values()]

    def fault_of(self, request: Request) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and fault.method in ("", request.method) and re.search(fault.pattern, request.path):
                fault.times -= 1
                return fault
        return None

    def answer(self, request: Request) -> Any:
        """The content of a successful answer.

        Raises:
            RefusedError: the answer is none.
        """
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            raise RefusedError(401, "Unauthorized")
        if not request.path.startswith(PREFIX + "/"):
            raise RefusedError(404, "Not Found")
        parts = request.path.removeprefix(PREFIX + "/").split("/")
        with self.lock:
            match request.method, parts:
                case "GET", ["healthz"]:
                    return {"multi_user": self.multi_user}
                case "POST", ["pipelines", "upload_version"]:
                    return self._upload(request)
                case "GET", ["pipelines", pipeline, "versions"]:
                    self._get("pipelines", pipeline)
                    mine = [v for v in self.objects["versions"].values() if v["pipeline_id"] == pipeline]
                    return self._listed("versions", mine, request)
                case "GET", [kind] if kind in MODELS:
                    return self._listed(kind, list(self.objects[kind].values()), request)
                case "POST", [kind] if kind in MODELS:
                    return self._create(kind, request)
                case "GET", ["runs", run]:
                    return self._run(run)
                case "POST", ["recurringruns", name] if ":" in name:
                    found = self._get("recurringruns", name.partition(":")[0])
                    found["status"] = {"enable": "ENABLED", "disable": "DISABLED"}[name.partition(":")[2]]
                    return {}
                case "DELETE", ["recurringruns", name]:
                    self._get("recurringruns", name)
                    del self.objects["recurringruns"][name]
                    return {}
        raise RefusedError(404, "Not Found")

    def _get(self, kind: str, identifier: str) -> dict[str, Any]:
        if identifier not in self.objects[kind]:
            raise RefusedError(404, f"{kind} {identifier} not found")
        return self.objects[kind][identifier]

    def _listed(self, kind: str, items: list[dict[str, Any]], request: Request) -> dict[str, Any]:
        if self.multi_user and kind in ("experiments", "recurringruns") and not request.query.get("namespace"):
            raise RefusedError(400, "Invalid input error: a namespace is required in multi-user mode")
        items = items[::-1] if request.query.get("sort_by") == "created_at desc" else items
        for predicate in json.loads(request.query.get("filter") or "{}").get("predicates", []):
            assert predicate["operation"] == 1, predicate
            items = [item for item in items if item.get(predicate["key"]) == predicate["stringValue"]]
        start = int(request.query.get("page_token") or 0)
        end = start + min(self.page_size, int(request.query.get("page_size") or self.page_size))
        more = {"next_page_token": str(end)} if end < len(items) else {}
        return {LISTS.get(kind, kind): items[start:end], "total_size": len(items), **more}

    def _create(self, kind: str, request: Request) -> dict[str, Any]:
        import kfp_server_api.models

        body = request.json
        unknown = set(body) - set(getattr(kfp_server_api.models, MODELS[kind]).attribute_map.values())
        if unknown:
            raise RefusedError(400, f"unknown field {sorted(unknown)[0]!r}")
        if not body.get("display_name"):
            raise RefusedError(400, "Invalid input error: name is required")
        if kind in ("pipelines", "experiments") and body["display_name"] in self.names(kind):
            raise RefusedError(409, f"Already exist error: {kind} {body['display_name']}")
        if kind in ("runs", "recurringruns"):
            reference = body["pipeline_version_reference"]
            version = self._get("versions", reference["pipeline_version_id"])
            assert version["pipeline_id"] == reference["pipeline_id"]
            self._get("experiments", body["experiment_id"])
            known = version["pipeline_spec"]["root"].get("inputDefinitions", {}).get("parameters", {})
            for name in body["runtime_config"].get("parameters", {}):
                if name not in known:
                    raise RefusedError(400, f"Invalid input error: unknown parameter {name}")
        if kind == "recurringruns":
            body["status"] = {"ENABLE": "ENABLED", "DISABLE": "DISABLED"}[body["mode"]]
            body["max_concurrency"] = str(body["max_concurrency"])  # as protobuf writes 64 bits
            body.setdefault("service_account", "pipeline-runner")
            assert len(body["trigger"]["cron_schedule"]["cron"].split()) == 6
        return self._add(kind, body)

    def _add(self, kind: str, item: dict[str, Any]) -> dict[str, Any]:
        identifier = str(uuid.uuid4())
        self.objects[kind][identifier] = {**item, IDS[kind]: identifier, "created_at": CREATED}
        return self.objects[kind][identifier]

    def _upload(self, request: Request) -> dict[str, Any]:
        pipeline = self._get("pipelines", request.query["pipelineid"])["pipeline_id"]
        name = request.query["name"]
        if any(v["display_name"] == name and v["pipeline_id"] == pipeline for v in self.objects["versions"].values()):
            raise RefusedError(409, "Failed to create a pipeline version")
        message = BytesParser().parsebytes(
            b"Content-Type: " + request.headers["content-type"].encode() + b"\r\n\r\n" + request.body
        )
        (part,) = message.get_payload()  # type: ignore[misc]
        assert part.get_param("name", header="content-disposition") == "uploadfile"  # type: ignore[union-attr]
        spec, *platform = yaml.safe_load_all(part.get_payload(decode=True))  # type: ignore[union-attr,arg-type]
        content = {"pipeline_id": pipeline, "display_name": name, "pipeline_spec": spec, "platform": platform}
        return self._add("versions", content)

    def _run(self, identifier: str) -> dict[str, Any]:
        run = self._get("runs", identifier)
        look = self.looks.get(identifier, 0)
        self.looks[identifier] = look + 1
        state, tasks = self.steps[min(look, len(self.steps) - 1)]
        details = [{"task_id": name, "display_name": name, "state": now} for name, now in tasks.items()]
        error = {"error": {"code": 13, "message": self.error}} if self.error and state == "FAILED" else {}
        return {**run, "state": state, "run_details": {"task_details": details}, **error}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: KfpServer

    def _serve(self) -> None:
        address = urlsplit(self.path)
        request = Request(
            method=self.command, path=unquote(address.path), query=dict(parse_qsl(address.query)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("content-length") or 0)),
        )  # fmt: skip
        self.state.requests.append(request)
        fault = self.state.fault_of(request)
        match fault.kind if fault else None:
            case None:
                self._answer(request)
            case int() as status:
                self._send(status, json.dumps({"error": "as asked", "code": 13, "message": f"fault {status}"}))
            case "html":
                self._send(200, "<html><body>Log in to continue</body></html>", "text/html")
            case "text":
                self._send(200, '"ok"')
            case "hang":
                time.sleep(5)
                self.close_connection = True
            case "drop":
                self.close_connection = True
            case "after":
                self.state.answer(request)
                self.close_connection = True

    def _answer(self, request: Request) -> None:
        try:
            self._send(200, json.dumps(self.state.answer(request)))
        except RefusedError as error:
            self._send(error.status, json.dumps({"error": str(error), "code": 3, "message": str(error)}))

    def _send(self, status: int, text: str, kind: str = "application/json") -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr: what the command prints is under test."""


@pytest.fixture
def kfp_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[KfpServer]:
    """A server of its own for each test, and an environment without anybody's cluster or token."""
    import kfp

    for name in (
        "KF_PIPELINES_ENDPOINT",
        "KF_PIPELINES_UI_ENDPOINT",
        "KF_PIPELINES_SA_TOKEN_PATH",
        "TRIMTAB_KFP_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    # Computed from HOME when kfp was imported.
    monkeypatch.setattr(kfp.Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / ".config/kfp/context.json"))
    state = KfpServer()
    with serving(state):
        yield state


@contextlib.contextmanager
def serving(state: KfpServer, tls: ssl.SSLContext | None = None) -> Iterator[None]:
    """Serves the state on a free port of loopback, and sets its `url`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    state.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
