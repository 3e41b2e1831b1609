"""The import-linter contracts speak of the folders that there are."""

import tomllib
from pathlib import Path

import components

ROOT = Path(components.__file__).parent
STAGES = {f"components.{path.parent.name}" for path in ROOT.glob("*/component.py")}


def contracts() -> dict[str, dict]:
    settings = tomllib.loads((ROOT.parent / "pyproject.toml").read_text(encoding="utf-8"))
    return {contract["name"]: contract for contract in settings["tool"]["importlinter"]["contracts"]}


def test_the_contract_of_the_stages_names_each_of_them() -> None:
    (stages,) = [contract["modules"] for contract in contracts().values() if contract["type"] == "independence"]
    assert sorted(stages) == sorted(STAGES)


def test_the_contract_of_core_forbids_each_stage() -> None:
    forbidden = contracts()["Core knows no stage, no pipeline and no kfp"]["forbidden_modules"]
    assert sorted(forbidden) == sorted({*STAGES, "pipelines", "kfp"})
