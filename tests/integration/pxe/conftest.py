"""Daemons for the tests of a machine on its way through the network boot."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from bty.daemon.app import create_app
from bty.services.config import load_config
from tests.integration.pxe.rig import Rig, Start, add_entry


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start daemons over one state directory."""
    clients: list[TestClient] = []

    async def start(**overrides: object) -> Rig:
        config = load_config(overrides={"paths.state_dir": str(tmp_path / "state"), **overrides}, environ={}, etc=tmp_path)
        client = TestClient(TestServer(create_app(config)))
        clients.append(client)
        await client.start_server()
        return Rig(client)

    yield start
    for client in clients:
        await client.close()


@pytest.fixture
async def rig(start: Start) -> Rig:
    rig = await start()
    await add_entry(rig)
    return rig
