"""`trimtab lineage`: a whole chain is verified, and each link that was tampered with is named."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.core.artifacts import listings
from components.core.artifacts.manifest import Manifest, publish
from components.core.bundles.own_model import stored_model
from components.core.data.dataset import write_dataset
from components.core.errors import UserError
from components.core.store import Store, open_objects, open_store
from components.core.store.backends.objects import Objects
from components.core.store.contents.blobs import blob_key
from components.core.tasks import get_task
from components.export.release import VERSION_DIGITS, checksums, release_digest
from pipelines.lineage import walk
from pipelines.runner.records import journal
from pipelines.runner.records.state import TaskRecord

Trimtab = Callable[..., Any]
RUN = "the-run"


@dataclass
class Chain:
    """A release in a store, made as `optimize` makes one, of bytes that mean nothing."""

    objects: Objects
    store: Store
    version: str
    manifests: dict[str, Manifest]

    def change(self, key: str, old: bytes, new: bytes) -> None:
        """Replaces the first of some bytes of an object."""
        data = self.objects.get(key).data
        assert old in data
        self.objects.put(key, data.replace(old, new, 1))

    def record_key(self, task: str) -> str:
        return next(one.key for one in self.objects.walk(f"journal/{RUN}") if f"/{task}." in one.key)


def rows(split: str) -> Iterator[dict[str, Any]]:
    for number in range(4):
        image = f"{split} image {number}".encode()
        digest = hashlib.sha256(image).hexdigest()
        yield {"image": image, "label": number % 2, "digest": digest, "source": f"{number}.png"}


@pytest.fixture
def chain(tmp_path: Path, trimtab: Trimtab) -> Chain:
    return made_chain(tmp_path)


def made_chain(tmp_path: Path) -> Chain:
    home = tmp_path / "trimtab-out"
    store = open_store(str(home / "store"))
    places = home / "runs" / RUN / "artifacts"
    manifests: dict[str, Manifest] = {}

    def keep(name: str, manifest: Manifest) -> None:
        manifests[name] = manifest

    def record(task: str, inputs: dict[str, str], *outputs: str, **parameters: Any) -> None:
        item = {"type": {"schemaTitle": "system.Artifact"}, "metadata": {}}
        journal.write(
            store,
            RUN,
            TaskRecord(
                task=task, label=task, component=task, status="succeeded", started=1.0, parameters=parameters,
                input_artifacts={name: [manifests[source].digest] for name, source in inputs.items()},
                output_artifacts={name: [{**item, "uri": str(places / name)}] for name in outputs},
            ),
        )  # fmt: skip

    def make(name: str, kind: str, files: dict[str, bytes], /, **metadata: Any) -> None:
        keep(name, publish(places / name, kind=kind, files=dict(files), metadata=metadata, store=store))

    keep(
        "dataset",
        write_dataset(
            places / "dataset", rows=get_task("classification").rows, classes=["cat", "dog"], store=store,
            splits={split: rows(split) for split in ("train", "validation", "test")},
        ),
    )  # fmt: skip
    record("data-prep", {}, "dataset", dataset="photos", dataset_state="state")
    data = manifests["dataset"].digest
    make("stock", "model", {"weights.safetensors": b"stock"}, weights_sha256="a" * 64, dataset=data)
    record("backbone-selection", {"dataset": "dataset"}, "stock")
    make("tuned", "model", {"weights.safetensors": b"tuned"}, dataset=data, model=manifests["stock"].digest)
    record("fine-tune", {"dataset": "dataset", "model": "stock"}, "tuned")
    files = {name: name.encode() for name in ("model.onnx", "labels.json", "preprocess.json")}
    make("quantized", "onnx", files, source_model=manifests["tuned"].digest)
    record("quantize", {"dataset": "dataset", "model": "tuned"}, "quantized")
    record("choose", {"candidates": "quantized"}, "quantized")
    provenance = {
        "artifacts": {
            "candidate (ONNX bundle)": manifests["quantized"].digest,
            "student (torch)": manifests["tuned"].digest,
        }
    }
    version = release_digest(files)[:VERSION_DIGITS]
    files |= {"card.md": b"card", "provenance.json": json.dumps(provenance).encode()}
    files["SHA256SUMS"] = checksums(files)
    store.releases.publish("sorter", version, dict(files))
    make("release", "release", files, name="sorter", version=version)
    record("export", {"candidate": "quantized", "model": "tuned"}, "release")
    store.refs.move("champion", {"name": "sorter", "version": version}, expected=None)
    return Chain(objects=open_objects(store.uri), store=store, version=version, manifests=manifests)


def flatten(link: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield link
    for given in link["inputs"]:
        yield from flatten(given)


def broken(trimtab: Trimtab) -> dict[str, str]:
    """Title → problems of each link that is broken."""
    said = trimtab("lineage", "champion", "--json")
    found = {one["title"]: "; ".join(one["problems"]) for one in flatten(json.loads(said.out)) if one["problems"]}
    assert said.code == (1 if found else 0)
    return found


@pytest.mark.parametrize("name", ["champion", "sorter", "sorter/{version}"])
def test_a_whole_chain_is_verified_back_to_the_raw_data(trimtab: Trimtab, chain: Chain, name: str) -> None:
    said = trimtab("lineage", name.format(version=chain.version))
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].startswith(f"sorter/{chain.version}")
    assert f"{RUN}: export" in lines[0]
    assert lines[-1] == "whole: 6 links verified back to the raw data, 1 outside of the store recorded"
    raw = next(line for line in lines if "raw data" in line)
    assert chain.manifests["dataset"].metadata["fingerprint"][:12] in raw
    assert "photos" in raw
    assert f"{RUN}: quantize" in said.out
    assert "choose" not in said.out  # it hands on, and makes nothing


def test_a_data_set_that_a_teacher_has_rewritten_leads_to_the_one_it_was_made_of(chain: Chain, tmp_path: Path) -> None:
    made_of = {"dataset": chain.manifests["dataset"].digest, "teacher": chain.manifests["tuned"].digest}
    taught = write_dataset(
        tmp_path / "taught", rows=get_task("classification").rows, classes=["cat", "dog"], store=chain.store,
        splits={"train": rows("train")}, metadata=made_of,
    )  # fmt: skip
    item = {"type": {"schemaTitle": "system.Dataset"}, "metadata": {}, "uri": str(tmp_path / "taught")}
    journal.write(
        chain.store, RUN,
        TaskRecord(
            task="teach", label="teach", component="teach", status="succeeded", started=1.0,
            input_artifacts={name: [digest] for name, digest in made_of.items()}, output_artifacts={"taught": [item]},
        ),
    )  # fmt: skip
    link = walk._Walk(chain.store)._artifact("dataset", taught.digest)
    assert [(one.title, one.kind) for one in link.inputs] == [("dataset", "dataset"), ("teacher", "model")]
    assert [one.title for one in link.inputs[0].inputs] == ["raw data"]
    assert not link.problems


def test_the_json_holds_the_chain(trimtab: Trimtab, chain: Chain) -> None:
    document = json.loads(trimtab("lineage", "champion", "--json").out)
    candidate = document["inputs"][0]
    assert candidate["digest"] == chain.manifests["quantized"].digest
    assert [one["title"] for one in candidate["inputs"]] == ["dataset", "model"]
    states = {one["title"]: one["state"] for one in flatten(document)}
    assert states["raw data"] == "verified"
    assert states["pretrained weights"] == "recorded"


def test_what_a_later_run_took_over_is_traced_to_the_run_that_made_it(trimtab: Trimtab, chain: Chain) -> None:
    """A retraining begins with the champion's network and data, and hands them on under a record of its own."""
    taken = [{"manifest": chain.manifests[name].to_json()} for name in ("tuned", "dataset")]
    record = {"task": "incumbent", "started": 2.0, "input_artifacts": {}, "output_artifacts": {"taken": taken}}
    chain.store.journal.write("a-retraining", "incumbent", {**record, "sha256": journal.seal_of(record)})
    said = trimtab("lineage", "champion")
    assert said.code == 0
    assert "incumbent" not in said.out
    chain.objects.delete(chain.record_key("fine-tune"))
    said = trimtab("lineage", "champion")  # now only its manifest says what the network was made of
    assert said.code == 0
    assert "a-retraining: incumbent" in said.out
    assert f"{RUN}: backbone-selection" in said.out


