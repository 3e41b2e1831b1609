"""A small translator that begins with nothing, beside a translation word by word: LibreOffice, English to Portuguese.

    python tests/benchmarks/translation_from_nothing.py --folder FOLDER [--pairs 20000] [--seconds 900] [--threads 1]
        [--sentences 1000] [--seed 0]

Fetches LibreOffice's catalogs and help from Debian (MPL-2.0, tests/benchmarks/libreoffice.py), draws training pairs,
and trains a Transformer of 3 million parameters with a SentencePiece vocabulary of its own for so many seconds of CPU
time per thread. What it has made stays in FOLDER every 30 seconds; started again it goes on. Then BLEU and chrF on
held-out sentences of at least four words, by greedy decoding, beside two that need no network: the source as it is, and
each word's most probable translation by IBM Model 1 (Brown et al. 1993, J93-2003), 5 iterations on the same training
pairs. No test sentence has a source or a target of the training pairs, however written.
"""

import argparse
import hashlib
import json
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from components.core.runtime.host import describe_host
from components.core.tasks.translation import metrics
from components.core.tasks.translation.cleaning import content_key
from components.core.tasks.translation.config import EncoderDecoderConfig
from components.core.tasks.translation.losses import token_cross_entropy_sum
from components.core.tasks.translation.networks import EncoderDecoder
from components.core.tasks.translation.serving import TorchDecoder, padded, translate
from components.core.tasks.translation.vocabulary import SentencePieceVocabulary, train_vocabulary

sys.path.insert(0, str(Path(__file__).resolve().parent))
from libreoffice import written
from translation_compression import batches

Pairs = list[tuple[str, str]]
TEST_SHARE, MIN_WORDS, MAX_WORDS, MAX_PIECES = 0.1, 4, 60, 100
PIECES, RATE, WARM_UP, AVERAGE = 8000, 2e-3, 0.06, 0.995
SAVED_SECONDS = 30
ITERATIONS = 5
WORD = re.compile(r"\w+|[^\w\s]")


def split(folder: Path, count: int, seed: int) -> tuple[Pairs, Pairs]:
    """`count` training pairs, and test pairs that share no sentence with them on either side."""
    place = folder / "pairs"
    if not place.is_dir():
        written(folder)
    found = set()
    for name in ("ui", "help"):
        sides = ((place / f"{name}.{code}").read_text(encoding="utf-8").split("\n") for code in ("en", "pt_BR"))
        found |= {pair for pair in zip(*sides, strict=True) if all(pair) and pair[0] != pair[1]}
    train: Pairs = []
    test: Pairs = []
    for pair in sorted(found):
        if max(side.count(" ") for side in pair) < MAX_WORDS:
            drawn = int(hashlib.sha256(content_key(pair[0]).encode()).hexdigest()[:8], 16) % 1000 / 1000
            (test if drawn < TEST_SHARE else train).append(pair)
    train = random.Random(seed).sample(train, min(count, len(train)))
    seen = [{content_key(pair[side]) for pair in train} for side in (0, 1)]
    kept = {
        content_key(pair[0]): pair
        for pair in test
        if pair[0].count(" ") + 1 >= MIN_WORDS and not any(content_key(pair[side]) in seen[side] for side in (0, 1))
    }
    return train, random.Random(seed).sample(sorted(kept.values()), len(kept))


