"""Python runs this at its start where this folder is on the path: writes down what each task of a run imports.

One file for each process, named by its task, in the folder `$TRIMTAB_TEST_IMPORTS`: one module of `components` a line.
"""

import os
import sys


def _record(event: str, arguments: tuple[object, ...]) -> None:
    if event == "import" and str(arguments[0]).startswith("components.") and "TRIMTAB_TASK" in os.environ:
        task = os.environ["TRIMTAB_TASK"].replace("/", "~")
        path = f"{os.environ['TRIMTAB_TEST_IMPORTS']}/{task}.{os.getpid()}"
        with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123  (pathlib may be what is being imported)
            file.write(f"{arguments[0]}\n")


if "TRIMTAB_TEST_IMPORTS" in os.environ:
    os.makedirs(os.environ["TRIMTAB_TEST_IMPORTS"], exist_ok=True)  # noqa: PTH103
    sys.addaudithook(_record)
