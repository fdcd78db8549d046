"""The catalog's manifest and digest lists: read, refused, printed."""

from __future__ import annotations

import string
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bty.errors import InvalidInput
from bty.model.catalog import Entry, file_name, find_digest, parse_digest, parse_manifest, print_manifest
from bty.model.image import guess_arch, image_ref

SHA = "ab" * 32
SRC = "https://example.org/images/debian-amd64.img.gz"


def manifest(*tables: str, version: str = "1") -> bytes:
    return (f"version = {version}\n" + "".join(f"[[images]]\n{table}\n" for table in tables)).encode()


def test_a_full_image_is_read():
    """Every known key of an image arrives, the digest in lower case, unknown keys are ignored."""
    content = manifest(
        f'name = "Debian (x86_64)"\nsrc = "{SRC}"\nsha256 = " {SHA.upper()} "\nformat = "img.gz"\nsize_bytes = 12\n'
        f'description = "one line"\narch = "x86_64"\nref = "{image_ref(SRC)}"\nnetboot_ref = "other"'
    )
    image = parse_manifest(content).images[0]
    assert (image.name, image.src, image.sha256, image.format) == ("Debian (x86_64)", SRC, SHA, "img.gz")
    assert (image.size_bytes, image.description, image.arch, image.bty_image_ref) == (12, "one line", "x86_64", image_ref(SRC))


def test_the_format_comes_from_the_name_or_else_from_the_source():
    """An image without a format has that of its name, then that of its source."""
    content = manifest(
        f'name = "a.qcow2"\nsrc = "{SRC}"', 'name = "b"\nsrc = "https://example.org/b.img.xz"', 'name = "c"\nsrc = "oras://r.io/a/c:1"'
    )
    assert [image.format for image in parse_manifest(content).images] == ["qcow2", "img.xz", None]


def test_an_archive_is_left_out_with_its_reason():
    """A netboot bundle in a catalog is named as unusable; the images beside it stay."""
    content = manifest('name = "bundle"\nsrc = "oras://r.io/a/b:1"\nformat = "tar.gz"', f'name = "disk"\nsrc = "{SRC}"')
    read = parse_manifest(content)
    assert [image.name for image in read.images] == ["disk"]
    assert read.unusable[0][0] == "bundle"
    assert "archive" in read.unusable[0][1]


def test_credentials_never_get_into_the_catalog():
    """An image whose URL names a user and a password is left out, since the catalog is open to everybody."""
    read = parse_manifest(manifest('name = "a"\nsrc = "https://user:word@h/a.img"', 'name = "b"\nsrc = "https://h/a.img?x=@"'))
    assert ([image.name for image in read.images], [name for name, _ in read.unusable]) == (["b"], ["a"])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe", "UTF-8"),
        (b"version = ", "TOML"),
        (b"", "version"),
        (manifest(version="2"), "version"),
        (manifest(version="true"), "version"),
        (manifest(version='"1"'), "version"),
        (b"version = 1\nimages = 5\n", "array"),
        (b"version = 1\nimages = [5]\n", "image 1"),
        (manifest(f'src = "{SRC}"'), "name"),
        (manifest('name = ""\nsrc = "http://a/b"'), "name"),
        (manifest('name = "a\\nb"\nsrc = "http://a/b"'), "control"),
        (manifest('name = "a"'), "src"),
        (manifest('name = "a"\nsrc = 5'), "string"),
        (manifest('name = "a"\nsrc = "file:///etc/passwd"'), "not http"),
        (manifest('name = "a"\nsrc = "ftp://a/b.img"'), "not http"),
        (manifest('name = "a"\nsrc = "http:///b.img"'), "host"),
        (manifest('name = "a"\nsrc = "oras://host"'), "OCI"),
        (manifest(f'name = "a"\nsrc = "{SRC}"\nsha256 = "abc"'), "sha256"),
        (manifest(f'name = "a"\nsrc = "{SRC}"\nsize_bytes = "5"'), "size_bytes"),
        (manifest(f'name = "a"\nsrc = "{SRC}"\nsize_bytes = -5'), "size_bytes"),
        (manifest(f'name = "a"\nsrc = "{SRC}"\nref = "{SHA}"'), "ref"),
        (manifest(f'name = "a"\nsrc = "{SRC}"', 'name = "a"\nsrc = "http://a/b"'), "twice"),
    ],
)
def test_a_wrong_catalog_is_refused_with_the_reason(content, says):
    """Each mistake refuses the whole file and is named."""
    with pytest.raises(InvalidInput, match=says):
        parse_manifest(content)


def entry(name: str, src: str = SRC, sha: str | None = SHA) -> Entry:
    return Entry(bty_image_ref=image_ref(SRC), src=src, name=name, added_at="now", disk_image_sha=sha, format="img.gz", size_bytes=5)


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_any_name_survives_the_printed_manifest(name):
    """Whatever is in a name, the printed manifest is TOML that gives it back."""
    printed = print_manifest([(entry(name), SRC)])
    assert printed.startswith("version = 1\n")
    assert tomllib.loads(printed)["images"] == [
        {"name": name, "src": SRC, "sha256": SHA, "format": "img.gz", "size_bytes": 5}
        | ({"arch": arch} if (arch := guess_arch(name)) else {})
    ]


def test_equal_names_are_told_apart():
    """Two images of one name make a manifest that can be read again."""
    other = "https://example.org/other/debian.img.gz"
    second = Entry(bty_image_ref=image_ref(other), src=other, name="a", added_at="now", disk_image_sha=SHA)
    read = parse_manifest(print_manifest([(entry("a"), SRC), (second, other)]).encode())
    assert [image.name for image in read.images] == ["a", f"a ({image_ref(other)[:12]})"]


def test_an_entry_without_a_digest_is_not_printed():
    """A manifest names only images whose bytes can be checked, and the others where they are asked for."""
    assert print_manifest([(entry("a", sha=None), SRC)]) == "version = 1\n"
    (image,) = parse_manifest(print_manifest([(entry("a", sha=None), SRC)], unproved=True).encode()).images
    assert (image.name, image.src, image.sha256, image.format, image.size_bytes) == ("a", SRC, None, "img.gz", 5)


@pytest.mark.parametrize(
    "content",
    [f"{SHA}", f"{SHA}  disk.img\n", f"{SHA.upper()} *disk.img", f"{SHA} ./disk.img", f"{'0' * 64}  other.img\n\n{SHA}  disk.img\n"],
)
def test_a_digest_is_found_in_a_list(content):
    """The digest of the file is found by its name, or as the only one of the list."""
    assert find_digest(content, "disk.img") == SHA


@pytest.mark.parametrize("content", ["", "hello", f"{SHA} other.img", f"{SHA}\n{SHA}", f"{SHA} disk.img\nnonsense"])
def test_a_list_that_does_not_tell_is_refused(content):
    """A list that does not name the file, or holds something else, gives no digest."""
    with pytest.raises(InvalidInput):
        find_digest(content, "disk.img")


@given(st.text(string.printable, max_size=70))
def test_only_64_hex_digits_are_a_digest(text):
    """Anything but 64 hex digits is refused."""
    with pytest.raises(InvalidInput):
        parse_digest(text + "g")


@pytest.mark.parametrize(
    ("src", "name"),
    [
        (SRC, "debian-amd64.img.gz"),
        ("http://a/x%20y.img?v=2", "x y.img"),
        ("http://a/", "download"),
        ("oras://r.io/a/b:latest", "b:latest"),
    ],
)
def test_a_source_has_a_file_name(src, name):
    """The name under which bytes are offered is the last segment of the source."""
    assert file_name(src) == name
