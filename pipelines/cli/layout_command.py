"""`trimtab layout`: a release as Triton and KServe expect it, in a new folder."""

import os
import tempfile
from pathlib import Path

from components.core.bundles.release_folder import read_release
from components.core.errors import UserError
from components.core.signing import PUBLIC_KEY_VARIABLE, public_key, verify_release
from components.core.store import NotFound, open_store
from components.core.store.errors import Damaged
from components.core.store.files import new_folder
from components.core.store.names import check_name
from components.export.layouts import SERVICE, inference_service, model_repository
from pipelines.cli.champion_command import find_release
from pipelines.runner.records.logs import printable
from pipelines.runner.run import home_folder


def lay_out(release: str, *, to: Path, uri: str, name: str, is_folded: bool, key: str, store: str) -> None:
    """Verifies a release and writes the files that were verified as a model repository: the folder `to`, which appears
    whole or not at all. With `uri` also the InferenceService that serves it from there; with `is_folded` preprocessing
    and softmax are inside the graph."""
    text = key or os.environ.get(PUBLIC_KEY_VARIABLE, "")
    public = public_key(text) if text else None
    opened = open_store(store or os.environ.get("TRIMTAB_STORE") or str(home_folder() / "store"))
    found = find_release(release, opened.releases.list())
    model = check_name(name, what="model") if name else found[0]
    full_name = "/".join(found)
    service = {SERVICE: inference_service(name=model, release=full_name, uri=uri)} if uri else {}
    with tempfile.TemporaryDirectory(prefix="trimtab-layout-") as scratch:
        copy = Path(scratch, "release")
        try:
            verify_release(opened, *found, public, to=copy)
        except (Damaged, NotFound) as error:
            raise UserError(f"it is not laid out: {error}") from None
        repository = model_repository(read_release(copy), name=model, release=full_name, is_folded=is_folded)
    files = {**repository, **service}
    with new_folder(to) as folder:
        for path, content in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
    print(printable(f"triton     tritonserver --model-repository {to}"))
    if uri:
        print(printable(f"kserve     copy the content of {to} to {uri}, then: kubectl apply -f {to / SERVICE}"))
