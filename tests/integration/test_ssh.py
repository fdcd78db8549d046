"""Who may log in to a live environment: what the operator configured, told to a machine in its cycle and to nobody else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bty.errors import ConfigFailed
from bty.services.config import load_config
from tests.support.daemon import Daemon, make_config, running

MAC = "52:54:00:00:00:01"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1kCkPDWNdWKqEB2qY9fcO1Nq3rWkJQ0Wr0L6mFvT3b operator@desk, by the window"
OTHER = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7"
HASH = "$y$j9T$0123456789abcdef$0123456789abcdefghijklmnopqrstuvwxyz./ABCDE"


@asynccontextmanager
async def _daemon(folder: Path, toml: str) -> AsyncIterator[Daemon]:
    async with running(make_config(folder / "state", toml)) as daemon:
        await daemon.log_in()
        yield daemon


async def _token(daemon: Daemon, mode: str = "bty-tui") -> str:
    """Open a cycle as a machine does, and return its token."""
    await daemon.call("PUT", f"/machines/{MAC}", json={"boot_mode": mode})
    await daemon.call("GET", f"/pxe/{MAC}")
    await daemon.call("HEAD", f"/boot/kernel?mac={MAC}")
    _, plan = await daemon.call("GET", f"/pxe/{MAC}/plan")
    return str(plan["cycle"])


async def test_a_machine_learns_who_may_log_in(tmp_path: Path) -> None:
    """With the token of its open cycle it gets the keys and the hash, and the audit log says so without them."""
    async with _daemon(tmp_path, f'[live]\nssh_authorized_keys = ["{KEY}", "{OTHER}"]\nssh_password_hash = "{HASH}"\n') as daemon:
        status, body = await daemon.call("GET", f"/pxe/{MAC}/ssh", params={"cycle": await _token(daemon)})
        assert (status, body) == (200, {"authorized_keys": [KEY, OTHER], "password_hash": HASH})

        (event,) = await daemon.events(kind="machine.ssh")
        assert event["summary"] == f"{MAC} may be logged in to by ssh: 2 keys, a password"
        assert HASH not in str(event)


async def test_without_the_token_of_the_open_cycle_nothing_is_told(tmp_path: Path) -> None:
    """No token, another token, and the token of a cycle that is over: each is refused."""
    async with _daemon(tmp_path, f'[live]\nssh_authorized_keys = ["{KEY}"]\n') as daemon:
        token = await _token(daemon, "bty-inventory")
        assert (await daemon.call("GET", f"/pxe/{MAC}/ssh"))[0] == 409
        assert (await daemon.call("GET", f"/pxe/{MAC}/ssh", params={"cycle": "guessed"}))[0] == 409
        assert (await daemon.call("GET", "/pxe/52:54:00:00:00:02/ssh", params={"cycle": token}))[0] == 404
        assert (await daemon.call("POST", f"/pxe/{MAC}/inventory", json={"cycle": token, "disks": []}))[0] == 204
        assert (await daemon.call("GET", f"/pxe/{MAC}/ssh", params={"cycle": token}))[0] == 409
        assert await daemon.events(kind="machine.ssh") == []


async def test_where_nothing_is_configured_nobody_may(tmp_path: Path) -> None:
    """Without a key and a password the answer is 404 and says what to configure."""
    async with _daemon(tmp_path, "") as daemon:
        status, body = await daemon.call("GET", f"/pxe/{MAC}/ssh", params={"cycle": await _token(daemon)})
        assert status == 404
        assert "ssh_authorized_keys" in str(body)


async def test_log_lines_in_plain_text_carry_their_token_in_the_query(tmp_path: Path) -> None:
    """With `require_cycle_token` plain lines are taken with the token and refused without."""
    async with _daemon(tmp_path, "[security]\nrequire_cycle_token = true\n") as daemon:
        token, text = await _token(daemon), {"Content-Type": "text/plain"}
        assert (await daemon.call("POST", f"/pxe/{MAC}/log", data="refused", headers=text))[0] == 409
        assert (await daemon.call("POST", f"/pxe/{MAC}/log", data="taken", headers=text, params={"cycle": token}))[0] == 204
        assert "taken" in str(await daemon.call("GET", f"/machines/{MAC}/log"))


@pytest.mark.parametrize("key", ["hello", 'command="reboot" ssh-rsa AAAA', "ssh-rsa", "ssh-rsa AA:AA"])
def test_what_is_no_public_key_is_refused(key: str, tmp_path: Path) -> None:
    """A start with something else than keys ends with the name of the setting."""
    path = tmp_path / "bty.toml"
    path.write_text(f"[live]\nssh_authorized_keys = ['{key}']\n")
    with pytest.raises(ConfigFailed, match="ssh_authorized_keys"):
        load_config(paths=[path], environ={})


@pytest.mark.parametrize("text", ["secret", "$1$salt$0123456789012345678901", HASH + ":0:0", "$y$short"])
def test_what_is_no_hash_is_refused(text: str) -> None:
    """A password, a broken kind of hash, and what would add fields to shadow(5) end the start; the value is not shown."""
    with pytest.raises(ConfigFailed, match="ssh_password_hash") as failed:
        load_config(environ={"BTY_LIVE_SSH_PASSWORD_HASH": text})
    assert text not in str(failed.value)
