"""What the whole suite shares lives in modules of its own: an S3 server, a KFP API, a run of the demo, an image."""

pytest_plugins = [
    "object_store_server",
    "finished_run",
    "container_image",
    "unprivileged_user",
    "kfp_server",
    "own_checkpoint",
]
