"""A data set prepared in parts is that of one process."""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from kfp import compiler, dsl

from components.core.artifacts.entries import FileEntry
from components.core.artifacts.manifest import Manifest, read_file
from components.core.data import parts as parts_module
from components.core.data import spill
from components.core.data.collect import Part
from components.core.data.spill import Spill
from components.core.errors import UserError
from components.core.store import Store
from components.core.tasks import get_task
from components.core.tasks.parameters import FIRST, forms
from components.data_part.component import data_part
from components.data_part.inspection import inspect_part
from components.data_prep.prepare import Prepared, prepare
from components.data_prep.settings import Settings
from components.preflight.plan import plan_parts
from pipelines.runner.conduct import RunResult
from pipelines.runner.events import Event, TaskEnded, TaskStarted
from pipelines.runner.options import RunOptions
from pipelines.runner.resume import resume_run
from pipelines.runner.run import run_pipeline
from pipelines.search import prepare_part

Picture = Callable[..., bytes]


def inspected(asked: Settings, count: int, out: Path, store: Store, numbers: Sequence[int] = ()) -> list[Manifest]:
    return [
        inspect_part(
            *(asked.dataset, asked.rows, Part(number=number, of=count), out / f"part{number}", store),
            max_bytes=asked.max_image_bytes,
            slice_columns=asked.slices,
            allow_paths=asked.allow_paths,
        )
        for number in numbers or range(count)
    ]


def in_parts(asked: Settings, count: int, out: Path, store: Store) -> Prepared:
    # What is merged first must not matter.
    return prepare(asked, out / "whole", store, parts=inspected(asked, count, out, store)[::-1])


@pytest.fixture
def pets(twenty_jpegs: Path, picture: Picture) -> Path:
    """The broken files, an exact copy, a near copy, one content under two labels, and files that are no images."""
    cats, dogs = twenty_jpegs / "cats", twenty_jpegs / "dogs"
    (cats / "copy.jpg").write_bytes((cats / "01.jpg").read_bytes())
    (cats / "near.jpg").write_bytes(picture(5, quality=60))
    (dogs / "of cats.jpg").write_bytes((cats / "07.jpg").read_bytes())
    (dogs / "notes.txt").write_text("a good dog")
    return twenty_jpegs


@pytest.fixture
def scenes(tmp_path: Path, picture: Picture) -> Path:
    """12 pictures with masks of two classes; one has no mask, and one a mask of another size."""
    import numpy as np
    from PIL import Image

    folder = tmp_path / "scenes"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(12):
        (folder / "images" / f"{number}.png").write_bytes(picture(number, "PNG"))
        mask = np.zeros((16, 24) if number != 3 else (8, 8), dtype=np.uint8)
        mask[: number + 1] = 1
        if number != 5:
            Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """60 sentence pairs, one of them twice and one without a translation."""
    things = [("house", "casa"), ("door", "porta"), ("street", "rua"), ("table", "mesa"), ("chair", "cadeira")]
    colours = [("white", "branca"), ("black", "preta"), ("yellow", "amarela"), ("red", "vermelha")]
    whose = [("our", "nossa"), ("my", "minha"), ("your", "sua")]
    lines = [
        f"This is {of} {colour} {thing}\tEsta é a {de} {thing_pt} {cor}"
        for thing, thing_pt in things
        for colour, cor in colours
        for of, de in whose
    ]
    lines.append(lines[7])
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(["en\tpt", *lines, "This one has no translation\t"]) + "\n")
    return path


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("task", ["classification", "segmentation", "translation"])
def test_any_number_of_parts_gives_the_manifest_of_one_process(
    task: str, count: int, request: pytest.FixtureRequest, tmp_path: Path, store: Store
) -> None:
    data = request.getfixturevalue({"classification": "pets", "segmentation": "scenes", "translation": "pairs"}[task])
    asked = Settings(dataset=str(data), rows=get_task(task).rows)
    alone = prepare(asked, tmp_path / "alone", store)
    assert alone.quarantine.files
    assert task == "segmentation" or alone.quarantine.duplicates
    parted = in_parts(asked, count, tmp_path, store)
    assert parted.manifest == alone.manifest
    assert parted.warnings == alone.warnings
    assert parted.quarantine.to_json() == alone.quarantine.to_json()


