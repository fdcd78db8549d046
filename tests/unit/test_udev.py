"""Disks are listed once udev knows them."""

import threading
import time
from pathlib import Path

import pytest

from bty.host import disks


@pytest.fixture
def udev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where udev would listen, and an udevadm that notes what it was asked."""
    tools = tmp_path / "bin"
    tools.mkdir()
    (tools / "udevadm").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\n')
    (tools / "udevadm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    monkeypatch.delenv("BTY_AWAIT_UDEV", raising=False)
    monkeypatch.setattr(disks, "_UDEV", tmp_path / "control")
    return tmp_path


def test_udev_is_settled_where_it_runs(udev: Path) -> None:
    """Before lsblk is asked, udev is waited for, with a bound."""
    (udev / "control").touch()
    disks.list_disks()
    assert (udev / "asked").read_text() == "settle --timeout=30\n"


def test_where_udev_does_not_run_nothing_is_waited_for(udev: Path) -> None:
    """A container, or a system without udev, lists what lsblk knows."""
    disks.list_disks()
    assert not (udev / "asked").exists()


def test_udev_that_is_about_to_start_is_waited_for(udev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the live environment the flasher starts first: with BTY_AWAIT_UDEV=1 it waits until udev is there."""
    monkeypatch.setenv("BTY_AWAIT_UDEV", "1")
    listing = threading.Thread(target=disks.list_disks)
    listing.start()
    listing.join(0.2)
    assert listing.is_alive()
    assert not (udev / "asked").exists()
    (udev / "control").touch()
    listing.join(10)
    assert (udev / "asked").read_text() == "settle --timeout=30\n"


def test_udev_that_never_comes_is_not_waited_for_for_ever(udev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the bound the disks that lsblk knows are listed."""
    monkeypatch.setenv("BTY_AWAIT_UDEV", "1")
    monkeypatch.setattr(disks, "_UDEV_S", 0.1)
    began = time.monotonic()
    disks.list_disks()
    assert time.monotonic() - began >= 0.1
