"""The forms of account, settings, network boot and backups."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.browser.machines import DISK, SECOND
from tests.browser.test_access import findings
from tests.support.api import eventually
from tests.support.process import DaemonProcess


def test_a_token_is_made_shown_once_and_ended(daemon: DaemonProcess, tab: Any) -> None:
    """A token opens the API until it is ended; its secret is on the page until it is taken note of, and never again."""
    page = tab.open("/ui/account")
    page.get_by_text("There is no token yet.").wait_for()
    page.get_by_label("Name of a new token").fill("<pipeline>")
    page.get_by_role("button", name="Make a token").click()
    page.locator("#token-name-problem").wait_for()
    page.get_by_label("Name of a new token").fill("pipeline")
    page.get_by_role("button", name="Make a token").click()
    secret = page.locator("code.secret").inner_text()
    tab.shoot("account-token")
    request = urllib.request.Request(f"{daemon.url}/machines", headers={"Authorization": f"Bearer {secret}"})
    assert json.loads(urllib.request.urlopen(request, timeout=20).read()) == []
    page.get_by_role("button", name="I have it").click()
    page.reload()
    page.get_by_text("pipeline", exact=True).wait_for()
    assert secret not in page.content()
    page.get_by_role("button", name="End pipeline").click()
    page.get_by_role("button", name="End the token").click()
    page.get_by_text("There is no token yet.").wait_for()
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request, timeout=20)


def test_the_password_is_changed(daemon: DaemonProcess, tab: Any) -> None:
    """Two that differ and a wrong present one are told; the change keeps this login and ends the others."""
    page = tab.open("/ui/account")
    page.get_by_text("The well-known password is still set").wait_for()
    present, new, again = page.get_by_label("Present password"), page.locator("#new-password"), page.locator("#again")
    present.fill("bty-lab")
    new.fill("a better one")
    again.fill("another one")
    page.get_by_role("button", name="Change the password").click()
    page.get_by_text("The two are not the same.").wait_for()
    present.fill("wrong")
    again.fill("a better one")
    page.get_by_role("button", name="Change the password").click()
    page.get_by_role("alert").first.wait_for()
    present.fill("bty-lab")
    page.get_by_role("button", name="Change the password").click()
    page.get_by_text("The password was changed.").wait_for()
    page.get_by_text("The well-known password is still set").wait_for(state="detached")
    body = json.dumps({"password": "a better one"}).encode()
    request = urllib.request.Request(f"{daemon.url}/auth/login", data=body, headers={"Content-Type": "application/json"})

    assert urllib.request.urlopen(request, timeout=20).status == 204
    assert "# kept" in (daemon_state(daemon) / "bty.toml").read_text()


def test_settings_and_configuration_are_changed(daemon: DaemonProcess, operator: Any, tab: Any) -> None:
    """Settings are saved and refused in the daemon's words; a key of the configuration goes into the file, whose comments stay."""
    page = tab.open("/ui/settings")
    page.get_by_label("Catalog", exact=True).fill("ftp://nowhere")
    page.locator("form", has_text="Catalog").get_by_role("button", name="Save").click()
    page.locator("#catalog_url-problem").wait_for()
    page.get_by_label("Catalog", exact=True).fill("https://images.invalid/catalog.toml")
    page.locator("form", has_text="Catalog").get_by_role("button", name="Save").click()
    page.get_by_text("Saved.").first.wait_for()
    page.get_by_label("Make backups by schedule").check()
    page.get_by_label("How often").select_option("Every week")
    page.get_by_label("How many are kept").fill("3")
    page.locator("#backup-schedule").get_by_role("button", name="Save").click()
    eventually(lambda: operator.call("GET", "/settings")["backup"]["enabled"])
    assert operator.call("GET", "/settings")["backup"] | {"last_run_at": None} == {
        "enabled": True,
        "cadence": "weekly",
        "retention_count": 3,
        "last_run_at": None,
    }
    assert operator.call("GET", "/settings")["upstream"]["catalog_url"] == "https://images.invalid/catalog.toml"

    page.get_by_role("button", name="Change server.trusted_proxy").click()
    page.get_by_label("New value of server.trusted_proxy").fill("no address")
    page.locator(".config-form").get_by_role("button", name="Save").click()
    page.locator(".config-form").get_by_role("alert").wait_for()
    page.locator(".config-form").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Change flash.max_attempts").click()
    page.get_by_label("New value of flash.max_attempts").fill("7")
    page.locator(".config-form").get_by_role("button", name="Save").click()
    page.get_by_text("flash.max_attempts was saved.").wait_for()
    text = (daemon_state(daemon) / "bty.toml").read_text()
    assert "max_attempts = 7" in text
    assert "# kept" in text
    page.get_by_role("button", name="Change flash.max_attempts").click()
    page.get_by_role("button", name="Back to the default").click()
    page.locator(".config-form").wait_for(state="detached")
    assert page.get_by_role("button", name="Change withcache.embedded").is_disabled()  # the environment says so
    assert "max_attempts" not in (daemon_state(daemon) / "bty.toml").read_text()


