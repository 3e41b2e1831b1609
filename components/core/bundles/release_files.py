"""Files of a release: serving files and evidence."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from components.core.bundles.onnx_bundle import FORMAT, SUFFIX, OnnxBundle, read_onnx
from components.core.bundles.released_sources import SOURCES
from components.core.errors import UserError
from components.core.json_documents import parse_json

CARD, SUMS, PROVENANCE = "card.md", "SHA256SUMS", "provenance.json"
EVALUATION, DECISION, RETRAINING = "evaluation.json", "decision.json", "retraining.json"
CLIENT = "client.py"
SELF_TEST, SELF_TEST_RECORD = "self_test.py", "self_test.json"
# The client decides nothing about the network, so that a better comment in it makes no other release.
EVIDENCE = {CARD, SUMS, PROVENANCE, EVALUATION, DECISION, RETRAINING, SOURCES, CLIENT, SELF_TEST, SELF_TEST_RECORD}
_SIGNATURE_SUFFIX = ".minisig"


def serving_names(files: Iterable[str]) -> list[str]:
    """Names of the files that a server needs (graphs and assets), sorted; without evidence and signatures."""
    return sorted(name for name in files if name not in EVIDENCE and not name.endswith(_SIGNATURE_SUFFIX))


def read_release(folder: Path) -> OnnxBundle:
    """The network of a release's folder, each file of which is as `SHA256SUMS` says.

    Raises:
        UserError: no release, a file that is missing or was changed, or one that cannot be read.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        files = {name: folder / name for _, name in (line.split("  ", 1) for line in lines)}
        if any(Path(name).name != name for name in files):
            raise ValueError(f"{SUMS} names files elsewhere")
        for line in lines:
            digest, name = line.split("  ", 1)
            if hashlib.sha256(files[name].read_bytes()).hexdigest() != digest:
                raise UserError(f"{folder}: {name} is not the file that was released; copy the release again")
        return read_onnx(
            {name: path for name, path in files.items() if name.endswith(SUFFIX)},
            {**parse_json(files[PROVENANCE].read_bytes()), "format": FORMAT},
            {name: files[name].read_bytes() for name in serving_names(files) if not name.endswith(SUFFIX)},
        )
    except OSError as error:
        missing = Path(error.filename).name if error.filename else "a file"
        raise UserError(f"{folder} is no whole release: {missing}: {(error.strerror or 'error').lower()}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder} is no release that can be read: {error}") from None
