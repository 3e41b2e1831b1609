"""What the whole suite shares lives in modules of its own: a real S3 server, and a real run of the demo."""

pytest_plugins = ["object_store_server", "finished_run"]
