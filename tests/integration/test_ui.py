"""The web application as it is served: few requests, few bytes, kept by browsers, and no way in for a script."""

from __future__ import annotations

import gzip
import re

import pytest

from bty.daemon.spa import build
from tests.support.daemon import make_config, running

FIRST_LOAD_BYTES = 150_000


@pytest.fixture
async def daemon(tmp_path):
    async with running(make_config(tmp_path / "state")) as daemon:
        yield daemon


async def test_the_document_names_what_it_loads_by_its_content(daemon):
    """The document is asked for each time and answered with 304 while it is the same; what it loads is kept for ever."""
    await daemon.log_in()
    answer = await daemon.client.get("/ui/dashboard")
    again = await daemon.client.get("/ui/machines", headers={"If-None-Match": answer.headers["ETag"]})
    loaded = re.findall(r'(?:href|src)="(/ui/assets/[^"]+)"', await answer.text())

    assert (answer.status, answer.headers["Cache-Control"], again.status) == (200, "no-cache", 304)
    assert [path.rpartition("/")[2] for path in loaded] == ["icon.svg", "app.css", "main.js"]
    for path in loaded:
        asset = await daemon.client.get(path)
        assert asset.status == 200
        assert "immutable" in asset.headers["Cache-Control"]


async def test_the_first_load_is_small(daemon):
    """Document, style, script and icon are packed and together far below what a slow line would feel."""
    await daemon.log_in()
    text = await (await daemon.client.get("/ui/dashboard")).text()
    size = 0
    for path in ["/ui/dashboard", *re.findall(r'(?:href|src)="(/ui/assets/[^"]+)"', text)]:
        async with daemon.client.session.get(daemon.client.make_url(path), auto_decompress=False) as answer:
            body = await answer.read()
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(body)
        size += len(body)

    print(f"first load: {size} bytes in {1 + text.count('/ui/assets/')} requests")
    assert size < FIRST_LOAD_BYTES


async def test_who_takes_no_packed_body_gets_a_plain_one(daemon):
    """Without `Accept-Encoding: gzip` an asset comes as it is."""
    text = await (await daemon.client.get("/ui/login")).text()
    (style,) = re.findall(r'href="(/ui/assets/[^"]+\.css)"', text)
    answer = await daemon.client.get(style, headers={"Accept-Encoding": "identity"})

    assert "Content-Encoding" not in answer.headers
    assert "@layer tokens" in await answer.text()


async def test_what_another_version_had_is_not_there(daemon):
    """An asset of another build is 404: the old document must not run with new parts."""
    assert (await daemon.call("GET", "/ui/assets/0123456789abcdef/main.js"))[0] == 404
    text = await (await daemon.client.get("/ui/login")).text()
    (style,) = re.findall(r'href="(/ui/assets/[^"]+\.css)"', text)
    assert (await daemon.call("GET", style.replace("app.css", "index.html")))[0] == 404


async def test_the_page_of_an_unknown_machine_is_a_page(daemon):
    """The page of a machine without a record is the document too, with status 404."""
    await daemon.log_in()
    status, body = await daemon.call("GET", "/ui/machines/52-54-00-00-00-01")
    assert (status, "<!doctype html>" in body) == (404, True)
    await daemon.call("PUT", "/machines/52:54:00:00:00:01", json={})
    assert (await daemon.call("GET", "/ui/machines/52-54-00-00-00-01"))[0] == 200


async def test_no_script_but_ours_can_run(daemon):
    """Pages forbid inline scripts, other origins, frames, and HTML made from text by a script."""
    policy = (await daemon.client.get("/ui/login")).headers["Content-Security-Policy"]

    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "frame-ancestors 'none'" in policy


def test_modules_that_import_each_other_are_refused(tmp_path):
    """A circle of imports is a mistake that the start names."""
    (tmp_path / "index.html").write_text("<!doctype html>")
    (tmp_path / "icon.svg").write_text("<svg/>")
    (tmp_path / "app.css").write_text("")
    (tmp_path / "main.js").write_text('import { a } from "./a.js";\n')
    (tmp_path / "a.js").write_text('import { b } from "./b.js";\nexport const a = b;\n')
    (tmp_path / "b.js").write_text('import { a } from "./a.js";\nexport const b = a;\n')

    with pytest.raises(ValueError, match=r"main.js > a.js > b.js > a.js"):
        build(tmp_path)


def test_the_build_has_the_name_of_its_content(tmp_path):
    """The same sources have the same address, another style has another."""
    for name, text in {"index.html": "<!doctype html>", "icon.svg": "<svg/>", "app.css": "a{}", "main.js": "f();\n"}.items():
        (tmp_path / name).write_text(text)
    before, same = build(tmp_path), build(tmp_path)
    (tmp_path / "app.css").write_text("b{}")

    assert before.build == same.build
    assert build(tmp_path).build != before.build
