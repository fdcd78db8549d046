"""Why a machine does what it does."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from bty.daemon import keys, scripts
from bty.daemon.client import base_url
from bty.daemon.codec import reply
from bty.daemon.speech import speaks
from bty.model.foresee import Step
from bty.units import parse_mac


class StepRow(msgspec.Struct, kw_only=True):
    """A contact: its script, why it comes, what has to happen before the next, and whether all further ones are the same."""

    script: str
    offer_kind: str
    rule: str
    then: str
    repeats: bool


class NowRow(StepRow, kw_only=True):
    """The contact that would come now, with its script and the plan of its live environment."""

    text: str
    plan: dict[str, Any]


class Explanation(msgspec.Struct, kw_only=True):
    """What a machine would boot."""

    mac: str
    now: NowRow
    after: list[StepRow]


class StageRow(msgspec.Struct, kw_only=True):
    """A stage of a boot cycle."""

    stage: str
    state: str
    at: str | None
    detail: str


class StopRow(msgspec.Struct, kw_only=True):
    """Where a cycle stopped."""

    stage: str
    since: str
    reason: str
    causes: list[str]


class TimelineRow(msgspec.Struct, kw_only=True):
    """A boot cycle."""

    mac: str
    began_at: str | None
    attempts: int
    stages: list[StageRow]
    stopped: StopRow | None


@speaks(reply=Explanation)
async def explain(request: web.Request) -> web.Response:
    """Tell what a machine would get now, why, and what comes after it."""
    base = base_url(request)
    found = request.app[keys.INSIGHTS].explain(parse_mac(request.match_info["mac"]), base_url=base)
    now, *after = (_step(step) for step in found.steps)
    script = scripts.render(found.steps[0].offer, found.machine, base)
    return reply({"mac": found.machine.mac, "now": {**now, "text": script, "plan": found.plan}, "after": after})


@speaks(reply=TimelineRow)
async def timeline(request: web.Request) -> web.Response:
    """Tell how far a machine's cycle has come, and where it stopped."""
    mac = parse_mac(request.match_info["mac"])
    line = await request.app[keys.INSIGHTS].timeline(mac)
    return reply({"mac": mac, **line.to_json()})


def _step(step: Step) -> dict[str, Any]:
    return {
        "script": step.offer.script,
        "offer_kind": step.offer.kind,
        "rule": step.rule,
        "then": step.then,
        "repeats": step.repeats,
    }