class Lexicon:
    """The most probable translation of each word, by Model 1: `t(f|e)` from all pairs of words that occur together."""

    def __init__(self, pairs: Pairs) -> None:
        sources: dict[str, int] = {"": 0}  # the empty word, which every target word may come from
        targets: dict[str, int] = {}
        links, places, occurrence = [], [], 0
        for source, target in pairs:
            ours = [0, *(sources.setdefault(word, len(sources)) for word in words(source))]
            for word in words(target):
                number = targets.setdefault(word, len(targets))
                links.append(np.array(ours, dtype=np.int64) << 32 | number)
                places.append(np.full(len(ours), occurrence))
                occurrence += 1
        kinds, link = np.unique(np.concatenate(links), return_inverse=True)
        place = np.concatenate(places)
        source_of = kinds >> 32
        chance = np.full(len(kinds), 1.0)
        for _ in range(ITERATIONS):
            weight = chance[link]
            shares = weight / np.bincount(place, weight)[place]
            counts = np.bincount(link, shares, minlength=len(kinds))
            chance = counts / np.bincount(source_of, counts)[source_of]
        order = np.lexsort((-chance, source_of))
        first = order[np.unique(source_of[order], return_index=True)[1]]
        known, said = list(sources), list(targets)
        self._best = {known[kinds[one] >> 32]: said[kinds[one] & 0xFFFFFFFF] for one in first.tolist()}

    def __call__(self, sentence: str) -> str:
        """Word for word, in the source's order, with its white space and capitals; unknown words as they are."""

        def said(found: re.Match[str]) -> str:
            best = self._best.get(found[0].lower(), found[0])
            return best.capitalize() if found[0][:1].isupper() else best

        return WORD.sub(said, sentence)


def words(sentence: str) -> list[str]:
    """In lower case, punctuation apart."""
    return WORD.findall(sentence.lower())


def network_of(pieces: int) -> EncoderDecoder:
    """3.1 million parameters with 8,000 pieces; embeddings of variance 1/dim, as they are scaled by √dim."""
    config = EncoderDecoderConfig(
        source_size=pieces, target_size=pieces, dim=160, heads=4, encoder_layers=4, decoder_layers=2, encoder_ffn=512,
        decoder_ffn=512, decoder_cell="attention", norm="pre",
    )  # fmt: skip
    torch.manual_seed(0)
    return EncoderDecoder(config)