@pytest.mark.parametrize("name", ["dataset", "stock", "tuned", "quantized"])
def test_one_changed_byte_of_a_blob_is_found(trimtab: Trimtab, chain: Chain, name: str) -> None:
    entry = chain.manifests[name].files[0]
    data = chain.objects.get(blob_key(entry.sha256)).data
    chain.objects.put(blob_key(entry.sha256), data[:-1] + bytes([data[-1] ^ 1]))
    found = broken(trimtab)
    title = {"stock": "model", "tuned": "model", "quantized": "candidate (ONNX bundle)"}.get(name, name)
    assert found == {title: f"{entry.path}: its blob {entry.sha256[:12]} is damaged"}


def test_the_shards_of_a_data_set_with_listings_are_verified_too(
    trimtab: Trimtab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listings, "LISTED_FILES", 2)
    chain = made_chain(tmp_path)
    manifest = chain.manifests["dataset"]
    assert len(manifest.listings) == 2
    assert broken(trimtab) == {}
    entry = listings.listed_files(manifest, chain.store)[-1]
    data = chain.objects.get(blob_key(entry.sha256)).data
    chain.objects.put(blob_key(entry.sha256), data[:-1] + bytes([data[-1] ^ 1]))
    assert broken(trimtab) == {"dataset": f"{entry.path}: its blob {entry.sha256[:12]} is damaged"}
    chain.objects.delete(blob_key(manifest.listings[0].sha256))
    assert f"no blob {manifest.listings[0].sha256}" in broken(trimtab)["dataset"]


