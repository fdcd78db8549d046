"""Bundles: whatever the state may be, its backup can be taken in again; whatever a bundle may be, it is taken whole or refused by name."""

from __future__ import annotations

import dataclasses
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bty.errors import InvalidBody
from bty.model.catalog import Entry
from bty.model.image import ImageFormat, image_ref
from bty.model.machine import BootMode, CycleState, LocalBoot, Machine
from bty.services import bundle
from bty.store import machines as table
from bty.store.db import Store
from bty.units import utc_now

NOW = utc_now()
MOMENT = st.sampled_from([None, NOW, "2026-01-01T00:00:00+00:00"])
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
LABEL = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9 ._-]{0,20}\Z")
SERIAL = st.none() | st.from_regex(r"\A[^\x00-\x1f\x7f\ud800-\udfff]{0,20}\Z")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
REPORT = st.none() | st.dictionaries(TEXT, JSON, max_size=3).map(json.dumps)
MACHINE = st.builds(
    Machine,
    mac=st.integers(0, 2**48 - 1).map(lambda number: ":".join(f"{number:012x}"[at : at + 2] for at in range(0, 12, 2))),
    boot_mode=st.sampled_from([*BootMode, "a-mode-of-tomorrow"]),
    created_at=st.just(NOW),
    updated_at=st.just(NOW),
    bty_image_ref=st.none() | st.just("a" * 64),
    target_disk_serial=SERIAL,
    sanboot_drive=st.sampled_from([None, "0x80", "0xfF"]),
    uefi_local_boot=st.sampled_from(LocalBoot),
    discovered_at=MOMENT,
    last_seen_at=MOMENT,
    last_seen_ip=st.sampled_from([None, "10.0.0.1", "fe80::1%eth0"]),
    last_flashed_at=MOMENT,
    flashed_at=MOMENT,
    known_disks_at=MOMENT,
    cycle_state=st.none() | st.sampled_from(CycleState),
    cycle=st.none() | st.just("a-token-of-a-cycle"),
    last_flash=REPORT,
    flash_error=st.none() | TEXT,
    labels=st.lists(LABEL, max_size=16, unique=True).map(lambda labels: tuple(sorted(labels))),
)
ENTRY = st.builds(
    lambda path, fields: dataclasses.replace(
        Entry(bty_image_ref=image_ref(f"http://h/{path}"), src=f"http://h/{path}", name="", added_at=NOW), **fields
    ),
    st.from_regex(r"\A[a-z0-9%]{1,12}\Z"),
    st.fixed_dictionaries(
        {
            "name": TEXT,
            "disk_image_sha": st.none() | st.just("b" * 64),
            "format": st.none() | st.sampled_from(ImageFormat),
            "size_bytes": st.none() | st.integers(0, 2**63 - 1),
            "description": st.none() | TEXT,
            "arch": st.sampled_from([None, "x86_64"]),
            "resolved_src": st.sampled_from([None, "https://h/v2/x"]),
        }
    ),
)
HARDWARE = st.builds(
    table.Hardware,
    disks=st.none() | st.lists(st.dictionaries(TEXT, JSON, max_size=2), max_size=2).map(json.dumps),
    lshw=REPORT,
    lshw_at=MOMENT,
)
EASY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture
async def store(tmp_path: Path):
    opened = await Store.open(tmp_path / "state.db")
    yield opened
    await opened.close()


async def packed(store: Store, machines: list[Machine], entries: list[Entry]) -> bytes:
    holding = bundle.Holding(
        machines=machines,
        entries=entries,
        deleted=["c" * 64],
        settings={"upstream": {"netboot_tag": "v1"}, "backup": {}},
        configuration={"flash.verify": True},
    )
    return b"".join([block async for block, _ in bundle.write(store, holding)])


def same(text: str | None, other: str | None) -> bool:
    return (text is None) == (other is None) and (text is None or json.loads(text) == json.loads(other))


