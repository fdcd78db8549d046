"""Lists of images to choose from: real folders, sticks, http servers, a registry and a daemon."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from bty.agent.choices import DEFAULT_CATALOG, close_sources, default_sources, load_source
from bty.errors import InvalidInput
from bty.model.image import image_ref
from bty.units import MIB
from tests.support.api import Operator
from tests.support.process import daemon_process
from tests.support.registry import missing_programs, running_registry

SHA = "ab" * 32
ON_STICK = f"on-stick-{os.getpid()}.img.xz"  # other sticks may be in this machine, and other flashers
CATALOG = f"""
version = 1
[[images]]
name = "debian 13 headless (x86_64)"
src = "https://images.example/debian-13.img.gz"
sha256 = "{SHA}"
size_bytes = 1000
description = "plain"
[[images]]
name = "its netboot bundle"
src = "https://images.example/debian-13.tar.gz"
format = "tar.gz"
"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder over http on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def stick(tmp_path: Path, label: str, *, folder: str = "") -> Iterator[str]:
    """Attach a file system with an image on it as a loop device (ext4, since not every kernel has FAT)."""
    tree = tmp_path / "tree"
    (tree / folder).mkdir(parents=True)
    (tree / folder / ON_STICK).write_bytes(b"image")
    backing = tmp_path / f"{label}.stick"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", label, "-d", tree, backing, "4M"], check=True, stdout=subprocess.DEVNULL)
    device = subprocess.run(["losetup", "--find", "--show", backing], check=True, capture_output=True, text=True).stdout.strip()
    try:
        yield device
    finally:
        close_sources()
        subprocess.run(["losetup", "--detach", device], check=True)


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_lists_the_images_in_it(tmp_path: Path) -> None:
    """Files with the suffix of an image count, in the order of their names; links, folders and others do not."""
    (tmp_path / "b-amd64.img.zst").write_bytes(b"12345")
    (tmp_path / "A.QCOW2").write_bytes(b"1")
    (tmp_path / "notes.txt").write_bytes(b"")
    (tmp_path / "disk.iso").write_bytes(b"")
    (tmp_path / "link.img").symlink_to(tmp_path / "A.QCOW2")
    (tmp_path / "folder.img").mkdir()

    listed = load_source(str(tmp_path))

    assert (listed.error, listed.hint, listed.label) == (None, None, str(tmp_path))
    assert [(image.name, image.format, image.size_bytes, image.arch) for image in listed.images] == [
        ("A.QCOW2", "qcow2", 1, None),
        ("b-amd64.img.zst", "img.zst", 5, "x86_64"),
    ]
    assert listed.images[1].src == str(tmp_path / "b-amd64.img.zst")


def test_a_digest_beside_a_file_is_what_it_promises(tmp_path: Path) -> None:
    """The first word of the `.sha256` file counts; where it is no digest the image is left out and named."""
    for name in ("good.img", "bad.img"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "good.img.sha256").write_text(f"{SHA.upper()}  good.img\n")
    (tmp_path / "bad.img.sha256").write_text("SHA256 (bad.img) = \x1b[2J")

    listed = load_source(str(tmp_path))

    assert [(image.name, image.sha256) for image in listed.images] == [("good.img", SHA)]
    assert listed.error
    assert listed.error.startswith("1 left out: bad.img.sha256: not a sha256")
    assert listed.error.isprintable()


def test_a_folder_without_images_says_what_would_be_one(tmp_path: Path) -> None:
    """An empty folder is no failure, but it says which files would be listed."""
    listed = load_source(str(tmp_path))

    assert (listed.images, listed.error) == ((), None)
    assert ".img.zst" in str(listed.hint)


@pytest.mark.parametrize(
    ("location", "error"),
    [("", "no location"), ("/nowhere/at all", "no file or folder"), ("ftp://x/catalog.toml", "no file or folder"), ("x\x1b[2J", "x[2J")],
)
def test_a_location_that_is_none_says_so(location: str, error: str) -> None:
    """Nothing is raised, and the error comes with what to do next."""
    listed = load_source(location)

    assert error in str(listed.error)
    assert listed.hint
    assert str(listed.error).isprintable()


# --- catalogs ---------------------------------------------------------------------------------------------------------


def test_a_catalog_in_a_file_is_read(tmp_path: Path) -> None:
    """By its path or as file://; archives are counted and not listed."""
    path = tmp_path / "catalog.toml"
    path.write_text(CATALOG)

    for location in (str(path), f"file://{path}"):
        listed = load_source(location)
        (image,) = listed.images
        assert (image.name, image.src, image.format) == (
            "debian 13 headless (x86_64)",
            "https://images.example/debian-13.img.gz",
            "img.gz",
        )
        assert (image.sha256, image.size_bytes, image.arch, image.description, image.source) == (SHA, 1000, "x86_64", "plain", location)
        assert (listed.error, listed.hint) == (None, "1 are no disk images and are not listed")


