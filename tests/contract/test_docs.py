"""What the reference says and what the code does are the same."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from bty.model.event import Kind

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted((ROOT / "docs").rglob("*.md"))


def test_the_generated_tables_are_fresh() -> None:
    """Tables of the reference and types of the web application are those of the code (`python docs/generate.py`)."""
    stale = runpy.run_path(str(ROOT / "docs" / "generate.py"))["stale"]

    assert [page.name for page in stale()] == []


def test_every_kind_of_event_is_documented() -> None:
    """The page of events names every registered kind and no other."""
    named = re.findall(r"`((?:machine|netboot|pxe|catalog|settings|backup|auth|system)\.[a-z.]+)`", (REFERENCE / "events.md").read_text())

    assert sorted(set(named) - {"netboot.pxe", "events.retention_days"}) == sorted(Kind)


def test_reserved_kinds_are_those_that_nothing_records() -> None:
    """A kind stands under "Reserved" exactly as long as no code uses it, by its name or within SQL."""
    code = "".join(module.read_text() for module in (ROOT / "bty").rglob("*.py") if module.parts[-2:] != ("model", "event.py"))
    unused = [kind.value for kind in Kind if not re.search(rf"\bKind\.{kind.name}\b|'{re.escape(kind)}', '", code)]
    reserved = (REFERENCE / "events.md").read_text().partition("## Reserved")[2]

    assert sorted(re.findall(r"`([a-z.]+)`", reserved)) == sorted(unused)


def test_events_are_recorded_by_their_registered_name() -> None:
    """No module spells a kind of event as a string of its own."""
    spelled = {}
    for module in (ROOT / "bty").rglob("*.py"):
        if module.parts[-2:] != ("model", "event.py") and (found := {kind for kind in Kind if f'"{kind}"' in module.read_text()}):
            spelled[str(module.relative_to(ROOT))] = found

    assert spelled == {}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_commands_use_what_their_page_sets(page: Path) -> None:
    """A variable of a command is set on the same page, so that the commands can be typed as they stand."""
    commands = "\n".join(line for line in page.read_text().splitlines() if line.startswith("    "))
    used = set(re.findall(r"\$\{?([A-Za-z_]\w*)", commands)) - {"PWD", "net_default_mac"}  # the shell's, and GRUB's

    assert used - set(re.findall(r"\b([A-Za-z_]\w*)=", commands)) == set()


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_commands_name_a_program_that_is_there(page: Path) -> None:
    """`bty-web` alone is on nobody's PATH: it is `dist/bty.pyz web` where it was built, or the path of an installed one."""
    assert re.findall(r"^    (?:.*\$\()?bty-web .*", page.read_text(), re.MULTILINE) == []


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file or folder that is there."""
    targets = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]

    assert [target for target in targets if not (page.parent / target).exists()] == []
