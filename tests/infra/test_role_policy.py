"""The IAM policy of the overlay `aws` gives what the store calls, on the bucket that the overlay names, and no more."""

import json
import re
from urllib.parse import urlsplit

import pytest
from manifests.objects import INFRA, Object

# What each call of boto3's client needs.
ACTIONS = {
    "head_bucket": "s3:ListBucket",
    "list_objects_v2": "s3:ListBucket",
    "head_object": "s3:GetObject",
    "get_object": "s3:GetObject",
    "put_object": "s3:PutObject",
    "delete_object": "s3:DeleteObject",
    "delete_objects": "s3:DeleteObject",
    "create_multipart_upload": "s3:PutObject",
    "upload_part": "s3:PutObject",
    "upload_part_copy": "s3:PutObject",
    "copy_object": "s3:PutObject",
    "complete_multipart_upload": "s3:PutObject",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
    "list_parts": "s3:ListMultipartUploadParts",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
}
# KFP's launcher asks where the bucket is.
OF_KFP = {"s3:GetBucketLocation"}


@pytest.fixture(scope="module")
def statements() -> list[Object]:
    return json.loads((INFRA / "overlays" / "aws" / "role-policy.json").read_text())["Statement"]


def calls_of_the_store() -> set[str]:
    """The S3 operations that the store's source names, as a call or to a paginator."""
    source = "\n".join(path.read_text() for path in (INFRA.parent / "components" / "core" / "store").rglob("*.py"))
    return set(re.findall(rf"\b({'|'.join(ACTIONS)})\b", source))


def test_everything_that_the_store_calls_is_allowed(statements: list[Object]):
    allowed = {action for statement in statements for action in statement["Action"]}
    calls = calls_of_the_store()

    assert {"head_object", "get_object", "put_object", "delete_object"} <= calls
    assert {ACTIONS[call] for call in calls} <= allowed


def test_nothing_is_allowed_that_nobody_calls(statements: list[Object]):
    assert {action for statement in statements for action in statement["Action"]} <= set(ACTIONS.values()) | OF_KFP


def test_it_is_for_the_bucket_and_the_prefix_of_the_overlay(
    statements: list[Object], rendered: dict[str, list[Object]]
):
    (settings,) = (obj["data"] for obj in rendered["aws"] if obj["metadata"]["name"] == "trimtab-store")
    store = urlsplit(settings["TRIMTAB_STORE"])
    prefix = store.path.split("/")[1]

    assert {statement["Resource"] for statement in statements} == {
        f"arn:aws:s3:::{store.netloc}",
        f"arn:aws:s3:::{store.netloc}/{prefix}/*",
    }


def test_listing_has_no_condition(statements: list[Object]):
    # Without the right to list, S3 says 403 for an object that is not there, and the store must not take that for 404.
    (listing,) = (statement for statement in statements if "s3:ListBucket" in statement["Action"])

    assert "Condition" not in listing