@EASY
@given(
    st.lists(st.tuples(MACHINE, HARDWARE), max_size=4, unique_by=lambda pair: pair[0].mac),
    st.lists(ENTRY, max_size=3, unique_by=lambda entry: entry.src),
)
def test_what_was_written_is_read_again(pairs: list[tuple[Machine, table.Hardware]], entries: list[Entry]) -> None:
    """Any machines, hardware and images come back as they were, but for what belongs to a boot cycle; armed or not, none is lost."""
    contents = [json.loads(bundle._lines([bundle._saved(machine, hardware)])) for machine, hardware in pairs]
    text = {"bty_export_version": 4, "machines": contents, "catalog": json.loads(b"[" + bundle._lines(entries) + b"]")}
    found = bundle.read(json.dumps(text).encode(), arm=True, now=NOW)
    assert found.entries == entries
    for (machine, hardware), (back, known) in zip(pairs, found.machines, strict=True):
        mode = machine.boot_mode if machine.mode else BootMode.INVENTORY
        done = mode == BootMode.FLASH_ONCE and machine.is_completed
        wanted = replace(machine, boot_mode=mode, cycle=None, cycle_state=CycleState.COMPLETED if done else None, flash_error=None)
        wanted = replace(wanted, flashed_at=machine.flashed_at or machine.last_flashed_at)
        assert same(back.last_flash, machine.last_flash)
        assert replace(back, last_flash=None) == replace(wanted, last_flash=None)
        assert same(known.disks, hardware.disks)
        assert same(known.lshw, hardware.lshw)
        assert known.lshw_at == hardware.lshw_at
    waiting = bundle.read(json.dumps(text).encode(), arm=False, now=NOW)
    assert waiting.held == found.held
    assert [machine.mac for machine, _ in waiting.machines if machine.mode and machine.mode.flashes and not machine.is_completed] == []


async def test_a_bundle_is_one_document(store: Store) -> None:
    """What is written piece by piece, over several reads of the database, is one JSON document with everything in it."""
    machines = [
        Machine(mac=f"52:54:00:00:{n >> 8:02x}:{n & 255:02x}", boot_mode="bty-tui", created_at=NOW, updated_at=NOW) for n in range(120)
    ]
    await store.write(*table.restore([(machine, table.Hardware(disks='[{"path": "/dev/sda"}]')) for machine in machines]))
    text = await packed(store, machines, [])
    found = bundle.read(text, arm=False, now=NOW)

    assert [machine.mac for machine, _ in found.machines] == [machine.mac for machine in machines]
    assert {known.disks for _, known in found.machines} == {'[{"path":"/dev/sda"}]'}
    assert (found.deleted, found.settings.upstream.netboot_tag) == (["c" * 64], "v1")
    assert found.configuration == {"flash.verify": True}
    assert json.loads(text)["machines"][0]["known_disks"] == [{"path": "/dev/sda"}]


MAC = "52:54:00:00:00:01"
WHOLE = {
    "bty_export_version": 4,
    "settings": {"upstream": {"netboot_tag": "v1"}, "backup": {"enabled": True}},
    "configuration": {"flash.verify": True},
    "deleted_images": ["c" * 64],
    "catalog": [{"bty_image_ref": image_ref("http://h/a.img"), "src": "http://h/a.img", "name": "a", "added_at": NOW}],
    "machines": [
        {
            "mac": MAC,
            "boot_mode": "bty-flash-once",
            "known_disks": [{}],
            "hw_lshw": {},
            "labels": ["a"],
            "last_flash": {},
            "last_seen_at": NOW,
        }
    ],
}


@EASY
@given(st.data(), JSON)
def test_whatever_comes_is_read_or_refused(data: Any, poison: Any) -> None:
    """With any value put into any place of a bundle it is read, or refused as a wrong body: nothing else happens."""
    text = json.loads(json.dumps(WHOLE))
    place: Any = text
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = poison
            break
        place = place[key]
    with suppress(InvalidBody):
        found = bundle.read(json.dumps(text).encode(), arm=False, now=NOW)
        assert all(machine.boot_mode in set(BootMode) for machine, _ in found.machines)
