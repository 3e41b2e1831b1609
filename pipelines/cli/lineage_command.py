"""`trimtab lineage`."""

import json
import sys

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from components.core.store import Store
from pipelines.cli.opening import existing_store
from pipelines.cli.store_names import find_named_release
from pipelines.lineage.links import Link
from pipelines.lineage.walk import trace
from pipelines.runner.records.logs import printable

_STYLES = {"verified": "green", "recorded": "yellow", "broken": "bold red"}
_DIGITS = 12
_PIPE_COLUMNS = 1000
_MOST_CHARACTERS = 200
"""Of a fact that an artifact says of itself."""


def show_lineage(name: str, store: str, *, as_json: bool) -> int:
    """Prints the chain from a release to its raw data; returns the exit code, 1 if a link is broken."""
    with existing_store(store) as objects:
        opened = Store(objects)
        release, version = find_named_release(opened, name)
        chain = trace(opened, release, version)
    if as_json:
        print(json.dumps(chain.to_json(), indent=1))
        return 0 if chain.is_whole else 1
    # Lines are not wrapped in a pipe, so that grep and programs can read them.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
    console.print(_tree(chain))
    console.print(_summary([link for link in chain.all() if not link.repeated]))
    return 0 if chain.is_whole else 1


def _summary(links: list[Link]) -> Text:
    counts = {state: sum(link.state == state for link in links) for state in _STYLES}
    if counts["broken"]:
        return Text(f"{counts['broken']} of {len(links)} links are broken", style=_STYLES["broken"])
    outside = f", {counts['recorded']} outside of the store recorded" if counts["recorded"] else ""
    return Text(f"whole: {counts['verified']} links verified back to the raw data{outside}", style=_STYLES["verified"])


def _tree(link: Link) -> Tree:
    tree = Tree(_line(link))
    for given in link.inputs:
        tree.add(_tree(given))
    return tree


def _line(link: Link) -> Text:
    line = Text.assemble(f"{printable(link.title)}  ", (link.digest[:_DIGITS], "dim"), "  ")
    if link.repeated:
        line.append("(see above)", style="dim")
        return line
    line.append(link.state, style=_STYLES[link.state])
    if link.made_by:
        line.append(f"  {printable(link.made_by)}", style="dim")
    for key, value in link.facts.items():
        if isinstance(value, str | int | float) and key != "fingerprint":
            line.append(printable(f"  {key} {value}"[:_MOST_CHARACTERS]), style="dim")
    for problem in link.problems:
        line.append(f"\n! {printable(problem)}", style="red")
    return line
