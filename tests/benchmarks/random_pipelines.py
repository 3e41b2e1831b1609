"""Random pipelines against the reference interpreter, for as many minutes as you like, with random seeds.

    nice python tests/benchmarks/random_pipelines.py --minutes 10

Prints what was covered. At the first disagreement it shrinks the pipeline (for at most five minutes), prints it with
the seed, and leaves with 1; `--seed` does the same draws again.
"""

import argparse
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, reject, seed, settings

sys.path.insert(0, str(Path(__file__).parent.parent / "runner"))

from agreement import compare
from described_pipelines import LostBySdk
from pipeline_descriptions import Call, Node, Pipeline, Task, inside, with_exits
from random_pipelines import parameters, pipelines

_DRAWS = 100


def constructs(nodes: tuple[Node, ...]) -> Counter[str]:
    """How many of each construct a description holds."""
    found: Counter[str] = Counter()
    for node in with_exits(nodes):
        found[type(node).__name__.lower()] += 1
        found["ignoring failures"] += isinstance(node, Task | Call) and node.always and not node.leaving
        found += constructs(node.pipeline.nodes if isinstance(node, Call) else inside(node))
    return found


def one_round(number: int, until: float, counts: Counter[str]) -> None:
    """`_DRAWS` pipelines, or fewer if the time is over.

    Raises:
        AssertionError: the runner and the interpreter disagree; the notes hold the smallest pipeline found.
    """

    @seed(number)
    @settings(
        max_examples=_DRAWS, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(pipelines(), parameters())
    def agree(description: Pipeline, inputs: dict[str, Any]) -> None:
        if time.monotonic() > until and not counts["disagreements"]:
            return
        with tempfile.TemporaryDirectory() as folder:
            try:
                comparisons = compare(description, inputs, Path(folder))
            except LostBySdk:
                counts["pipelines that the SDK wrote with loose ends"] += 1
                reject()
        differences = [line for comparison in comparisons for line in comparison.differences]
        counts["disagreements"] += bool(differences)
        assert not differences, "\n".join(differences)
        counts["pipelines"] += 1
        for comparison in comparisons:
            expected = comparison.expected.values()
            counts["runs that failed"] += comparison.result.status == "failed"
            counts.update(f"instances {instance.status}" for instance in expected)
            counts["instances tried again"] += sum(instance.attempts > 1 for instance in expected)
            counts["instances from the cache"] += sum(task.cached for task in comparison.result.tasks)
            counts["instances held back by a failure elsewhere"] += comparison.held_back
        counts.update(constructs(description.nodes))

    agree()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # the SDK's, about base images
    until = time.monotonic() + 60 * arguments.minutes
    counts: Counter[str] = Counter()
    number = arguments.seed
    while time.monotonic() < until:
        try:
            one_round(number, until, counts)
        except BaseException:
            print(f"seed {number}, after {counts['pipelines']} pipelines:", file=sys.stderr)
            raise
        number += 1
    print(f"{arguments.minutes:g} minutes, seeds {arguments.seed} to {number - 1}, no disagreement")
    for name, count in sorted(counts.items()):
        print(f"{count:8,} {name}")


if __name__ == "__main__":
    main()
