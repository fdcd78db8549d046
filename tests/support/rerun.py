"""A plugin of pytest's: a test that met an emulated machine whose kernel stood still runs once more."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from _pytest.runner import runtestprotocol

from tests.support.stall import Stalled

_STALLED = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "emulated: boots machines of an emulator; run once more where a guest's kernel stalls")
    config.stash[_STALLED] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo and call.excinfo.errisinstance(Stalled):
        item.config.stash[_STALLED].append(f"{item.name}: {call.excinfo.value}")
    return report


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test once more whose guest stalled, and a second time not: that is not ours, but it is told in the summary."""
    if item.get_closest_marker("emulated") is None:
        return None
    before = len(item.config.stash[_STALLED])
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, log=False, nextitem=nextitem)
    if len(item.config.stash[_STALLED]) > before:
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for stalled in config.stash[_STALLED]:
        terminalreporter.write_line(f"run again after a stall of the guest's kernel: {stalled}")
