"""Do the launcher's settings and the tasks' store mean the same place?"""

from __future__ import annotations

from urllib.parse import urlsplit

import jsonschema
import yaml

from manifests.objects import Object, of_kind
from manifests.shape import custom_schema


def store_problems(objects: list[Object]) -> list[str]:
    """KFP reads one ConfigMap, the tasks the other; a bucket changed in one would be found after the first stage."""
    maps = {obj["metadata"]["name"]: obj["data"] for obj in of_kind(objects, "ConfigMap")}
    launcher, store = maps["kfp-launcher"], maps["trimtab-store"]
    providers = yaml.safe_load(launcher["providers"])
    problems = [
        f"kfp-launcher: providers.{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in jsonschema.Draft202012Validator(custom_schema("launcher_providers")).iter_errors(providers)
    ]
    if problems:
        return problems
    default = providers["s3"]["default"]
    root, uri, endpoint = (
        urlsplit(text)
        for text in (launcher["defaultPipelineRoot"], store["TRIMTAB_STORE"], store["AWS_ENDPOINT_URL_S3"])
    )
    for name, found in (("kfp-launcher: defaultPipelineRoot", root), ("trimtab-store: TRIMTAB_STORE", uri)):
        if found.scheme != "s3" or not found.netloc or not found.path.strip("/"):
            problems.append(f"{name}: {found.geturl()!r} is not s3://bucket/prefix")
    if root.path.strip("/") == uri.path.strip("/"):
        problems.append("KFP's artifacts and trimtab's store share a prefix")
    pairs = [
        ("bucket", root.netloc, uri.netloc),
        ("endpoint", default["endpoint"], endpoint.netloc),
        ("region", default["region"], store["AWS_REGION"]),
        ("TLS", not default.get("disableSSL", False), endpoint.scheme == "https"),
    ]
    return problems + [
        f"{what}: kfp-launcher says {one}, trimtab-store {other}" for what, one, other in pairs if one != other
    ]
