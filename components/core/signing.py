"""Signatures of releases: who says that these are the bytes to serve.

What is signed is the release's marker, `release.json`, which has name, version, size and sha256 of every file. The
signature is minisign's (Ed25519 over BLAKE2b) and lies beside it, so the serving side can check it without trimtab:
`minisign -Vm release.json -p trimtab.pub`, then the files against the marker.

Keys are given by reference: a file that `$TRIMTAB_SIGNING_KEY` names, its password in `$TRIMTAB_SIGNING_PASSWORD`.
"""

import binascii
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.errors import UserError
from components.core.store import MARKER, SIGNATURE, Damaged
from components.core.store.files import new_folder

if TYPE_CHECKING:
    from minisign import PublicKey, SecretKey

    from components.core.store import Store

KEY_VARIABLE = "TRIMTAB_SIGNING_KEY"
PASSWORD_VARIABLE = "TRIMTAB_SIGNING_PASSWORD"
PUBLIC_KEY_VARIABLE = "TRIMTAB_PUBLIC_KEY"


def signing_key(path: str) -> "SecretKey":
    """The secret key in the file, made by `minisign -G`, unlocked with `$TRIMTAB_SIGNING_PASSWORD` if it is locked.

    Raises:
        UserError: no such file, not a key, or the password is missing or wrong.
    """
    from minisign import Error, SecretKey

    try:
        key = SecretKey.from_bytes(_read(path))
    except (Error, ValueError, IndexError) as error:
        raise UserError(f"{path} is not a secret key of minisign ({error}); make one: minisign -G") from None
    if key.is_encrypted():
        password = os.environ.get(PASSWORD_VARIABLE)
        if password is None:
            raise UserError(f"the signing key {path} has a password; give it in ${PASSWORD_VARIABLE}")
        try:
            key.decrypt(password)
        except Error:
            raise UserError(f"the password in ${PASSWORD_VARIABLE} does not fit the signing key {path}") from None
    return key


def public_key(text: str) -> "PublicKey":
    """The public key: a file of minisign, or its second line itself (56 characters that begin with RW).

    Raises:
        UserError: neither.
    """
    from minisign import Error, PublicKey

    try:
        if text.startswith("RW") and not Path(text).exists():
            return PublicKey.from_base64(text)
        return PublicKey.from_bytes(_read(text))
    except (Error, ValueError, IndexError, binascii.Error) as error:
        raise UserError(
            f"{text} is not a minisign public key ({error}); give the file minisign.pub or its second line"
        ) from None


def sign_release(store: "Store", name: str, version: str, key: "SecretKey") -> None:
    """Signs a release whose files are all there and right. Deterministic: the same key signs it again with the same
    bytes.

    Raises:
        NotFound: no such release. Damaged: a file is another than its marker says. UserError: another key has
            signed it.
    """
    marker = store.releases.marker(name, version)
    store.releases.verify(name, version, marker=marker)
    signature = key.sign(marker, trusted_comment=f"trimtab release {name}/{version}")
    if not store.releases.put_signature(name, version, bytes(signature) + b"\n"):
        raise UserError(
            f"{name}/{version} is already signed, with another key or by another tool; that signature stays"
        )


def check_signature(store: "Store", name: str, version: str, key: "PublicKey") -> str:
    """Checks who signed the release's marker; its files are `verify_release`'s. The signature's trusted comment.

    Raises:
        NotFound: no such release. Damaged: it is not signed, or not by this key, or it is another release's marker.
    """
    marker = store.releases.marker(name, version)
    return _checked(name, version, marker, store.releases.signature(name, version), key)


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A release that is whole. `comment` is the signature's trusted comment; None if no key was given, and then
    `is_signed` only says whether some signature lies there."""

    files: tuple[str, ...]
    comment: str | None
    is_signed: bool


def verify_release(
    store: "Store", name: str, version: str, key: "PublicKey | None" = None, *, to: Path | None = None
) -> Verified:
    """Checks the signature first, then every file against the very bytes that were signed.

    Whoever may write to the store may change a file as soon as it was read. What is in `to` afterwards are the bytes
    that were verified: serve those.

    Args:
        store: where the release is.
        name: its name.
        version: its version.
        key: who must have signed it; None to check the files only.
        to: a folder that is made, with the release's files, its marker and its signature. Atomic: it appears whole or
            not at all.

    Raises:
        NotFound: no such release.
        Damaged: it is not signed by this key, or a file is missing, not listed, or another than was signed.
        UserError: `to` is there already, or cannot be made.
    """
    marker = store.releases.marker(name, version)
    signature = store.releases.signature(name, version)
    comment = None if key is None else _checked(name, version, marker, signature, key)
    if to is None:
        files = store.releases.verify(name, version, marker=marker)
    else:
        with new_folder(to) as folder:
            files = store.releases.verify(name, version, marker=marker, to=folder)
            (folder / MARKER).write_bytes(marker)
            if signature is not None:
                (folder / SIGNATURE).write_bytes(signature)
    return Verified(files=tuple(files), comment=comment, is_signed=signature is not None)


def _checked(name: str, version: str, marker: bytes, found: bytes | None, key: "PublicKey") -> str:
    from minisign import Error, Signature

    if found is None:
        raise Damaged(f"{name}/{version} is not signed")
    try:
        signature = Signature.from_bytes(found)
        key.verify(marker, signature)
    except (Error, ValueError, IndexError) as error:
        raise Damaged(f"the signature of {name}/{version} does not match this key and these files: {error}") from None
    return signature.trusted_comment


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"the key {path} cannot be read: {(error.strerror or 'unknown error').lower()}") from None