class Training:
    """AdamW, linear warm-up and decay over the time, averaged weights; in a file every 30 seconds."""

    def __init__(self, network: EncoderDecoder, file: Path, *, threads: int) -> None:
        self.network, self._file, self._threads = network, file, threads
        self._named = dict(network.named_parameters())
        self._optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
        self._average = {name: value.detach().clone() for name, value in self._named.items()}
        self.spent, self.epoch, self.batch, self.step = 0.0, 0, 0, 0
        if file.is_file():
            self._load()

    def _load(self) -> None:
        tensors = load_file(self._file)
        facts = tensors.pop("facts").tolist()
        self.spent, self.epoch, self.batch, self.step = facts[0], *(round(fact) for fact in facts[1:])
        with torch.no_grad():
            for name, value in self._named.items():
                value.copy_(tensors[f"weight:{name}"])
                self._average[name].copy_(tensors[f"average:{name}"])
                self._optimizer.state[value] = {
                    "step": torch.tensor(float(self.step)),
                    "exp_avg": tensors[f"first:{name}"], "exp_avg_sq": tensors[f"second:{name}"],
                }  # fmt: skip
        print(f"goes on after {self.spent:.0f} s, {self.step} steps", flush=True)

    def _save(self) -> None:
        facts = [self.spent, self.epoch, self.batch, self.step]
        tensors = {"facts": torch.tensor(facts, dtype=torch.float64)}
        for name, value in self._named.items():
            state = self._optimizer.state[value]
            tensors |= {
                f"weight:{name}": value.detach(), f"average:{name}": self._average[name],
                f"first:{name}": state["exp_avg"], f"second:{name}": state["exp_avg_sq"],
            }  # fmt: skip
        partial = self._file.with_suffix(".partial")
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, partial)
        partial.replace(self._file)

    def run(self, rows: Sequence[tuple[list[int], list[int]]], seconds: float) -> EncoderDecoder:
        """Trains until so many seconds are spent; gives the network with the averaged weights."""
        self.network.train()
        begun, before = time.process_time(), self.spent
        saved, losses = self.spent, []
        while self.spent < seconds:
            order = list(batches(rows, random.Random(self.epoch)))
            while self.batch < len(order) and self.spent < seconds:
                losses.append(self._update([rows[row] for row in order[self.batch]], self.spent / seconds))
                self.batch += 1
                self.spent = before + (time.process_time() - begun) / self._threads
                if self.spent - saved >= SAVED_SECONDS or self.spent >= seconds:
                    self._save()
                    saved = self.spent
                    print(
                        f"  {self.spent:.0f} s, step {self.step}, epoch {self.epoch + self.batch / len(order):.2f}, "
                        f"loss per piece {np.mean(losses):.3f}",
                        flush=True,
                    )
                    losses = []
            if self.batch >= len(order):
                self.epoch, self.batch = self.epoch + 1, 0
        with torch.no_grad():
            for name, value in self._named.items():
                value.copy_(self._average[name])
        return self.network.eval()

    def _update(self, part: list[tuple[list[int], list[int]]], done: float) -> float:
        eos = self.network.config.eos
        source, target = (torch.from_numpy(padded([row[side] for row in part], eos)) for side in (0, 1))
        weight = torch.arange(target.shape[1]) < torch.tensor([len(row[1]) for row in part])[:, None]
        for group in self._optimizer.param_groups:
            group["lr"] = RATE * min(done / WARM_UP, 1.0) * (1 - done) + 1e-6
        loss = token_cross_entropy_sum(self.network(source, target), target, weight, smoothing=0.1) / weight.sum()
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        self.step += 1
        keep = min(AVERAGE, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, value in self._named.items():
                self._average[name].lerp_(value, 1 - keep)
        return float(loss.detach())


def decoded(network: EncoderDecoder, vocabulary: SentencePieceVocabulary, sources: list[str]) -> Iterator[str]:
    """Greedy translations, 32 at a time."""
    decoder = TorchDecoder(network)
    for start in range(0, len(sources), 32):
        source = padded([vocabulary.encode(text) for text in sources[start : start + 32]], vocabulary.eos)
        yield from map(vocabulary.decode, translate(decoder, source, beam_size=1, length_penalty=1.0))


def main() -> None:
    """Prints BLEU and chrF of the three on the same sentences."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--folder", type=Path, required=True)
    asked.add_argument("--pairs", type=int, default=20_000)
    asked.add_argument("--seconds", type=float, default=900)
    asked.add_argument("--threads", type=int, default=1)
    asked.add_argument("--sentences", type=int, default=1000)
    asked.add_argument("--pieces", type=int, default=PIECES)
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    torch.set_num_threads(given.threads)
    training, test = split(given.folder, given.pairs, given.seed)
    test = test[: given.sentences]
    print(f"{len(training):,} pairs to train, {len(test):,} to test", flush=True)
    key = hashlib.sha256(json.dumps([training, given.pieces, given.seconds, given.threads]).encode()).hexdigest()[:12]
    file = given.folder / f"vocabulary-{key}.spm"
    if not file.is_file():
        made = train_vocabulary((text for pair in training for text in pair), size=given.pieces)
        file.write_bytes(made.to_files()["vocab.spm"])
    vocabulary = SentencePieceVocabulary(model=file.read_bytes())
    rows = [(vocabulary.encode(source), vocabulary.encode_target(target)) for source, target in training]
    rows = [row for row in rows if max(map(len, row)) <= MAX_PIECES]
    network = network_of(vocabulary.source_size)
    print(f"{network.config.num_parameters / 1e6:.2f} million parameters, {len(rows):,} pairs of {MAX_PIECES} pieces")
    trained = Training(network, given.folder / f"training-{key}.safetensors", threads=given.threads)
    trained.run(rows, given.seconds)

    sources, references = (list(side) for side in zip(*test, strict=True))
    lexicon = Lexicon(training)
    said = {
        "the source as it is": sources,
        "word by word (IBM Model 1)": [lexicon(source) for source in sources],
        "the network": list(decoded(network, vocabulary, sources)),
    }
    for name, hypotheses in said.items():
        sums = metrics.statistics(hypotheses, references).sum(axis=0)
        print(f"{name:28s} BLEU {metrics.bleu(sums):5.2f}  chrF {metrics.chrf(sums):5.2f}")
    spent = f"{trained.spent:.0f} s of CPU per thread, {given.threads} threads, {trained.step} steps"
    print(f"{describe_host()['processor']}; {spent}; {', '.join(metrics.signatures().values())}")
    for number in range(0, len(sources), max(1, len(sources) // 5)):
        print(f"  {sources[number]}\n    {references[number]}")
        for name in list(said)[1:]:
            print(f"    {name}: {said[name][number]}")


if __name__ == "__main__":
    main()
