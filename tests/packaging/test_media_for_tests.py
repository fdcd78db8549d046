"""What `make test` does where the live environment cannot be built."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "packaging" / "media-for-tests"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with what the script needs and no mmdebstrap."""
    for name in ("env", "bash", "id", "dirname", "false"):
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    return str(tmp_path)


def _run(path: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT], env={"PATH": path, **more}, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.mark.parametrize(("more", "code"), [({}, 0), ({"CI": "true"}, 1)])
def test_what_is_left_out_is_named(path: str, more: dict[str, str], code: int) -> None:
    """Without root or without mmdebstrap the tests go on and say what they leave out, which in CI is an error."""
    done = _run(path, **more)
    assert done.returncode == code
    assert done.stderr.startswith("left out, with the tests of tests/media and tests/pxe that boot it: the live environment netboot-pc (")
    assert ("mmdebstrap" if os.geteuid() == 0 else "root") in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="building the live environment takes root")
def test_a_build_that_fails_is_told(path: str, tmp_path: Path) -> None:
    """The tests go on without what they could not have."""
    (tmp_path / "mmdebstrap").symlink_to("false")
    done = _run(path, MAKE="false")
    assert done.returncode == 0
    assert "its build failed" in done.stderr
