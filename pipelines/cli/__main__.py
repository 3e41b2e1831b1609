"""`python -m pipelines.cli` is `trimtab`."""

from pipelines.cli import main

main()
