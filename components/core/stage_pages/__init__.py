"""How the documents that stages write for each other are shown, in the stage's page and in the run report.

One file per document: `decision.py` (choose), `judgement.py` (decide and judge), `drift.py` (drift). An evaluation is
shown by `core/evaluation/blocks.py`, and by its task's pages.
"""
