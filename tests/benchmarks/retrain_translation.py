"""A translator's first release and its retraining, by hand: the demo's catalogs in two increments.

    python tests/benchmarks/retrain_translation.py --folder FOLDER [--first Sphinx,djangorestframework]
        [--then Django] [--epochs 1] [--small] [-p NAME=VALUE …]

Runs `trimtab run translation` on the catalogs of the first packages, promotes the release, and runs
`trimtab run retrain_translation` on these and those of the second. Needs the extra `translation-demo`. The store in
FOLDER is used again: what a run has made is found there, so that one that was killed goes on. Says how each step ended.
--small takes a small fresh network in place of the pretrained one: its translations are nothing, and every stage takes
seconds.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path


def trimtab(folder: Path, *words: str) -> str:
    """The command's output, which is shown too; ends the script where it fails."""
    environment = {**os.environ, "TRIMTAB_STORE": str(folder / "store")}
    begun, lines = time.perf_counter(), []
    command = [sys.executable, "-m", "pipelines.cli", *words]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    print(
        f"$ trimtab {' '.join(words)}: exit code {process.returncode}, {time.perf_counter() - begun:.0f} s", flush=True
    )
    if process.returncode:
        sys.exit(process.returncode)
    return "".join(lines)


SMALL = """backbones:
  small:
    task: translation
    architecture: marian:transformer
    weights: none
    licence: none
    options:
      {vocabulary: 800, dim: 64, heads: 4, encoder_layers: 1, decoder_layers: 1, encoder_ffn: 128, decoder_ffn: 128}
"""


def main() -> None:
    """Both runs, and what the champion is afterwards."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--folder", type=Path, required=True)
    asked.add_argument("--first", default="Sphinx,djangorestframework")
    asked.add_argument("--then", default="Django")
    asked.add_argument("--epochs", type=int, default=1)
    asked.add_argument("--small", action="store_true")
    asked.add_argument("-p", "--param", action="append", default=[], help="of both runs")
    given = asked.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    folder = given.folder.resolve()
    if given.small:
        (folder / "small.yaml").write_text(SMALL, encoding="utf-8")
        given.param += [f"catalog={folder / 'small.yaml'}", "backbones=small", "vocabulary_least=0"]
    shared = [word for one in given.param for word in ("-p", one)]

    def data(packages: str) -> list[str]:
        return ["-p", f"dataset=packages:{packages}", *shared]

    training = ["-p", f"epochs={given.epochs}", "-p", f"distill_epochs={given.epochs}"]
    trimtab(folder, "run", "translation", *data(given.first), *training, "-p", "release_name=by_hand")
    released = sorted((folder / "store" / "releases" / "by_hand").iterdir(), key=lambda path: path.stat().st_mtime)
    trimtab(folder, "promote", f"by_hand/{released[-1].name}", "--why", "the first one")
    more = [*data(f"{given.first},{given.then}"), *training, "-p", "tune_epochs=1", "-p", "max_loss=20"]
    trimtab(folder, "run", "retrain_translation", *more)
    trimtab(folder, "champion")


if __name__ == "__main__":
    main()