def test_a_given_split_groups_and_slices_come_through_parts(tmp_path: Path, picture: Picture, store: Store) -> None:
    lines = ["path,label,split,patient,camera"]
    for number in range(24):
        (tmp_path / f"{number}.jpg").write_bytes(picture(number))
        split = "test" if number % 6 == 0 else "train"
        lines.append(f"{number}.jpg,{'ab'[number % 2]},{split},p{number // 3},{'day' if number % 3 else ''}")
    # One file in two rows, of two groups: the first row's counts, in whichever part it is.
    lines += ["5.jpg,b,train,p7,day", "5.jpg,b,train,p0,day"]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(lines) + "\n")
    rows = get_task("classification").rows.with_options({"group_column": "patient"})
    asked = Settings(dataset=str(table), rows=rows, slice_columns="camera")
    alone = prepare(asked, tmp_path / "alone", store)
    assert alone.manifest.metadata["split"]["from"] == "the column 'split'"
    for count in (2, 7):
        assert in_parts(asked, count, tmp_path / str(count), store).manifest == alone.manifest


def test_rows_of_many_writes_and_files_come_through_parts(
    pets: Path, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Settings(dataset=str(pets), rows=get_task("classification").rows)
    alone = prepare(asked, tmp_path / "alone", store)
    monkeypatch.setattr(spill, "BUFFER_BYTES", 2000)
    monkeypatch.setattr(parts_module, "FILE_BYTES", 3000)
    assert in_parts(asked, 2, tmp_path, store).manifest == alone.manifest
    [first, _] = inspected(asked, 2, tmp_path / "again", store)
    assert len(first.files) > 3


def test_every_name_is_in_one_part() -> None:
    names = [f"cats/{number}.jpg" for number in range(500)]
    for count in (1, 2, 7):
        held = [[name for name in names if Part(number=number, of=count).holds(name)] for number in range(count)]
        assert sorted(name for part in held for name in part) == sorted(names)
        assert min(len(part) for part in held) > len(names) / count / 2
    with pytest.raises(ValueError, match=r"0\.\.1, got 2"):
        Part(number=2, of=2)


def test_a_part_that_is_inspected_twice_is_the_same(pets: Path, tmp_path: Path, store: Store) -> None:
    asked = Settings(dataset=str(pets), rows=get_task("classification").rows)
    first, second = (inspected(asked, 7, tmp_path / name, store, [4])[0] for name in ("one", "two"))
    assert first == second


@pytest.mark.parametrize(("number", "of", "counts"), [(0, 1, {"parts": 1}), (1, 2, {"parts": 2, "rejected": 0})])
def test_the_task_says_how_many_parts_there_are(
    pets: Path,
    tmp_path: Path,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    of: int,
    counts: dict[str, int],
) -> None:
    monkeypatch.setenv("TRIMTAB_STORE", str(tmp_path / "store"))
    metrics = dsl.Metrics(uri=str(tmp_path / "metrics"))
    data_part.python_func(
        dataset=str(pets), task="classification", inspected=dsl.Artifact(uri=str(tmp_path / "part")), metrics=metrics,
        part={"number": number, "of": of},
    )  # fmt: skip
    said = {name: metrics.metadata[name] for name in counts}
    assert said == counts
    assert ("rows" in metrics.metadata) is (of > 1)


def test_what_no_part_can_see_alone_is_refused_by_the_merge(tmp_path: Path, picture: Picture, store: Store) -> None:
    folder = tmp_path / "broken"
    for number in range(6):
        path = folder / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    asked = Settings(dataset=str(folder), rows=get_task("classification").rows)
    with pytest.raises(UserError, match=r"has no usable image: 6 truncated; first: a/0\.jpg"):
        in_parts(asked, 2, tmp_path, store)
    lines = ["path,label,camera"]
    for number in range(120):
        lines.append(f"{number}.jpg,{'ab'[number % 2]},camera {number}")
        (tmp_path / f"{number}.jpg").write_bytes(picture(number))
    (tmp_path / "many.csv").write_text("\n".join(lines))
    asked = Settings(dataset=str(tmp_path / "many.csv"), rows=asked.rows, slice_columns="camera")
    with pytest.raises(UserError, match="slice column 'camera' has more than 100 values"):
        in_parts(asked, 2, tmp_path / "sliced", store)


def rewritten(manifest: Manifest, store: Store, name: str, content: bytes) -> Manifest:
    """The part with another file, and a digest that is right."""
    kept = [one for one in manifest.files if one.path != name]
    file = FileEntry(path=name, bytes=len(content), sha256=store.blobs.put(content))
    return replace(manifest, files=(*kept, file))


HOSTILE: dict[str, Any] = {
    "no object": [],
    "no source": {"source": 5},
    "a source of another form": {"source": {"classes": 5}},
    "colours of another form": {"source": {"classes": [], "colours": {"a": 5}, "split_from": "", "facts": {}}},
    "classes of another form": {"classes": 5},
    "an escape in a class": {"classes": {"\x1b[2J": 3}},
    "a class of megabytes": {"classes": {"x" * 5_000_000: 3}},
    "splits of another form": {"splits": [5]},
    "slices of another form": {"slices": {"camera": 5}},
    "rejections of another form": {"rejected": [[1]]},
}


@pytest.mark.parametrize("wrong", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_part_of_another_form_is_refused_in_one_line(pets: Path, tmp_path: Path, store: Store, wrong: Any) -> None:
    asked = Settings(dataset=str(pets), rows=get_task("classification").rows)
    both = []
    for part in inspected(asked, 2, tmp_path, store):
        found = json.loads(read_file(part, "found.json", store))
        content = {**found, **wrong} if isinstance(wrong, dict) else wrong
        both.append(rewritten(part, store, "found.json", json.dumps(content).encode()))
    with pytest.raises(UserError, match=r"a part of the data set is damaged|must hold an object") as said:
        prepare(asked, tmp_path / "whole", store, parts=both)
    assert len(str(said.value)) < 3000


@pytest.mark.parametrize("stated", [{}, {"number": "1", "of": 2}, {"number": [1], "of": 2}, {"number": True, "of": 2}])
def test_parts_that_say_otherwise_which_they_are_are_refused(
    pets: Path, tmp_path: Path, store: Store, stated: dict[str, Any]
) -> None:
    asked = Settings(dataset=str(pets), rows=get_task("classification").rows)
    first, second = inspected(asked, 2, tmp_path, store)
    with pytest.raises(UserError, match="the parts do not add up to one data set"):
        prepare(asked, tmp_path / "whole", store, parts=[first, replace(second, metadata=stated)])


@pytest.mark.parametrize("digest", ["/tmp-x", "../x", "..", "", "zz"])
def test_a_digest_in_a_part_is_no_path(tmp_path: Path, digest: str) -> None:
    schema = pa.schema([("digest", pa.string()), ("source", pa.string())])
    (tmp_path / "rows").mkdir()
    with Spill(tmp_path / "rows", schema) as rows:
        batch = pa.RecordBatch.from_pylist([{"digest": digest, "source": "a"}], schema=schema)
        with pytest.raises(ValueError, match="which is no sha256 in hex"):
            rows.take(batch)
    assert not list((tmp_path / "rows").iterdir())


def test_rows_of_a_part_that_are_no_rows_are_one_line(pets: Path, tmp_path: Path, store: Store) -> None:
    asked = Settings(dataset=str(pets), rows=get_task("classification").rows)
    first, second = inspected(asked, 2, tmp_path, store)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, pa.schema([("digest", pa.string())])) as file:
        file.write_batch(pa.RecordBatch.from_pydict({"digest": ["0" * 64]}))
    for content in (b"no stream", sink.getvalue().to_pybytes()):
        both = [first, rewritten(second, store, "rows-00000.arrow", content)]
        with pytest.raises(UserError, match="a part of the data set is damaged"):
            prepare(asked, tmp_path / "whole", store, parts=both)


def test_parts_that_do_not_belong_together_are_refused(pets: Path, tmp_path: Path, store: Store) -> None:
    asked = Settings(dataset=str(pets), rows=get_task("classification").rows)
    three = inspected(asked, 3, tmp_path, store)
    with pytest.raises(UserError, match="do not add up to one data set: 1 of 3, 3 of 3"):
        prepare(asked, tmp_path / "whole", store, parts=[three[0], three[2]])
    for number in range(6):
        path = pets / ("test" if number % 2 else "train") / "cats" / f"n{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((pets / "cats" / "01.jpg").read_bytes())
    for split in ("train", "test"):
        (pets / split / "dogs").mkdir()
        (pets / split / "dogs" / "d.jpg").write_bytes((pets / "dogs" / "02.jpg").read_bytes())
    for name in ("cats", "dogs"):
        (pets / name).rename(tmp_path / f"{name} elsewhere")
    late = inspected(asked, 3, tmp_path / "late", store, [2])
    with pytest.raises(UserError, match="the data changed while they were read"):
        prepare(asked, tmp_path / "whole", store, parts=[*three[:2], *late])


# Through the runner: the nested pipeline that all pipelines have, with nothing around it.


def compiled(folder: Path, dataset: Path, count: int) -> Path:
    form = forms()[FIRST]
    defaults = {one.name: one.default for one in form.parameters}
    own = {
        "dataset": str(dataset),
        "task": form.task,
        "parts": plan_parts(count),
        "dataset_state": "",
        "data_settings": {},
    }
    nested = prepare_part(form)

    @dsl.pipeline(name="only-prepare")
    def only_prepare() -> dsl.Dataset:
        return nested({**defaults, **own, "data_settings": {}}).outputs["prepared"]  # type: ignore[no-any-return]

    path = folder / f"{count}.yaml"
    compiler.Compiler().compile(only_prepare, str(path))
    return path


def run(path: Path, home: Path, listener: Callable[[Event], None] = lambda _: None) -> RunResult:
    return run_pipeline(path, {}, run_id=f"in-{path.stem}", options=RunOptions(), listener=listener, home=home)


def prepared_digest(result: RunResult) -> str:
    [task] = [task for task in result.tasks if task.task.endswith("/data-prep")]
    [made] = task.output_artifacts["prepared"]
    return str(made["metadata"]["digest"])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("TRIMTAB_STORE", raising=False)
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "home"


def test_the_pipelines_prepare_the_same_data_in_1_2_and_7_tasks(pets: Path, tmp_path: Path, home: Path) -> None:
    found: dict[int, Any] = {}
    for count in (1, 2, 7):
        result = run(compiled(tmp_path, pets, count), home)
        assert result.status == "succeeded"
        read = [task for task in result.tasks if task.task.endswith("/data-part")]
        assert len(read) == count
        found[count] = prepared_digest(result)
    assert len(set(found.values())) == 1


def wait_for(what: Callable[[], Any]) -> Any:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.001)
    raise AssertionError("it did not happen within a minute")


