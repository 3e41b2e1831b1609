import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from kfp import dsl

from components.core.artifacts.entries import FileEntry
from components.core.artifacts.listings import write_listings
from components.core.artifacts.manifest import publish, publish_entries, read_manifest
from components.core.bundles.onnx_bundle import load_onnx
from components.core.data.last_prepared import save_last_prepared
from components.core.errors import UserError
from components.core.retraining import Anchor
from components.core.split_part import SplitPart
from components.core.store import AccessDenied, Store, open_store
from components.core.store.contents.champions import PROMOTED, ROLLED_BACK, Step
from components.core.tasks.images.assets import ImageAssets
from components.core.tasks.images.preprocess import Preprocess
from components.incumbent.component import incumbent
from components.incumbent.reading import first_of_year, read_incumbent, save_served

PREPROCESS = Preprocess(image_size=8, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def champion(store, tmp_path) -> dict[str, str]:
    """A champion; gives the digests of what it was made from."""
    publish(tmp_path / "model", kind="model", files={"bytes": b"model"}, metadata={"of": "model"}, store=store)
    shard = FileEntry(path="train-00000.parquet", bytes=7, sha256=store.blobs.put(b"dataset"))
    listed = write_listings([shard], store)
    publish_entries(tmp_path / "dataset", kind="dataset", entries=[], metadata={"of": "dataset"}, listings=listed)
    sources = {name: read_manifest(tmp_path / name) for name in ("model", "dataset")}
    provenance = {
        "task": "classification", "scheme": "int8", "backbone": "b", "verification": {"parity": 1},
        "artifacts": {"x": "y"},
    }  # fmt: skip
    files = {
        "model.onnx": b"onnx",
        "preprocess.json": json.dumps(PREPROCESS.to_json()).encode(),
        "labels.json": b'["a", "b"]',
        "card.md": b"# m",
        "SHA256SUMS": b"",
        "evaluation.json": b"{}",
        "decision.json": b"{}",
        "provenance.json": json.dumps(provenance).encode(),
        "sources.json": json.dumps({name: manifest.to_json() for name, manifest in sources.items()}).encode(),
    }
    store.releases.publish("m", "1", files)
    store.champions.promote("m", "1", who="ann", why="the first")
    return {name: manifest.digest for name, manifest in sources.items()}


def test_the_champion_comes_with_what_it_was_made_from_and_with_the_state_of_its_ref(store, champion):
    found = read_incumbent(store, "champion")
    assert found.champion.release == "m/1"
    assert {name: manifest.digest for name, manifest in found.champion.sources.items()} == champion
    assert found.state == store.champions.read().state
    assert sorted(found.champion.files) == ["labels.json", "model.onnx", "preprocess.json", "provenance.json"]


def test_the_data_set_is_handed_on_with_its_listings(store, champion, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_STORE", store.uri)
    names = (
        "served", "model", "reference", "latest", "anchor_served", "anchor_reference", "year_served", "year_reference",
    )  # fmt: skip
    outputs = {name: dsl.Artifact(uri=str(tmp_path / "out" / name)) for name in names}
    incumbent.python_func(champion="champion", **outputs)
    for name in ("reference", "latest", "anchor_reference", "year_reference"):
        handed_on = read_manifest(outputs[name].path)
        assert handed_on.digest == champion["dataset"]
        assert len(handed_on.listings) == 1


def test_what_is_evaluated_is_the_released_file_itself(store, champion, tmp_path):
    manifest = save_served(tmp_path / "served", read_incumbent(store, "champion").champion, store)
    bundle = load_onnx(manifest, store)
    assert bundle.graphs["model"].read_bytes() == b"onnx"
    assert bundle.assets == ImageAssets(preprocess=PREPROCESS, labels=["a", "b"])
    assert bundle.provenance == {"task": "classification", "scheme": "int8", "backbone": "b"}


def test_the_data_set_that_was_prepared_last_is_found_and_without_one_it_is_the_champions(store, champion, tmp_path):
    before = read_incumbent(store, "champion")
    assert before.latest == before.champion.sources["dataset"]
    publish(tmp_path / "newer", kind="dataset", files={"bytes": b"newer"}, metadata={}, store=store)
    save_last_prepared(store, before.prepared, read_manifest(tmp_path / "newer"))
    assert read_incumbent(store, "champion").latest == read_manifest(tmp_path / "newer")


def test_a_data_set_whose_bytes_are_gone_is_not_taken_over(store, champion, tmp_path):
    publish(tmp_path / "newer", kind="dataset", files={"bytes": b"newer"}, metadata={}, store=store)
    newer = read_manifest(tmp_path / "newer")
    save_last_prepared(store, "prepared/champion", newer)
    digest = newer.files[0].sha256
    (tmp_path / "store" / "blobs" / "sha256" / digest[:2] / digest).unlink()
    found = read_incumbent(store, "champion")
    assert found.latest == found.champion.sources["dataset"]


def test_without_a_champion_it_says_how_to_get_one(store):
    with pytest.raises(UserError, match=r"no champion 'champion'.*trimtab promote"):
        read_incumbent(store, "champion")


def test_a_damaged_champion_is_refused(store, champion, tmp_path):
    (tmp_path / "store" / "releases" / "m" / "1" / "labels.json").write_bytes(b"[]")
    with pytest.raises(UserError, match="m/1 is not a complete release"):
        read_incumbent(store, "champion")


@pytest.mark.parametrize("files", [{"model.onnx": b"x"}, {"model.onnx": b"x", "sources.json": b"{}"}])
def test_a_release_that_does_not_say_what_it_was_made_from_is_refused(store, files):
    store.releases.publish("old", "1", files)
    store.champions.promote("old", "1", who="ann", why="x")
    with pytest.raises(UserError, match="release old/1"):
        read_incumbent(store, "champion")


def promote_next(
    store, version: str, next_anchor: dict[str, str] | None, *, part: SplitPart | None = None, by_hand: bool = False
) -> None:
    """A release of a retraining, with the judgement that promoted it, or after which a person did."""
    files = {name: store.releases.read("m", "1", name) for name in store.releases.files("m", "1")}
    judged: dict[str, Any] = {"next_anchor": next_anchor}
    if part:
        judged["test_part"] = {"number": part.number, "of": part.of, "uses_before": [0] * part.of}
    store.releases.publish("m", version, {**files, "retraining.json": json.dumps(judged).encode()})
    who, run = ("ann", "") if by_hand else ("trimtab retrain", f"run-{version}")
    store.champions.promote("m", version, who=who, why="not worse", run=run)


def proven(store) -> str:
    """The best proven release, as incumbent finds it."""
    (anchor, served), _ = read_incumbent(store, "champion").anchors
    assert (anchor.title, anchor.deleted) == ("best proven release", "")
    assert served.release == anchor.release
    return anchor.release


def delete(tmp_path, version: str) -> None:
    """Deletes a release that is not needed any more, as a person does."""
    shutil.rmtree(tmp_path / "store" / "releases" / "m" / version)


def test_the_first_champion_is_its_own_anchor(store, champion):
    found = read_incumbent(store, "champion")
    assert (proven(store), found.part_uses) == ("m/1", (1,))
    assert [served for _, served in found.anchors] == [found.champion] * 2


def test_the_anchor_is_the_last_release_that_was_proven_better(store, champion):
    promote_next(store, "2", {"name": "m", "version": "1"})
    found = read_incumbent(store, "champion")
    assert (found.champion.release, proven(store), found.part_uses) == ("m/2", "m/1", (2,))
    promote_next(store, "3", None)
    assert proven(store) == "m/3"
    promote_next(store, "4", {"name": "m", "version": "3"})
    assert proven(store) == "m/3"


def test_a_release_that_a_person_promotes_is_its_own_anchor_whatever_its_judgement_says(store, champion):
    promote_next(store, "2", {"name": "m", "version": "1"}, by_hand=True)
    assert proven(store) == "m/2"
    promote_next(store, "3", None)
    store.champions.roll_back(who="ann", why="complaints")
    assert proven(store) == "m/2"


def test_a_rollback_to_what_a_retraining_promoted_brings_its_anchor_back(store, champion):
    promote_next(store, "2", {"name": "m", "version": "1"})
    promote_next(store, "3", None)
    store.champions.roll_back(who="ann", why="complaints")
    assert proven(store) == "m/1"


def test_a_damaged_anchor_is_refused_with_what_would_help(store, champion, tmp_path):
    promote_next(store, "2", {"name": "m", "version": "1"})
    (tmp_path / "store" / "releases" / "m" / "1" / "labels.json").write_bytes(b"[]")
    with pytest.raises(
        UserError,
        match=r"m/1 is not a complete release.*labels\.json.*best proven release.*restore its files, or delete",
    ):
        read_incumbent(store, "champion")


def step(when: str, release: str, *, run: str = "", action: str = PROMOTED) -> Step:
    """A change of the champion, by a retraining or, without a run, by a person."""
    name, _, version = release.partition("/")
    return Step(action=action, name=name, version=version, who="w", when=f"{when}T03:00:00+00:00", why="y", run=run)


# A year and more of retrainings, and what people have done after it.
RETRAINED = (
    step("2025-03-01", "m/1"),
    step("2025-11-20", "m/2", run="a"),
    step("2026-02-02", "m/3", run="b"),
    step("2026-06-01", "m/4", run="c"),
)
GONE_BACK = (*RETRAINED, step("2026-07-01", "m/2", action=ROLLED_BACK))
OTHER_CLASSES = (*RETRAINED[:3], step("2026-03-05", "n/1"), step("2026-06-01", "n/2", run="c"))


@pytest.mark.parametrize(
    ("history", "year", "title", "release"),
    [
        (RETRAINED, 2024, "first release of 2024", "m/1"),  # none before, none in it: a clock that is wrong
        (RETRAINED, 2025, "first release of 2025", "m/1"),  # none before it: the first that was promoted in it
        (RETRAINED, 2026, "first release of 2026", "m/2"),  # the champion when it began
        (RETRAINED, 2027, "first release of 2027", "m/4"),
        (GONE_BACK, 2026, "release chosen by hand on 2026-07-01", "m/2"),
        (GONE_BACK, 2027, "first release of 2027", "m/2"),
        (OTHER_CLASSES, 2026, "release chosen by hand on 2026-03-05", "n/1"),
        ((step("2025-12-31", "m/1"), step("2026-01-01", "m/2", run="a")), 2026, "first release of 2026", "m/1"),
    ],
)
def test_the_first_release_of_the_year_is_what_was_champion_when_it_began(history, year, title, release):
    assert first_of_year(history, year) == (title, release)


def test_a_challenger_is_held_against_the_years_first_release_too(store, champion):
    promote_next(store, "2", {"name": "m", "version": "1"})
    promote_next(store, "3", None)
    this_year = datetime.now(UTC).year
    best, first = read_incumbent(store, "champion").anchors
    assert [best[0], first[0]] == [
        Anchor(title="best proven release", release="m/3"),
        Anchor(title=f"first release of {this_year}", release="m/1"),
    ]
    assert first[1].release == "m/1"
    _, (first_of_next, _) = read_incumbent(store, "champion", year=this_year + 1).anchors
    assert first_of_next == Anchor(title=f"first release of {this_year + 1}", release="m/3")


def test_for_a_deleted_anchor_the_champion_stands_in_and_it_is_said(store, champion, tmp_path):
    promote_next(store, "2", {"name": "m", "version": "1"})
    delete(tmp_path, "1")
    found = read_incumbent(store, "champion")
    assert [anchor for anchor, _ in found.anchors] == [
        Anchor(title="best proven release", release="m/2", deleted="m/1"),
        Anchor(title=f"first release of {datetime.now(UTC).year}", release="m/2", deleted="m/1"),
    ]
    assert [served for _, served in found.anchors] == [found.champion] * 2


def test_a_store_that_does_not_answer_is_no_damaged_anchor(store, champion, monkeypatch):
    promote_next(store, "2", {"name": "m", "version": "1"})
    verify = store.champions.check_whole

    def refused(name: str, version: str) -> None:
        if version == "1":
            raise AccessDenied("the store refuses")
        verify(name, version)

    monkeypatch.setattr(store.champions, "check_whole", refused)
    with pytest.raises(AccessDenied, match=r"^the store refuses$"):
        read_incumbent(store, "champion")


def test_an_anchor_that_is_the_champion_hands_on_the_very_same_inputs(store, champion, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMTAB_STORE", store.uri)
    outputs = {
        "served": dsl.Model, "model": dsl.Model, "reference": dsl.Dataset, "latest": dsl.Dataset,
        "anchor_served": dsl.Model, "anchor_reference": dsl.Dataset, "year_served": dsl.Model,
        "year_reference": dsl.Dataset,
    }  # fmt: skip

    def call(folder: str) -> tuple[Any, dict[str, Any]]:
        made = {name: kind(uri=str(tmp_path / folder / name)) for name, kind in outputs.items()}
        (tmp_path / folder).mkdir()
        return incumbent.python_func(champion="champion", **made), made

    def of(made: dict[str, Any], name: str) -> tuple[Any, ...]:
        return read_manifest(tmp_path / made[name].uri), made[name].metadata

    year = datetime.now(UTC).year
    told, made = call("one")
    assert told.anchors == [
        {"title": "best proven release", "release": "m/1", "deleted": ""},
        {"title": f"first release of {year}", "release": "m/1", "deleted": ""},
    ]
    # The key of an evaluation is made of content and metadata: with the same, the second one is found in the cache.
    assert of(made, "served") == of(made, "anchor_served") == of(made, "year_served")
    assert of(made, "reference") == of(made, "anchor_reference") == of(made, "year_reference")

    promote_next(store, "2", None)
    told, made = call("two")
    assert [anchor["release"] for anchor in told.anchors] == ["m/2", "m/1"]
    assert of(made, "served") == of(made, "anchor_served") != of(made, "year_served")
    assert made["year_served"].metadata["release"] == "m/1"


def test_each_retraining_is_given_the_part_that_has_been_used_least(store, champion):
    given = []
    for week in range(2, 9):
        found = read_incumbent(store, "champion", test_parts=3)
        assert found == read_incumbent(store, "champion", test_parts=3)
        given.append((found.part.number, found.part_uses))
        promote_next(store, str(week), None, part=found.part)
    # The first release was measured on the whole split.
    assert given == [
        (1, (1, 1, 1)), (2, (2, 1, 1)), (3, (2, 2, 1)), (1, (2, 2, 2)), (2, (3, 2, 2)), (3, (3, 3, 2)), (1, (3, 3, 3)),
    ]  # fmt: skip


def test_a_use_of_the_whole_and_of_other_parts_counts_for_every_part_that_shares_rows(store, champion):
    promote_next(store, "2", None)
    promote_next(store, "3", None, part=SplitPart(number=1, of=2))
    # [0, ½) shares rows with the first two thirds.
    found = read_incumbent(store, "champion", test_parts=3)
    assert found.part_uses == (3, 3, 2)
    assert found.part == SplitPart(number=3, of=3)
    assert read_incumbent(store, "champion").part_uses == (3,)


HOSTILE = [
    b"[" * 100_000, b"[]", b"5", b"\xff", b'{"next_anchor": 5}', b'{"next_anchor": {"name": "m"}}',
    b'{"next_anchor": {"name": "m", "version": 5}}', b'{"test_part": [1]}', b'{"test_part": {"number": 0, "of": 2}}',
    b'{"test_part": {"number": 1, "of": 1e999}}', b'{"test_part": {"number": NaN, "of": 2}}',
]  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE, ids=range(len(HOSTILE)))
def test_a_judgement_of_another_form_in_a_release_is_one_line(store, champion, content):
    files = {name: store.releases.read("m", "1", name) for name in store.releases.files("m", "1")}
    store.releases.publish("m", "2", {**files, "retraining.json": content})
    store.champions.promote("m", "2", who="trimtab retrain", why="not worse", run="run-2")
    with pytest.raises(UserError, match=r"retraining\.json of release m/2") as caught:
        read_incumbent(store, "champion", test_parts=2)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[]", b"null", b'{"a": '])
def test_a_provenance_of_another_form_is_one_line(store, champion, tmp_path, content):
    served = read_incumbent(store, "champion").champion
    hostile = replace(served, files={**served.files, "provenance.json": content})
    with pytest.raises(UserError, match=r"provenance\.json of release m/1 ") as caught:
        save_served(tmp_path / "served", hostile, store)
    assert len(str(caught.value)) < 300
