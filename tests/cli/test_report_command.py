"""`trimtab report`: one page over a store in a folder or in S3."""

import re
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from stored_runs import RELEASES, fill

from components.core.store import open_store


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.s3)])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "store")
        return
    server = request.getfixturevalue("object_store_server")
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield f"s3://{server.bucket}/{tmp_path.name}"


def shown(html: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def test_the_page_shows_runs_releases_champion_and_drift(trimtab: Callable[..., Any], tmp_path: Path, uri: str) -> None:
    fill(open_store(uri), tmp_path / "artifacts")
    done = trimtab("report", "--store", uri, "--output", "out")
    assert done.code == 0, done.err
    assert "5 runs, 3 releases" in done.out
    html = Path("out/index.html").read_text()
    page = shown(html)
    for expected in (
        "5 runs, 3 releases; champion: sorter/bbbb33334444.", "optimize-9 optimize failed", "The run failed",
        "optimize-8 – no end recorded", "retrain-3 retrain succeeded 2026-02-23 02:40 13 s",
        "sorter/aaaa11112222 90.50 % 1.90 ms 3.10 MB", "the first one", "not worse by more than 1 point",
        "top-1 of the champion", "latency of the champion", "size of the champion", "12.0 % 0.620",
    ):  # fmt: skip
        assert expected in page, expected
    for version in RELEASES:
        assert html.count(f"sorter/{version}:") == 1  # its dot, with what it is
    radii = [float(radius) for radius in re.findall(r"</title>(?:<circle[^>]*class=\"ring\"[^>]*/?>(?:</circle>)?)?"
                                                    r"<circle[^>]*?\br=\"([\d.]+)\"", html)]  # fmt: skip
    assert len(set(radii)) == 3
    links = set(re.findall(r'href="([^"]+)"', html))
    assert links == {f"runs/{run}.html" for run in ("retrain-1", "retrain-2", "retrain-3", "optimize-8", "optimize-9")}
    assert all((Path("out") / link).is_file() for link in links)
    assert "out of <memory>" in shown(Path("out/runs/optimize-9.html").read_text())


def test_what_cannot_be_read_is_named_and_the_rest_is_shown(trimtab: Callable[..., Any], tmp_path: Path) -> None:
    store = tmp_path / "store"
    fill(open_store(str(store)), tmp_path / "artifacts")
    (store / "releases/sorter/cccc55556666/evaluation.json").write_text("{}")
    done = trimtab("report", "--store", str(store))
    assert done.code == 0
    assert "warning: release sorter/cccc55556666: " in done.out
    page = shown(Path("trimtab-report/index.html").read_text())
    assert "release sorter/cccc55556666: " in page
    assert "5 runs, 2 releases" in page


def test_without_a_store_one_line_says_so(trimtab: Callable[..., Any]) -> None:
    done = trimtab("report", "--store", "nowhere")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "there is no store at" in done.err
    assert not Path("trimtab-report").exists()
