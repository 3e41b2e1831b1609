"""podman or docker, called by their command line, which is the same for both as far as it is used here."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from components.core.errors import UserError

NAMES = ("podman", "docker")
_PROBE_SECONDS = 30.0

# All that the engine gets of this process's environment: where it finds itself, its settings, and the way out.
_KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|TMPDIR|LANG|LC_\w+|TZ|XDG_\w+|DBUS_SESSION_BUS_ADDRESS|SSH_AUTH_SOCK|SSL_CERT_(FILE|DIR)|"
    r"(DOCKER|CONTAINERS?|PODMAN|BUILDAH|STORAGE)_\w+|REGISTRY_AUTH_FILE|REGISTRIES_CONFIG_PATH|(https?|no|all)_proxy",
    re.IGNORECASE,
)


class EngineError(Exception):
    """The engine refused; the text is the last line that it said."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One of `NAMES`."""

    name: str

    def ask(self, *words: str, timeout: float | None = None) -> str:
        """Calls the engine, waits, and returns what it printed.

        Raises:
            EngineError: it left with another code than 0, or did not answer in time.
        """
        try:
            done = subprocess.run(
                [self.name, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False,
                env=self.environment(),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise EngineError(f"no answer within {timeout:g} s") from None
        return _printed(done.returncode, done.stdout, done.stderr)

    def environment(self) -> dict[str, str]:
        """The environment of the engine's commands: of this process's only what an engine needs."""
        return {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}

    async def tell(self, *words: str, env: Mapping[str, str] | None = None) -> str:
        """As `ask`, without holding up the other tasks. `env` comes on top of `environment`."""
        process = await asyncio.create_subprocess_exec(
            self.name, *words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**self.environment(), **(env or {})},
            start_new_session=True,  # Ctrl-C is for the runner, which then asks the containers to stop
        )  # fmt: skip
        out, err = await process.communicate()
        return _printed(process.returncode, out, err)


def _printed(code: int | None, out: bytes, err: bytes) -> str:
    if code != 0:
        lines = [line for line in err.decode(errors="replace").splitlines() if line.strip()]
        raise EngineError(lines[-1].removeprefix("Error: ").strip() if lines else f"it left with exit code {code}")
    return out.decode(errors="replace").strip()


def find_engine() -> Engine:
    """The first of podman and docker that is installed and answers.

    Raises:
        UserError: neither does.
    """
    refusals = []
    for name in NAMES:
        if shutil.which(name) is None:
            continue
        engine = Engine(name=name)
        try:
            engine.ask("ps", "-q", timeout=_PROBE_SECONDS)
        except EngineError as error:
            refusals.append(f"{name} is installed but does not work: {error}")
        else:
            return engine
    if refusals:
        raise UserError(f"no container can be started ({'; '.join(refusals)})")
    raise UserError("no container can be started: neither podman nor docker is installed")