def test_a_blob_that_is_gone_is_found(trimtab: Trimtab, chain: Chain) -> None:
    entry = chain.manifests["tuned"].files[0]
    chain.objects.delete(blob_key(entry.sha256))
    assert "is not in the store" in broken(trimtab)["model"]


@pytest.mark.parametrize("task", ["data-prep", "backbone-selection", "fine-tune", "quantize", "export"])
def test_one_changed_byte_of_a_record_is_found(trimtab: Trimtab, chain: Chain, task: str) -> None:
    chain.change(chain.record_key(task), b'"started": 1.0', b'"started": 2.0')
    (problem,) = broken(trimtab).values()
    assert problem == f"the journal's record of {RUN}: {task} was changed: it does not have its own sha256"


def test_a_record_that_is_no_document_and_one_that_is_gone_are_found(trimtab: Trimtab, chain: Chain) -> None:
    key = chain.record_key("fine-tune")
    data = chain.objects.get(key).data
    chain.objects.put(key, data[:-3])
    assert f"{key} is damaged: not JSON" in broken(trimtab)[f"sorter/{chain.version}"]
    chain.objects.delete(key)
    assert broken(trimtab) == {"model": "no record in the store's journal has the manifest of this digest"}


def test_a_changed_manifest_is_found_even_if_its_record_is_sealed_again(trimtab: Trimtab, chain: Chain) -> None:
    key = chain.record_key("fine-tune")
    record = json.loads(chain.objects.get(key).data)
    record["output_artifacts"]["tuned"][0]["manifest"]["files"][0]["bytes"] += 1
    record["sha256"] = journal.seal_of(record)
    chain.objects.put(key, json.dumps(record).encode())
    assert broken(trimtab) == {"model": "no record in the store's journal has the manifest of this digest"}


def test_a_record_that_names_other_inputs_than_the_manifest_is_found(trimtab: Trimtab, chain: Chain) -> None:
    key = chain.record_key("fine-tune")
    record = json.loads(chain.objects.get(key).data)
    record["input_artifacts"]["model"] = [chain.manifests["quantized"].digest]
    record["sha256"] = journal.seal_of(record)
    chain.objects.put(key, json.dumps(record).encode())
    assert "its manifest says that its model was" in broken(trimtab)["model"]


