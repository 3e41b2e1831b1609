"""Files of a release: serving files and evidence."""

from collections.abc import Iterable

from components.core.bundles.released_sources import SOURCES

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
