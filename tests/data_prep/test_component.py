"""The KFP face, run as a plain function."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.core.errors import UserError
from components.core.store import Store


class Counts(SimpleNamespace):
    def log_metric(self, name: str, value: float) -> None:
        setattr(self, name, value)


@pytest.mark.usefixtures("store")
def test_the_stage_writes_manifest_metrics_and_a_page_that_names_the_broken_files(
    twenty_jpegs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    from components.data_prep.component import data_prep

    monkeypatch.setenv("TRIMTAB_STORE", store.uri)
    out = SimpleNamespace(path=str(tmp_path / "out" / "prepared"), metadata={})
    page = SimpleNamespace(path=str(tmp_path / "out" / "page.html"))
    metrics = Counts()
    data_prep.python_func(
        dataset=str(twenty_jpegs),
        task="classification",
        validation_fraction=0.15,
        test_fraction=0.25,
        max_image_mb=20.0,
        prepared=out,
        metrics=metrics,
        page=page,
    )
    assert [path.name for path in Path(out.path).iterdir()] == ["manifest.json"]
    assert (metrics.rows, metrics.classes, metrics.quarantined, metrics.duplicates) == (17, 2, 3, 0)
    assert metrics.train + metrics.validation + metrics.test == 17
    assert out.metadata["kind"] == "dataset"
    assert out.metadata["rows"] == 17
    html = Path(page.path).read_text()
    for name in ("cats/03.jpg", "dogs/04.jpg", "dogs/08.jpg", "cats", "dogs", "data:image/png;base64,"):
        assert name in html
    assert str(tmp_path) not in html


def test_a_data_parameter_that_the_task_does_not_have_is_refused_by_name() -> None:
    from components.data_prep.component import data_prep

    nowhere = SimpleNamespace(path="", metadata={})
    asked = {"validation_fraction": 0.15, "test_fraction": 0.25, "max_image_mb": 20.0, "settings": {"ignore_index": 0}}
    with pytest.raises(UserError, match="unknown data parameter 'ignore_index' for classification"):
        data_prep.python_func(
            dataset="demo", task="classification", prepared=nowhere, metrics=Counts(), page=nowhere, **asked
        )


def test_importing_the_component_imports_nothing_heavy() -> None:
    code = "import sys, components.data_prep.component; print({'torch', 'pyarrow', 'PIL', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
