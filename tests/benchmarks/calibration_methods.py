"""How activation ranges are chosen, and what it does to an int8 file: each method on the same trained students.

    nice python tests/benchmarks/calibration_methods.py --store trimtab-out/store [--rows 256]

The store is of a finished run; all students that were distilled in it are quantized by each method, from the same
training images. Printed are the signal-to-noise ratio of the outputs on validation images that calibrated nothing, how
often both networks say the same, and the points of the task's first metric lost on the validation split. Nothing here
is a timing.
"""

import argparse
import json
import tempfile
from pathlib import Path

from components.core.artifacts.manifest import parse_manifest
from components.core.data.dataset import open_dataset
from components.core.runtime.conversion import float32_of
from components.core.store import open_store
from components.quantize.calibration import QuantizeConfig
from components.quantize.held import Held
from components.quantize.quantization import convert
from components.quantize.ranges import METHODS


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--store", required=True)
    asked.add_argument("--rows", type=int, default=256)
    given = asked.parse_args()
    store, folder = open_store(given.store), Path(given.store)

    def results(stage: str, output: str) -> list:
        found = []
        for path in sorted((folder / "results" / stage).glob("*.json"), key=lambda path: path.stat().st_mtime):
            record = store.results.load(stage, path.stem)
            assert record is not None
            digest = record["output_artifacts"][output][0]["files"]["manifest.json"]
            found.append(parse_manifest(json.loads(store.blobs.get(digest))))
        return found

    with tempfile.TemporaryDirectory() as place:
        prepared = Path(place) / "data"
        prepared.mkdir()
        (prepared / "manifest.json").write_text(json.dumps(results("data_prep", "prepared")[-1].to_json()))
        dataset = open_dataset(prepared, store)
        print(
            "| student | method | logits over error | same answer | points lost on validation |\n|---|---|---|---|---|"
        )
        for student in results("distill", "distilled"):
            plain = float32_of(student, store)
            held = Held(plain, next(iter(plain.graphs)), dataset, threads=1)
            for method in METHODS:
                config = QuantizeConfig(scheme="int8", method=method, images=given.rows, seed=0)
                with tempfile.TemporaryDirectory() as target:
                    made = convert(plain, dataset, config, Path(target), threads=1)
                    lost = held.drop(next(iter(made.graphs.values())).read_bytes())
                close = made.provenance["agreement"]
                said = f"{close['signal_to_noise_db']:.1f} dB | {close['argmax']:.2%} | {lost:+.2f}"
                print(f"| {student.digest[:8]} | {method} | {said} |", flush=True)


if __name__ == "__main__":
    main()