def test_boot_files_are_uploaded(daemon: DaemonProcess, operator: Any, tmp_path: Path, tab: Any) -> None:
    """A file goes to the boot directory and shows its size; what is missing is told with what to do."""
    version = operator.call("GET", "/version")["version"]
    kernel = tmp_path / f"bty-netboot-pc-x86_64-v{version}.vmlinuz"
    kernel.write_bytes(b"k" * 200_000)
    page = tab.open("/ui/netboot")
    page.get_by_text("3 files of the live environment are missing").wait_for()
    page.get_by_label("Files", exact=True).set_input_files(kernel)
    page.get_by_role("button", name="Upload").click()
    page.get_by_text("is in place.").wait_for()
    page.get_by_text("2 files of the live environment are missing").wait_for()
    page.get_by_text("195 KiB").wait_for()
    with urllib.request.urlopen(f"{daemon.url}/boot/{kernel.name}", timeout=20) as answer:
        assert answer.read() == kernel.read_bytes()
    page.get_by_role("button", name=f"Delete {kernel.name}").click()
    page.get_by_role("button", name="Delete the file").click()
    page.get_by_text("3 files of the live environment are missing").wait_for()


def test_a_release_is_fetched(operator: Any, origin: str, tab: Any) -> None:
    """A release that cannot be had is told with the reason where it was asked for."""
    operator.call("PATCH", "/settings", {"upstream": {"netboot_repo": f"{origin}/releases"}})
    page = tab.open("/ui/netboot")
    page.get_by_text("None has been fetched.").wait_for()
    page.get_by_role("button", name="Fetch the release of this version").click()
    page.locator(".lines .badge.bad", has_text="failed").wait_for()
    tab.shoot("netboot-failed")


def test_a_backup_is_made_kept_and_taken_in(operator: Any, box: Any, tab: Any) -> None:
    """A backup appears without a reload, says what it holds, can be downloaded, taken in and deleted; what it would flash waits."""
    box(1).discover(DISK)
    bound = {"labels": ["kept"], "boot_mode": "bty-flash-always", "target_disk_serial": DISK["serial"], "bty_image_ref": "a" * 64}
    operator.call("PATCH", "/machines/52:54:00:00:00:01", bound)
    page = tab.open("/ui/backups")
    page.get_by_text("There is no backup yet.").wait_for()
    page.wait_for_selector(".stream.live")
    page.get_by_role("button", name="Back up now").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    page.get_by_text("1 machine, 0 images, 0 settings").first.wait_for()
    bundle = download.value.path()
    tab.shoot("backups-one")
    operator.call("DELETE", "/machines/52:54:00:00:00:01")
    page.get_by_label("File").set_input_files(
        files=[{"name": "b.json", "mimeType": "application/json", "buffer": Path(bundle).read_bytes()}]
    )
    page.get_by_role("button", name="Take it in…").click()
    page.get_by_role("button", name="Take it in", exact=True).click()
    page.get_by_text("1 machine that would be flashed waits in the mode Inventory.").wait_for()
    restored = operator.call("GET", "/machines/52:54:00:00:00:01")
    assert (restored["labels"], restored["boot_mode"]) == (["kept"], "bty-inventory")
    tab.shoot("backups-taken-in")
    assert findings(page) == []
    page.get_by_role("button", name="Arm 1 machine…").click()
    page.get_by_text(f"Flash always: an image that is not in the catalog on {DISK['model']}, 960 GB, serial {DISK['serial']}").wait_for()
    page.get_by_role("button", name="Arm 1 machine", exact=True).click()
    page.get_by_text("1 machine armed.").wait_for()
    assert operator.call("GET", "/machines/52:54:00:00:00:01")["boot_mode"] == "bty-flash-always"
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete the backup").click()
    page.get_by_text("There is no backup yet.").wait_for()