def test_a_typed_address_keeps_its_case(tmp_path: Path) -> None:
    """A catalog whose path has capitals is found as it was typed."""
    (tmp_path / "Lab").mkdir()
    (tmp_path / "Lab" / "Catalog.TOML").write_text(CATALOG)
    with served(tmp_path) as url:
        assert len(load_source(f" {url}/Lab/Catalog.TOML ").images) == 1
        missing = load_source(f"{url}/lab/catalog.toml")

    assert "404" in str(missing.error)
    assert "case" in str(missing.hint)


def test_what_is_right_of_a_catalog_is_shown(tmp_path: Path) -> None:
    """Wrong entries are counted and the first of them told; the others can be chosen."""
    bad = ['name = "no source"', 'name = "a"\nsrc = "ftp://x/a.img"', 'name = "b"\nsrc = "https://x/b.img"\nsha256 = "12"', "name = 5"]
    (tmp_path / "catalog.toml").write_text(CATALOG + "".join(f"[[images]]\n{entry}\n" for entry in bad))

    listed = load_source(str(tmp_path / "catalog.toml"))

    assert [image.name for image in listed.images] == ["debian 13 headless (x86_64)"]
    assert str(listed.error).startswith("4 left out: image 'no source': 'src' must be")
    assert "image 'a': its source 'ftp://x/a.img'" in str(listed.error)
    assert str(listed.error).endswith("; and 1 more")


def test_nothing_that_a_catalog_says_moves_a_cursor(tmp_path: Path) -> None:
    """Control, format and direction characters do not reach the texts of a list."""
    (tmp_path / "catalog.toml").write_text(
        'version = 1\n[[images]]\nname = "one\\u009b2Jtwo\\u202Ethree"\nsrc = "https://x/a.img"\narch = "x\\u0085y"\n'
        'description = "line\\nline\\u001b[31m\\u2028red"\n[[images]]\nname = "\\u001b[2J"\nsrc = "https://x/b.img"\n'
    )

    listed = load_source(str(tmp_path / "catalog.toml"))

    (image,) = listed.images
    assert (image.name, image.arch, image.description) == ("one2Jtwothree", "x y", "line line [31m red")
    assert "1 left out" in str(listed.error)
    assert str(listed.error).isprintable()


@pytest.mark.parametrize("content", [b"\xff", b"version = 2", b"not toml", b"version = 1\nimages = 5", b"#" * (5 * MIB)])
def test_what_is_no_catalog_is_told(tmp_path: Path, content: bytes) -> None:
    """A file that is something else is an error with its reason."""
    (tmp_path / "catalog.toml").write_bytes(content)
    with served(tmp_path) as url:
        for location in (str(tmp_path / "catalog.toml"), f"{url}/catalog.toml"):
            listed = load_source(location)
            assert listed.images == ()
            assert listed.error
            assert listed.hint


def test_a_server_that_is_away_can_be_asked_again(tmp_path: Path) -> None:
    """The same location fails while nobody serves it, and works before."""
    (tmp_path / "catalog.toml").write_text(CATALOG)
    with served(tmp_path) as url:
        location = f"{url}/catalog.toml"
        assert load_source(location).images
    gone = load_source(location)

    assert "refused" in str(gone.error)
    assert "try again" in str(gone.hint)
    assert gone.label == url.removeprefix("http://")


def test_the_address_of_an_image_is_a_list_of_one(tmp_path: Path) -> None:
    """A path or URL whose name ends as an image's does is that image, with its size."""
    (tmp_path / "Disk.img.gz").write_bytes(b"123")
    with served(tmp_path) as url:
        for location in (str(tmp_path / "Disk.img.gz"), f"{url}/Disk.img.gz"):
            (image,) = load_source(location).images
            assert (image.name, image.src, image.format, image.size_bytes) == ("Disk.img.gz", location, "img.gz", 3)
        assert "404" in str(load_source(f"{url}/other.img.gz").error)


