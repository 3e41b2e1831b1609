"""`trimtab store ls | cat | get | verify`."""

import shutil
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from components.core.errors import UserError
from components.core.store import Store
from components.core.store.backends.objects import Listed, Objects
from components.core.store.care.verification import Verified, verify
from components.core.store.files import replacing
from pipelines.cli.opening import existing_store, size_text
from pipelines.cli.store_names import find_blob, find_key, find_named_release, is_digest_like
from pipelines.runner.records.logs import printable


def list_objects(prefix: str, store: str) -> None:
    """Prints one line per object under a prefix; without a prefix, one line per area of the store."""
    with existing_store(store) as objects:
        if not prefix.strip("/"):
            _print_areas(objects)
            return
        folder = prefix.strip("/")
        found = False
        for listed in objects.walk(folder):
            found = True
            _print_object(listed)
        if not found:
            # The prefix may name a single object, or misspell an area.
            _print_object(objects.stat(find_key(objects, folder)))


def print_object(name: str, store: str) -> None:
    """Writes an object's bytes, verified if it is a blob, to standard output."""
    with existing_store(store) as objects, tempfile.TemporaryDirectory(prefix="trimtab-cat-") as folder:
        copy = Path(folder, "object")
        if is_digest_like(name):
            # Read and verified before the first byte is written: damaged bytes must not reach a pipe.
            Store(objects).blobs.fetch(find_blob(objects, name), copy)
        else:
            with copy.open("wb") as file:
                for chunk in objects.stream(find_key(objects, name.strip("/"))):
                    file.write(chunk)
        with copy.open("rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


def get(name: str, destination: Path, store: str) -> None:
    """Copies a blob to a file, or a release to a folder: verified, whole or not at all, never overwriting."""
    if destination.exists() or destination.is_symlink():
        raise UserError(f"{destination} already exists; choose another place")
    with existing_store(store) as objects:
        opened = Store(objects)
        try:
            if is_digest_like(name):
                opened.blobs.fetch(find_blob(objects, name), destination)
                print(f"{destination}  {size_text(destination.stat().st_size)}, verified")
                return
            release, version = find_named_release(opened, name)
            files = opened.releases.files(release, version)
            with replacing(destination) as partial:
                try:
                    for file in files:
                        target = partial / file
                        target.parent.mkdir(parents=True, exist_ok=True)
                        target.write_bytes(opened.releases.read(release, version, file))
                except BaseException:
                    shutil.rmtree(partial, ignore_errors=True)
                    raise
        except OSError as error:
            raise UserError(f"cannot write to {destination}: {(error.strerror or str(error)).lower()}") from None
    print(f"{destination}  {release}/{version}, {len(files)} files, verified")


def verify_store(store: str, *, quarantine: bool) -> int:
    """Prints damaged and missing objects; returns the exit code, 1 if there are any."""
    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("reading"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with existing_store(store) as objects, Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("blobs", total=None)
        verified = verify(
            objects,
            quarantine=quarantine,
            tell=lambda done, total: progress.update(task, completed=done, total=total),
        )
    _print_verified(verified)
    return 1 if verified.findings else 0


def _print_verified(verified: Verified) -> None:
    for finding in verified.findings:
        moved = f"; moved to {finding.moved_to}" if finding.moved_to else ""
        print(f"{'damaged' if finding.damaged else 'broken '}  {printable(f'{finding.key}: {finding.problem}{moved}')}")
    counts = ", ".join(f"{count:,} {kind}" for kind, count in verified.looked_at.items())
    outcome = f"{len(verified.findings):,} problems" if verified.findings else "all whole"
    print(f"{outcome}: {counts}; {size_text(verified.blob_bytes)} of blobs were read")


def _print_areas(objects: Objects) -> None:
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for listed in objects.walk():
        total = totals[listed.key.split("/")[0]]
        total[0] += 1
        total[1] += listed.size
    for area, (count, size) in sorted(totals.items()):
        print(f"{printable(area):<12} {count:>9,}  {size_text(size):>10}")


def _print_object(listed: Listed) -> None:
    written = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(listed.modified))
    print(f"{written}  {size_text(listed.size):>10}  {printable(listed.key)}")