@pytest.mark.parametrize("file", ["model.onnx", "card.md", "provenance.json", "SHA256SUMS"])
def test_one_changed_byte_of_a_release_is_found(trimtab: Trimtab, chain: Chain, file: str) -> None:
    key = f"releases/sorter/{chain.version}/{file}"
    data = chain.objects.get(key).data
    chain.objects.put(key, data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    assert f"{file}: " in broken(trimtab)[f"sorter/{chain.version}"]


def test_checksums_that_are_not_those_of_the_files_are_found(trimtab: Trimtab, chain: Chain) -> None:
    """A publisher may list wrong checksums under a right marker."""
    files: dict[str, bytes | Path] = {
        file: chain.store.releases.read("sorter", chain.version, file)
        for file in chain.store.releases.files("sorter", chain.version)
    }
    files["SHA256SUMS"] = checksums({"card.md": b"another card", "model.onnx": b"another"})
    chain.store.releases.publish("forged", chain.version, files)
    document = json.loads(trimtab("lineage", "forged", "--json").out)
    assert "SHA256SUMS has another sha256 for card.md" in document["problems"]


def test_other_serving_files_than_the_bundles_are_found(trimtab: Trimtab, chain: Chain) -> None:
    files: dict[str, bytes | Path] = {
        file: chain.store.releases.read("sorter", chain.version, file)
        for file in chain.store.releases.files("sorter", chain.version)
        if file != "SHA256SUMS"
    }
    files["model.onnx"] = b"another network"
    chain.store.releases.publish("forged", chain.version, files)
    said = trimtab("lineage", "forged")
    assert said.code == 1
    for problem in (
        "its version is not the digest of its serving files",
        f"model.onnx is not that of the ONNX bundle {chain.manifests['quantized'].digest[:12]}",
        "no task in the store's journal says that it published it",
    ):
        assert problem in said.out


def test_rows_whose_fingerprint_is_another_are_found(trimtab: Trimtab, chain: Chain, tmp_path: Path) -> None:
    """Shards that were swapped for others, by somebody who made the manifest and everything after it anew."""
    from pipelines.lineage.artifacts import Bytes

    manifest = chain.manifests["dataset"]
    facts = {**manifest.metadata, "classes": ["dog", "cat"]}
    (problem,) = Bytes(chain.store).problems(Manifest(kind="dataset", metadata=facts, files=manifest.files))
    assert problem.startswith("the rows have the fingerprint ")


@pytest.mark.parametrize(
    "wrong", [{"classes": 5}, {"classes": ["\x1b[2J"]}, {"task": ["x"]}, {"counts": {}}, {"fingerprint": None}]
)
def test_a_data_sets_manifest_of_another_form_is_a_broken_link(chain: Chain, wrong: dict[str, Any]) -> None:
    from pipelines.lineage.artifacts import Bytes

    manifest = chain.manifests["dataset"]
    facts = {**manifest.metadata, **wrong}
    (problem,) = Bytes(chain.store).problems(Manifest(kind="dataset", metadata=facts, files=manifest.files))
    assert problem.startswith("the dataset's manifest ")


def large_cell() -> bytes:
    """A cell of 100 MB in some kilobytes."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"image": [bytes(100_000_000)]}), sink, compression="zstd", use_dictionary=False)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("content", [b"PAR1 nothing of the kind PAR1", large_cell()], ids=["damaged", "large"])
def test_rows_that_cannot_be_read_are_a_broken_link(chain: Chain, content: bytes) -> None:
    from pipelines.lineage.artifacts import Bytes

    manifest = chain.manifests["dataset"]
    shard = replace(manifest.files[0], bytes=len(content), sha256=chain.store.blobs.put(content))
    (problem,) = Bytes(chain.store).problems(replace(manifest, files=(shard, *manifest.files[1:])))
    assert problem.startswith(f"{shard.path}: its rows cannot be read: ")


@pytest.mark.parametrize(
    "wrong",
    [
        {"output_artifacts": []}, {"output_artifacts": {"a": 5}}, {"output_artifacts": {"a": [5]}}, {"started": "x"},
        {"output_artifacts": {"a": [{"manifest": 5}]}},
        {"output_artifacts": {"a": [{"manifest": {"kind": "release", "metadata": 5}}]}},
        {"input_artifacts": 5}, {"input_artifacts": {"a": 5}}, {"started": 10**400}, {"task": "\x1b[2J"},
    ],
)  # fmt: skip
def test_a_journal_record_of_another_form_hides_nothing_and_stops_nothing(
    trimtab: Trimtab, chain: Chain, wrong: dict[str, Any]
) -> None:
    chain.store.journal.write("0-before-the-others", "x", {"task": "x", **wrong})
    said = trimtab("lineage", "champion")
    assert said.code == 0
    assert "whole: 6 links verified" in said.out
    with pytest.raises(UserError, match="no run in the store"):
        stored_model("0" * 16, chain.store)


@pytest.mark.parametrize("files", [{}, {"provenance.json": b"[" * 100_000}, {"provenance.json": b"[]"}])
def test_a_release_that_does_not_say_what_it_was_made_of_is_broken(
    trimtab: Trimtab, chain: Chain, files: dict[str, bytes]
) -> None:
    chain.store.releases.publish("bare", "1", {"model.onnx": b"x", **files})
    said = trimtab("lineage", "bare")
    assert said.code == 1
    assert "provenance.json does not say what it was made of" in said.out


def test_an_unknown_release_is_one_line_with_the_nearest(trimtab: Trimtab, chain: Chain) -> None:
    said = trimtab("lineage", "sorterr")
    assert said.code == 2
    assert said.err.startswith("error: there is no release and no ref 'sorterr'")
    assert "did you mean 'sorter'?" in said.err
    assert len(said.err.splitlines()) == 1