def process_logging_to(log: str) -> int:
    """The task's process: its output goes to its log."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "fd" / "1").readlink() == Path(log):
                return int(entry.name)
    return 0


class KillsTheSecondPart:
    """Stops the part that begins last in the middle of its work, lets the other end, and kills it."""

    def __init__(self, home: Path) -> None:
        self._home, self._logs, self._other = home, list[str](), threading.Event()
        self.killed = ""

    def __call__(self, event: Event) -> None:
        if isinstance(event, TaskStarted) and event.task.endswith("/data-part"):
            self._logs.append(event.log)
            if len(self._logs) == 2:
                threading.Thread(target=self._kill, args=(event.task, event.log), daemon=True).start()
        elif isinstance(event, TaskEnded) and event.task.endswith("/data-part") and event.status == "succeeded":
            self._other.set()

    def _kill(self, task: str, log: str) -> None:
        scratch = self._home / "runs" / "in-2" / "work" / task / "tmp"
        wait_for(lambda: list(scratch.glob("trimtab-part-*/rows")))
        victim = wait_for(lambda: process_logging_to(log))
        os.kill(victim, signal.SIGSTOP)
        self._other.wait(60)
        os.kill(victim, signal.SIGKILL)
        self.killed = task


def test_a_part_that_is_killed_is_read_again_alone_and_the_data_are_the_same(
    pets: Path, picture: Picture, tmp_path: Path, home: Path
) -> None:
    for number in range(100, 400):
        (pets / ("cats" if number % 2 else "dogs") / f"{number}.jpg").write_bytes(picture(number))
    whole = prepared_digest(run(compiled(tmp_path, pets, 1), home))
    kills = KillsTheSecondPart(home)
    assert run(compiled(tmp_path, pets, 2), home, kills).status == "failed"
    assert kills.killed
    events: list[Event] = []
    resumed = resume_run("in-2", listener=events.append, home=home)
    assert resumed.status == "succeeded"
    started = [event.task for event in events if isinstance(event, TaskStarted)]
    assert [task for task in started if task.endswith("/data-part")] == [kills.killed]
    assert prepared_digest(resumed) == whole