@pytest.mark.skipif(bool(missing_programs()), reason=f"needs {missing_programs()}")
def test_registries_hold_catalogs_and_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An oras reference is a catalog, or an image with the digest that the tag means now; a netboot bundle is refused."""
    with running_registry(tmp_path) as registry:
        monkeypatch.setenv("SSL_CERT_FILE", str(registry.certificate))
        registry.push("lab/catalog", "1", [("application/toml", "catalog.toml", CATALOG.encode())], artifact_type="application/toml")
        digest = registry.push_disk_image("lab/disk", "latest", b"packed")
        registry.push("lab/net", "1", [("x/y", "a.tar.gz", b"tar")], artifact_type="application/vnd.nosi.netboot-bundle.v1+tar+gzip")

        catalog = load_source(f"oras://{registry.host}/lab/catalog:1")
        disk = load_source(f"oras://{registry.host}/lab/disk:latest")
        bundle = load_source(f"oras://{registry.host}/lab/net:1")

    assert [image.name for image in catalog.images] == ["debian 13 headless (x86_64)"]
    assert [(image.name, image.format, image.sha256, image.size_bytes) for image in disk.images] == [("disk:latest", "img.gz", digest, 6)]
    assert "netboot" in str(bundle.error)


def test_the_daemons_catalog_names_where_the_bytes_came_from(tmp_path: Path) -> None:
    """An image that the daemon's cache serves keeps its origin, from which its ref is made, also where it has no digest."""
    with daemon_process(tmp_path / "state", env={"BTY_WITHCACHE_URL": "http://127.0.0.1:9"}) as daemon:
        src = "https://images.example/debian-13.img.gz"
        ref = Operator(daemon.url).call("POST", "/catalog/entries", {"image_url": src, "sha256": SHA, "name": "debian"})["bty_image_ref"]
        Operator(daemon.url).call("POST", "/catalog/entries", {"image_url": f"{src}?v=2", "name": "unproved"})
        (location, _) = default_sources(server=daemon.url, image_root=None)[-2:]
        listed = load_source(location)
    (image, unproved) = listed.images

    assert (listed.label, listed.error) == (daemon.url.removeprefix("http://"), None)
    assert [each.src.startswith("http://127.0.0.1:9/b/") for each in listed.images] == [True, True]
    assert (unproved.name, unproved.sha256, unproved.origin, unproved.format) == ("unproved", None, f"{src}?v=2", "img.gz")
    assert (image.name, image.sha256, image.origin) == ("debian", SHA, src)
    assert image_ref(src) == ref


# --- what is offered --------------------------------------------------------------------------------------------------


def test_what_is_offered_depends_on_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image root that is named, the server's catalog and the default one, in this order; a bare host is enough."""
    monkeypatch.setenv("BTY_IMAGE_ROOT", str(tmp_path / "named"))

    first, *_, server, default = default_sources(server="bty-server", image_root=None)
    assert (first, server, default) == (str(tmp_path / "named"), "http://bty-server/catalog.toml?all=1", DEFAULT_CATALOG)
    assert [location for location in default_sources(server=None, image_root=tmp_path) if not location.startswith("stick:")] == [
        str(tmp_path),
        DEFAULT_CATALOG,
    ]
    with pytest.raises(InvalidInput):
        default_sources(server="http://", image_root=None)


@pytest.mark.loop
@pytest.mark.needs("mke2fs")
@pytest.mark.parametrize(("label", "folder"), [("BTY_IMAGES", ""), ("VENTOY", "bty-images"), ("VENTOY", "")])
def test_a_stick_is_found_by_its_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, label: str, folder: str) -> None:
    """It is offered while it is there, mounted read-only for as long as it is needed, and let go at the end."""
    monkeypatch.setenv("BTY_ALLOW_LOOP", "1")
    with stick(tmp_path, label, folder=folder) as device:
        offered = {location.casefold(): location for location in default_sources(server=None, image_root=tmp_path)}
        location = offered[f"stick:{label}".casefold()]
        listed = load_source(location)
        again = load_source(location)
        place = f"{device} /run/bty/sticks/{os.getpid()}/{Path(device).name} ext4 ro,"

        (image,) = [image for image in listed.images if image.name == ON_STICK]
        assert Path(image.src).read_bytes() == b"image"
        assert again == listed
        assert Path("/proc/mounts").read_text().count(place) == 1

        close_sources()
        assert place not in Path("/proc/mounts").read_text()
    assert ON_STICK not in {image.name for image in load_source(location).images}


def test_a_stick_that_is_not_there_can_be_plugged_in() -> None:
    """No stick with a label is an error that says what to do."""
    listed = load_source("stick:NO_SUCH_STICK")

    assert "no stick with the label NO_SUCH_STICK" in str(listed.error)
    assert "plug it in" in str(listed.hint)


@pytest.mark.loop
@pytest.mark.needs("mke2fs")
def test_a_stick_that_is_mounted_already_is_used_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not mounted twice, and not offered twice where it is the image root."""
    monkeypatch.setenv("BTY_ALLOW_LOOP", "1")
    root = tmp_path / "images"
    root.mkdir()
    with stick(tmp_path, "BTY_IMAGES") as device:
        subprocess.run(["mount", "-o", "ro", device, root], check=True)
        try:
            assert default_sources(server=None, image_root=root)[0] == str(root)
            (image,) = [image for image in load_source("stick:BTY_IMAGES").images if image.name == ON_STICK]
            close_sources()
            assert image.src == str(root / ON_STICK)
            assert root.is_mount()
        finally:
            subprocess.run(["umount", root], check=True)
