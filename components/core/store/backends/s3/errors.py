"""botocore's errors as the store's: what happened, where, what to do, and never a credential."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from botocore import exceptions as aws
from botocore.parsers import ResponseParserError

from components.core.store.errors import (
    AccessDenied,
    Damaged,
    NotFound,
    PreconditionFailed,
    StoreError,
    StoreRefused,
    StoreUnavailable,
)

# Code to what would work. None of them passes by itself: they are said at once, without a retry.
_REFUSED_CREDENTIALS = {
    "AuthorizationHeaderMalformed": "check AWS_REGION and the credentials",
    "ExpiredToken": "they have expired, get new ones",
    "InvalidAccessKeyId": "it does not know the access key",
    "InvalidToken": "check AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "this machine's clock and the server's differ by too much, set it right",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY",
    "TokenRefreshRequired": "they have expired, get new ones",
}
_OTHER_REGION = {"301", "PermanentRedirect", "TemporaryRedirect", "IllegalLocationConstraintException"}
_CHANGED_ON_THE_WAY = {
    "BadDigest",
    "InvalidDigest",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
}
_CREDENTIALS_ERRORS = (
    aws.NoCredentialsError,
    aws.PartialCredentialsError,
    aws.CredentialRetrievalError,
    aws.TokenRetrievalError,
    aws.NoAuthTokenError,
    aws.SSOError,
    aws.LoginError,
)


class WriteConflict(PreconditionFailed):
    """409: two conditional writes met. It does not say which of them, if any, is done; the same request again will."""


class ChangedOnTheWay(Damaged):
    """The server received other bytes than were sent, or than the file had when it was hashed. Nothing was stored."""


class UploadGone(StoreError):  # noqa: N818  (as in errors.py)
    """The parts of an upload are not there: someone else completed or aborted it."""


@dataclass(frozen=True, kw_only=True)
class ErrorTranslator:
    """Raises the store's errors for botocore's; `uri`, `bucket` and `endpoint` are for their text."""

    uri: str
    bucket: str
    endpoint: str

    @contextmanager
    def translated(self, address: str) -> Iterator[None]:
        try:
            yield
        except aws.ClientError as error:
            raise self._answer(error, address) from error
        except (aws.FlexibleChecksumError, aws.ChecksumError) as error:
            raise Damaged(f"{address} is damaged: its checksum does not match its bytes") from error
        except aws.BotoCoreError as error:
            raise self._unusable(address, self.cause(error)) from error
        except ResponseParserError as error:
            at = without_userinfo(self.endpoint)
            raise self._unusable(address, f"what {at} answers is not S3's XML; is it an object store?") from error

    def no_bucket(self) -> StoreUnavailable:
        at = without_userinfo(self.endpoint)
        return StoreUnavailable(
            f"the store {self.uri} cannot be used: {at} has no bucket {self.bucket!r}; create it or name another"
        )

    def _unusable(self, address: str, reason: str) -> StoreUnavailable:
        where = "" if address == self.uri else f" (at {address})"
        return StoreUnavailable(f"the store {self.uri} cannot be used{where}: {reason}")

    def cause(self, error: aws.BotoCoreError) -> str:
        """One clause. Not botocore's own text: it quotes URLs, which may hold a password."""
        at = without_userinfo(self.endpoint)
        if isinstance(error, _CREDENTIALS_ERRORS):
            return (
                f"no usable credentials ({type(error).__name__}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "AWS_PROFILE, or give the pod an identity"
            )
        if isinstance(error, aws.ProfileNotFound):
            return "AWS_PROFILE names a profile that the AWS configuration does not have"
        if isinstance(error, aws.SSLError):
            return f"no TLS connection to {at}; is its certificate authority in AWS_CA_BUNDLE?"
        if isinstance(error, aws.ConnectTimeoutError | aws.ReadTimeoutError):
            return f"no answer from {at} in time"
        if isinstance(error, aws.EndpointConnectionError):
            reason = re.search(r"\[Errno -?\d+\] ([A-Za-z ]+)", str(error.kwargs.get("error", "")))
            return f"no connection to {at}" + (f" ({reason[1].strip().lower()})" if reason else "")
        return f"{type(error).__name__} at {at}"

    def _answer(self, error: aws.ClientError, address: str) -> StoreError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        at = without_userinfo(self.endpoint)
        if code == "NoSuchBucket":
            return self.no_bucket()
        if code in _REFUSED_CREDENTIALS:
            what = _REFUSED_CREDENTIALS[code]
            return self._unusable(address, f"{at} refused the credentials ({code}): {what}")
        if code in _OTHER_REGION:
            return self._unusable(address, f"the bucket is in another region than {at}; set AWS_REGION")
        if code in _CHANGED_ON_THE_WAY:
            return ChangedOnTheWay(f"{address} was changed on its way to {at} ({code}); nothing was stored")
        if code == "ConditionalRequestConflict":
            return WriteConflict(f"another conditional write of {address} is under way")
        if status == 412:
            return PreconditionFailed(f"{address} is not in the state that the write expects")
        if status in (401, 403):
            return AccessDenied(
                f"{at} refused {_verb(error)} on {address}; the credentials need rights to get, put, delete, list"
            )
        if code in ("NoSuchUpload", "InvalidPart"):
            return UploadGone(f"the parts of {address} are gone from {at} ({code}); nothing is lost, run it again")
        if status == 404:
            return NotFound(f"there is no object {address}")
        if status == 429 or status >= 500:
            return self._unusable(address, f"{at} answers {status} {code} again and again")
        return StoreRefused(f"{at} refused {_verb(error)} on {address}: {status} {code}")


def without_userinfo(url: str) -> str:
    """The URL's scheme, host and port: an endpoint may be given as https://user:password@host."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _verb(error: aws.ClientError) -> str:
    return str(getattr(error, "operation_name", "the request"))
