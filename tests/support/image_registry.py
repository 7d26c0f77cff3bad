"""A registry of images on this machine that hands out tokens, as ECR Public and Docker Hub do; it has no images."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class ImageRegistry:
    """What the registry answers, and what it was asked.

    Attributes
    ----------
    host : str
        Its address, as images have it.
    digests : dict
        The digest of each image by `<name>:<tag>`.
    media_type : str
        Of all manifests.
    realm : str
        Where it says that tokens are; where there is none, it asks for none.
    password : str
        What it asks for in their place, if anything.
    busy : int
        How many requests it turns away.
    asked : list of str
        The method, the path and the kind of authorization of each request.
    """

    host: str
    realm: str
    digests: dict[str, str] = field(default_factory=dict)
    password: str = ""
    media_type: str = INDEX
    busy: int = 0
    asked: list[str] = field(default_factory=list)

    def update(self, image: str, contents: str) -> str:
        """Move a tag to other contents, and return their digest."""
        self.digests[image] = f"sha256:{hashlib.sha256(contents.encode()).hexdigest()}"
        return self.digests[image]

    def answer(self, path: str, authorization: str) -> tuple[int, dict[str, str], Any]:
        """Return the status, the headers and the body of an answer."""
        if self.busy:
            self.busy -= 1
            return 429, {}, {"errors": [{"code": "TOOMANYREQUESTS"}]}
        url = urlsplit(path)
        if url.path == "/token":
            query = parse_qs(url.query)
            return 200, {}, {"token": f"{query['service'][0]} {query['scope'][0]}"}
        name, _, tag = url.path.removeprefix("/v2/").partition("/manifests/")
        scope = f"repository:{name}:pull"
        if self.realm and authorization != f"Bearer registry {scope}":
            return 401, {"WWW-Authenticate": f'Bearer realm="{self.realm}",service="registry",scope="{scope}"'}, {}
        if self.password and authorization != f"Basic {self.password}":
            return 401, {"WWW-Authenticate": 'Basic realm="registry"'}, {}
        digest = self.digests.get(f"{name}:{tag}")
        if digest is None:
            return 404, {}, {"errors": [{"code": "MANIFEST_UNKNOWN"}]}
        return 200, {"Docker-Content-Digest": digest, "Content-Type": self.media_type}, {}


@contextmanager
def serve_registry() -> Iterator[ImageRegistry]:
    """Yield a registry that answers for as long as the context is open."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorization = self.headers.get("Authorization", "")
            registry.asked.append(f"{self.command} {self.path} {authorization.partition(' ')[0]}".strip())
            status, headers, body = registry.answer(self.path, authorization)
            text = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text)

        do_HEAD = do_GET  # noqa: N815 - the name is http.server's

        def log_message(self, *_arguments: object) -> None:
            """Say nothing: what was asked is kept."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host = f"127.0.0.1:{server.server_port}"
    registry = ImageRegistry(host, f"http://{host}/token")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
