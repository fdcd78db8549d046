"""Screen 5: the receipt, or why it failed and what can be done now."""

from __future__ import annotations

from dataclasses import replace

from bty.agent.report import receipt_lines
from bty.agent.wizard.events import FollowPlan, OpenShell, Quit, StartFlash
from bty.agent.wizard.look import Look
from bty.agent.wizard.parts import Body, Line
from bty.agent.wizard.screens.common import ALWAYS, HELP, LOG, Room, ask_reboot
from bty.agent.wizard.screens.images import to_disks
from bty.agent.wizard.screens.sources import begin_choosing
from bty.agent.wizard.state import Binding, Job, Screen, Size, State, Step, stay
from bty.agent.wizard.text import wrap


def _retry(state: State) -> Step:
    """Write the same image onto the disks that failed, confirmed as they are; where there was no flash, ask for the plan."""
    job = state.job
    if job is None:
        return replace(state, screen=Screen.FLASH, unattended=True, plan_text=""), (FollowPlan(),)
    failed = tuple(run.disk for run in job.runs if run.failed)
    if not failed:
        return stay(state)
    effect = StartFlash(image=job.image, targets=failed, disks=state.disks or (), verify=job.verify)
    return replace(state, screen=Screen.FLASH, job=None, unattended=False), (effect,)


def _other_image(state: State) -> Step:
    state = replace(state, screen=Screen.IMAGES, image=None, targets=(), marked=frozenset(), unattended=False)
    return (state, ()) if state.sources else begin_choosing(state)


def _other_disk(state: State) -> Step:
    image = state.image or (state.job.image if state.job else None)
    if image is None:
        return _other_image(state)
    return to_disks(replace(state, image=image, marked=frozenset(), unattended=False))


def _quit(state: State) -> Step:
    return replace(state, leaving=True), (Quit(state.exit_code),)


_RETRY = Binding(keys=("t",), shown="t", word="try again", help="Try again: the same image, the disks that failed.", act=_retry)
_REBOOT = Binding(keys=("r",), shown="r", word="reboot", help="Restart the machine, after a question.", act=ask_reboot)
_REST = (
    Binding(keys=("i",), shown="i", word="image", help="Choose another image.", act=_other_image),
    Binding(keys=("d", "b", "escape"), shown="d", word="disk", help="Choose another disk for the image.", act=_other_disk),
    Binding(keys=("s",), shown="s", word="shell", help="Open a shell; `exit` comes back here.", act=lambda state: (state, (OpenShell(),))),
    LOG,
    HELP,
    Binding(keys=("q", "ctrl-c", "ctrl-d"), shown="q", word="quit", help="Leave without a reboot.", act=_quit),
    *ALWAYS,
)


def _bindings(state: State) -> tuple[Binding, ...]:
    failed = state.job is None or any(run.failed for run in state.job.runs)
    if failed:
        return (_RETRY, _REBOOT, *_REST)
    return (replace(_REBOOT, keys=("enter", "r", "y"), shown="Enter"), *_REST)


def _title(job: Job) -> Line:
    failed = sum(run.failed for run in job.runs)
    if not failed:
        return (("good", " Done: the disk is flashed" if len(job.runs) == 1 else f" Done: {len(job.runs)} disks are flashed"),)
    return (("bad", " Failed" if len(job.runs) == 1 else f" Failed: {failed} of {len(job.runs)} disks"),)


def _body(state: State, area: Size, _look: Look) -> Body:
    columns = area.columns - 2
    lines: list[Line] = []
    job = state.job
    if job is None:
        lines.append((("bad", " The server's plan was not followed"),))
    else:
        lines.append(_title(job))
        rows = max((area.rows - 2) // len(job.runs), 2)
        for run in job.runs:
            if run.receipt:
                style = "bad" if run.receipt.error else "text"
                told = [part for line in receipt_lines(run.receipt) for part in wrap(line, columns, 4)]
                lines += [(), *[((style, f" {line}"),) for line in told[:rows]]]
    if state.plan_text:
        lines += [(), *[(("text", f" {line}"),) for line in wrap(state.plan_text, columns, 4)]]
    if state.plan_retry_at:
        lines += [(), (("text", f" It is asked for again in {max(round(state.plan_retry_at - state.now), 0)} s. Any key ends that."),)]
    return Body(lines=tuple(lines[: area.rows]))


ROOM = Room(name="Done", bindings=_bindings, body=_body)
