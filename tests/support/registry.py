"""A real OCI registry on loopback: Debian's docker-registry with TLS, filled over its own HTTP interface."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = "docker-registry"
DISK_IMAGE = "application/vnd.nosi.disk-image.v1+gzip"
NETBOOT = "application/vnd.nosi.netboot-bundle.v1+tar+gzip"
_EMPTY = b"{}"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def missing_programs() -> str:
    """Return the names of the programs that a registry needs and that are not here."""
    return ", ".join(name for name in (PROGRAM, "openssl") if not shutil.which(name))


@dataclass
class Registry:
    """A running registry. `certificate` is what a client has to trust (SSL_CERT_FILE)."""

    directory: Path
    port: int
    certificate: Path
    process: subprocess.Popen[bytes] | None = None
    _config: Path = field(init=False)

    def __post_init__(self) -> None:
        self._config = self.directory / "registry.yml"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the registry, or start it again on the same port."""
        self.process = subprocess.Popen(
            [PROGRAM, "serve", str(self._config)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                self.request("GET", "/v2/")
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """End the registry; what it holds stays."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def request(self, method: str, path: str, body: bytes | None = None, content_type: str = "application/octet-stream") -> Any:
        url = path if path.startswith("https://") else f"https://{self.host}{path}"
        request = urllib.request.Request(url, body, {"Content-Type": content_type}, method=method)
        context = ssl.create_default_context(cafile=str(self.certificate))
        with urllib.request.urlopen(request, timeout=30, context=context) as response:
            response.read()
            return response

    def push_blob(self, repository: str, content: bytes) -> dict[str, Any]:
        """Store a blob and return its descriptor without a media type."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        location = self.request("POST", f"/v2/{repository}/blobs/uploads/", b"").headers["Location"]
        mark = "&" if "?" in location else "?"
        self.request("PUT", f"{location}{mark}digest={digest}", content)
        return {"digest": digest, "size": len(content)}

    def push(
        self,
        repository: str,
        tag: str,
        layers: list[tuple[str, str, bytes]],
        *,
        artifact_type: str = DISK_IMAGE,
    ) -> str:
        """Store an artifact of layers (media type, title, bytes) under a tag and return its manifest's digest."""
        config = {"mediaType": "application/vnd.oci.empty.v1+json", **self.push_blob(repository, _EMPTY)}
        described = [
            {
                "mediaType": media_type,
                **self.push_blob(repository, content),
                **({"annotations": {"org.opencontainers.image.title": title}} if title else {}),
            }
            for media_type, title, content in layers
        ]
        manifest = {"schemaVersion": 2, "mediaType": _MANIFEST, "artifactType": artifact_type, "config": config, "layers": described}
        return self.push_manifest(repository, tag, manifest)

    def push_manifest(self, repository: str, tag: str, manifest: dict[str, Any]) -> str:
        body = json.dumps(manifest).encode()
        self.request("PUT", f"/v2/{repository}/manifests/{tag}", body, manifest["mediaType"])
        return f"sha256:{hashlib.sha256(body).hexdigest()}"

    def push_disk_image(self, repository: str, tag: str, packed: bytes, *, title: str = "disk.img.gz") -> str:
        """Store a packed disk image as nosi does, report and metadata beside it; return the hex digest of its bytes."""
        digest = hashlib.sha256(packed).hexdigest()
        report = gzip.compress(b"a report", mtime=0) * 500
        self.push(
            repository,
            tag,
            [
                ("application/vnd.nosi.disk-image.layer.v1+gzip", title, packed),
                ("text/plain", f"{title}.sha256", f"{digest}  {title}\n".encode()),
                ("application/vnd.nosi.build-report.v1+zip", "report.zip", report),
                ("application/vnd.nosi.metadata.v1+json", "metadata.json", b'{"distro": "debian"}'),
            ],
        )
        return digest


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1 and its key."""
    directory.mkdir(parents=True, exist_ok=True)
    certificate, key = directory / "registry.pem", directory / "registry.key"
    # fmt: off
    subprocess.run([
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-out", str(certificate), "-keyout", str(key),
    ], check=True, capture_output=True)
    # fmt: on
    return certificate, key


@contextlib.contextmanager
def running_registry(directory: Path) -> Iterator[Registry]:
    """Run a registry below *directory*."""
    certificate, key = make_certificate(directory)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    registry = Registry(directory, port, certificate)
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}, "delete": {"enabled": True}},
        "http": {"addr": registry.host, "tls": {"certificate": str(certificate), "key": str(key)}},
    }
    registry._config.write_text(json.dumps(config))  # JSON is YAML
    registry.start()
    try:
        yield registry
    finally:
        registry.stop()
