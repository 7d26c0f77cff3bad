"""Runs one function's handler inside its image, on S3 objects that are passed in and printed again with its answer."""

import base64
import importlib
import io
import json
import sys
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO

import boto3

function, event, stored = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
# Compressed, for an argument holds 128 KB at most, and a small skops file is as large uncompressed.
objects = {key: zlib.decompress(base64.b64decode(value)) for key, value in stored.items()}


class Client:
    """As much of the clients of S3 and of the registry as the functions use, over a dictionary."""

    # For the events that a real client has, of which there are none here.
    meta = SimpleNamespace(events=SimpleNamespace(register=lambda *_: None, unregister=lambda *_: None))

    def download_file(self, _bucket: str, key: str, path: str, **_: object) -> None:
        """Write an object to a file."""
        Path(path).write_bytes(objects[key])

    def upload_fileobj(self, stream: BinaryIO, _bucket: str, key: str, **_options: object) -> None:
        """Make an object of a file."""
        objects[key] = stream.read()

    def get_object(self, **request: str) -> dict[str, Any]:
        """Return an object."""
        return {"Body": io.BytesIO(objects[request["Key"]])}

    def put_object(self, **request: Any) -> dict[str, Any]:
        """Store an object, of bytes or of a file."""
        body = request["Body"]
        objects[request["Key"]] = body if isinstance(body, bytes) else body.read()
        return {}

    def get_item(self, **request: Any) -> dict[str, Any]:
        """Return an entry of the registry."""
        return {"Item": json.loads(objects[f"registry/{request['Key']['entry']['S']}"])}

    def get_paginator(self, _operation: str) -> "Client":
        """Return this client, which lists objects alone."""
        return self

    def paginate(self, **request: str) -> list[dict[str, Any]]:
        """Return one page of objects."""
        names = [name for name in objects if name.startswith(request["Prefix"])]
        return [{"Contents": [{"Key": name, "Size": len(objects[name]), "ETag": "e"} for name in names]}]


setattr(boto3, "client", lambda _service, **_: Client())  # noqa: B010, an assignment would have another type
answer = importlib.import_module(f"{function}.app").handler(event, None)
encoded = {key: base64.b64encode(zlib.compress(value)).decode() for key, value in objects.items()}
json.dump([answer, encoded], sys.stdout)
