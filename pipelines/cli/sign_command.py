"""`trimtab sign` and `trimtab verify`."""

import os
from pathlib import Path

from components.core.errors import UserError
from components.core.signing import (
    KEY_VARIABLE,
    PUBLIC_KEY_VARIABLE,
    public_key,
    sign_release,
    signing_key,
    verify_release,
)
from components.core.store import NotFound, open_store
from components.core.store.errors import Damaged
from pipelines.cli.champion_command import find_release
from pipelines.runner.records.logs import printable
from pipelines.runner.run import home_folder


def sign(release: str, *, key: str, store: str) -> None:
    """Signs a release after checking that all its files exist and are intact."""
    path = key or os.environ.get(KEY_VARIABLE, "")
    if not path:
        raise UserError(f"no signing key: give --key FILE or ${KEY_VARIABLE}; minisign -G makes one")
    secret = signing_key(path)
    opened = open_store(store or os.environ.get("TRIMTAB_STORE") or str(home_folder() / "store"))
    name, version = find_release(release, opened.releases.list())
    try:
        sign_release(opened, name, version, secret)
    except (Damaged, NotFound) as error:
        raise UserError(f"the release cannot be signed: {error}") from None
    print(f"signed {name}/{version}")


def verify(release: str, *, key: str, store: str, to: str = "") -> int:
    """Checks a release's signature and reads every file, into the folder `to` if it is given; the exit code: 1 if
    anything is wrong."""
    text = key or os.environ.get(PUBLIC_KEY_VARIABLE, "")
    public = public_key(text) if text else None
    opened = open_store(store or os.environ.get("TRIMTAB_STORE") or str(home_folder() / "store"))
    name, version = find_release(release, opened.releases.list())
    try:
        found = verify_release(opened, name, version, public, to=Path(to) if to else None)
    except (Damaged, NotFound) as error:
        print(f"wrong      {printable(' '.join(str(error).split()))}")
        return 1
    print(f"files      {len(found.files)} of {len(found.files)} have the size and sha256 that release.json says")
    if found.comment is None:
        state = "there is one" if found.is_signed else "there is none"
        print(f"signature  {state}; not checked: give --key PUBLIC-KEY or ${PUBLIC_KEY_VARIABLE}")
    else:
        print(f"signature  good, by this key: {printable(found.comment)}")
    if to:
        print(f"copied     what was verified is in {to}")
    return 0
