"""`bty-web export`, `import` and `token`, as somebody types them: beside a running daemon, without one, and as root."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.api import Operator
from tests.support.process import daemon_process, web_command

MAC = "52:54:00:00:00:01"
BOUND = {"boot_mode": "bty-flash-always", "bty_image_ref": "a" * 64, "target_disk_serial": "S1", "labels": ["rack 1"]}


def web(*words: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([*web_command(), *map(str, words)], input=stdin, capture_output=True, text=True, check=False, timeout=60)


def status_with(url: str, token: str) -> int:
    request = urllib.request.Request(f"{url}/machines", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


@pytest.fixture
def state(tmp_path: Path) -> Path:
    made = tmp_path / "state"
    made.mkdir()
    return made


def test_a_token_works_beside_a_running_daemon(state: Path) -> None:
    """Made by the command line it opens the API at once, is listed by both, and revoked it opens nothing, without a restart."""
    with daemon_process(state) as daemon:
        made = web("token", "create", "ci job", "--state-dir", state)
        secret = made.stdout.strip()
        assert (made.returncode, made.stdout.count("\n")) == (0, 1)
        assert status_with(daemon.url, secret) == 200
        listed = json.loads(web("token", "list", "--json", "--state-dir", state).stdout)
        operator = Operator(daemon.url)
        assert [(one["id"], one["name"]) for one in operator.call("GET", "/tokens")["items"]] == [(1, "ci job")]
        assert web("token", "revoke", "ci job", "--state-dir", state).returncode == 0
        assert status_with(daemon.url, secret) == 401
        assert [event["details"]["name"] for event in operator.events("auth.token.revoked")] == ["ci job"]

    assert listed[0] | {"id": 1, "name": "ci job"} == listed[0]
    assert listed[0]["last_used_at"]
    assert secret not in json.dumps(listed) + made.stderr


def test_a_state_moves_to_another_directory(state: Path, tmp_path: Path) -> None:
    """What is exported beside a running daemon comes into a new state with what it was bound to, waiting for the operator."""
    with daemon_process(state) as daemon:
        Operator(daemon.url).call("PUT", f"/machines/{MAC}", BOUND)
        exported = web("--state-dir", state, "export", tmp_path)
        refused = web("--state-dir", state, "import", tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    imported = web("--state-dir", other, "import", tmp_path)
    with daemon_process(other) as daemon:
        operator = Operator(daemon.url)
        machine = operator.call("GET", f"/machines/{MAC}")
        (event,) = operator.events("backup.imported")

    assert (exported.returncode, exported.stdout) == (0, "")
    assert "exported 1 machine, 0 images, 0 settings" in exported.stderr
    assert (tmp_path / "inventory.json").stat().st_mode & 0o777 == 0o600
    assert refused.returncode == 1
    assert "stop it first, or import into it" in refused.stderr
    assert imported.returncode == 0
    assert f"{MAC} waits; it was bty-flash-always" in imported.stderr
    assert {**machine, **BOUND, "boot_mode": "bty-inventory"} == machine
    assert event["details"]["held_machines"] == {MAC: "bty-flash-always"}


def test_a_bundle_goes_through_a_pipe_and_arms_where_it_is_told_to(state: Path) -> None:
    """A bundle comes from standard input and goes to standard output; `--arm` leaves machines their modes."""
    bundle = {"bty_export_version": 4, "machines": [{"mac": MAC, **BOUND}]}
    imported = web("import", "-", "--arm", "--state-dir", state, stdin=json.dumps(bundle))
    exported = json.loads(web("export", "-", "--state-dir", state).stdout)

    assert imported.returncode == 0, imported.stderr
    assert "1 machine will be flashed at the next boot" in imported.stderr
    assert exported["machines"][0] | BOUND == exported["machines"][0]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [(["token", "create", "a\nb"], 2, "not a name for a token"), (["token", "create", "taken"], 1, "give it another name"),
     (["token", "revoke", "9"], 1, "the command `token list` shows"), (["import", "nowhere"], 2, "nowhere: No such file or directory"),
     (["import", "-"], 2, "machine x: invalid MAC"), (["export", "no/such/place"], 1, "name another place"), (["token"], 2, "ACTION")],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_mistake_is_named(state: Path, words: list[str], code: int, said: str) -> None:
    """What is wrong is told on standard error with what to do, and by the exit code; nothing is written."""
    web("token", "create", "taken", "--state-dir", state)
    ran = (
        web(*words, "--state-dir", state, stdin='{"bty_export_version": 4, "machines": [{"mac": "x"}]}') if len(words) > 1 else web(*words)
    )

    assert (ran.returncode, ran.stdout) == (code, "")
    assert said in ran.stderr
    assert json.loads(web("export", "-", "--state-dir", state).stdout)["machines"] == []


@pytest.mark.parametrize("words", [["export", "-"], ["token", "list"], ["token", "create", "x"], ["import", "-"]], ids=" ".join)
def test_a_database_of_another_schema_is_left_alone(state: Path, words: list[str]) -> None:
    """What a newer program made is neither used nor set aside."""
    with closing(sqlite3.connect(state / "state.db")) as db:
        db.executescript("CREATE TABLE t (a); PRAGMA user_version = 999;")
    ran = web(*words, "--state-dir", state, stdin='{"bty_export_version": 4, "machines": []}')

    assert ran.returncode == 1
    assert "schema 999" in ran.stderr
    assert list(state.glob("*.bak")) == []


@pytest.mark.parametrize("words", [["export", "-"], ["token", "list"], ["import", "-"]], ids=" ".join)
def test_a_directory_that_is_not_there_is_not_made(state: Path, words: list[str]) -> None:
    """A mistyped directory is named, and nothing is left behind at its place."""
    ran = web(*words, "--state-dir", state / "typo", stdin='{"bty_export_version": 4, "machines": []}')

    assert ran.returncode == 2
    assert "--state-dir" in ran.stderr
    assert not (state / "typo").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
def test_what_root_makes_is_the_daemons(state: Path) -> None:
    """Called by root, everything in the directory belongs to its owner afterwards, who is the one to write it later."""
    os.chown(state, 12345, 12345)
    assert web("import", "-", "--state-dir", state, stdin='{"bty_export_version": 4, "machines": []}').returncode == 0
    assert web("token", "create", "x", "--state-dir", state).returncode == 0

    assert {path.name: path.stat().st_uid for path in state.iterdir() if path.stat().st_uid != 12345} == {}
    assert (state / "state.db").is_file()