def test_machines_are_armed_as_they_are_bound_now(operator: Any, origin: str, box: Any, tab: Any) -> None:
    """The question before arming names image and disk of this moment, and leaves out the machines that wait no more."""
    refs = [
        operator.call("POST", "/catalog/entries", {"image_url": f"{origin}/{name}"})["bty_image_ref"]
        for name in ("debian.img.gz", "fedora.qcow2")
    ]
    macs = [f"52:54:00:00:00:0{number}" for number in (1, 2, 3)]
    for number, mac in enumerate(macs, 1):
        box(number).discover(DISK, SECOND)
        operator.call(
            "PATCH", f"/machines/{mac}", {"boot_mode": "bty-flash-once", "target_disk_serial": DISK["serial"], "bty_image_ref": refs[0]}
        )
    operator.call("POST", "/workers/backups", {"trigger": "manual"})
    eventually(lambda: len(operator.call("GET", "/backups")["items"]) == 1)
    bundle = operator.call("GET", f"/backups/{operator.call('GET', '/backups')['items'][0]['backup_id']}")
    page = tab.open("/ui/backups")
    file = {"name": "b.json", "mimeType": "application/json", "buffer": json.dumps(bundle).encode()}
    page.get_by_label("File").set_input_files(files=[file])
    page.get_by_role("button", name="Take it in…").click()
    page.get_by_role("button", name="Take it in", exact=True).click()
    page.get_by_text("3 machines that would be flashed wait in the mode Inventory.").wait_for()

    operator.call("PATCH", f"/machines/{macs[0]}", {"target_disk_serial": SECOND["serial"], "bty_image_ref": refs[1]})
    operator.call("PATCH", f"/machines/{macs[1]}", {"boot_mode": "ipxe-exit"})
    operator.call("DELETE", f"/machines/{macs[2]}")
    page.get_by_role("button", name="Arm 3 machines…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("heading", name="1 machine will be flashed").wait_for()
    lost = dialog.get_by_label("Disks that will be overwritten").locator("li").all_inner_texts()
    assert (len(lost), "fedora" in lost[0], SECOND["serial"] in lost[0]) == (1, True, True)
    left = dialog.get_by_label("Machines that are left out").locator("li").all_inner_texts()
    assert left == [f"{macs[1]}\nIts mode is “Boot the disk” now.", f"{macs[2]}\nIt was deleted."]
    tab.shoot("backups-arm")
    dialog.get_by_role("button", name="Arm 1 machine", exact=True).click()
    page.get_by_text("1 machine armed.").wait_for()
    assert [(one["mac"], one["boot_mode"]) for one in operator.call("GET", "/machines")] == [
        (macs[0], "bty-flash-once"),
        (macs[1], "ipxe-exit"),
    ]


def daemon_state(daemon: DaemonProcess) -> Path:
    """Where the daemon keeps its state."""
    arguments = [str(word) for word in daemon.process.args]  # type: ignore[union-attr]
    return Path(arguments[arguments.index("--state-dir") + 1])
