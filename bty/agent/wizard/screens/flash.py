"""Screen 4, while it writes: bars, rate, times, and the end of the log."""

from __future__ import annotations

from dataclasses import replace

from bty.agent.wizard.events import CancelFlash
from bty.agent.wizard.look import Look
from bty.agent.wizard.parts import Body, Line
from bty.agent.wizard.screens.common import ALWAYS, HELP, LOG, QUIT, Room, ask_cancel
from bty.agent.wizard.screens.sources import begin_choosing
from bty.agent.wizard.state import Binding, Job, Run, Size, State, Step
from bty.agent.wizard.text import fit, wrap
from bty.model.progress import STAGE_WORDS, Progress, Stage
from bty.units import format_bytes, format_seconds

_LABEL = 11
_FIGURES = 34


def _ask_cancel(state: State) -> Step:
    return ask_cancel(state)


def _by_hand(state: State) -> Step:
    """Leave the plan alone, and let somebody choose."""
    state, effects = begin_choosing(replace(state, unattended=False))
    return state, (CancelFlash(), *effects)


_WAITING = (
    Binding(keys=("i",), shown="i", word="choose by hand", help="Do not wait for the plan: choose image and disk.", act=_by_hand),
    LOG,
    HELP,
    QUIT,
    *ALWAYS,
)
_BINDINGS = (
    Binding(keys=("c", "ctrl-c", "escape", "q"), shown="c", word="cancel", help="Stop the flash, after a question.", act=_ask_cancel),
    LOG,
    HELP,
    *ALWAYS,
)


def _title(state: State, job: Job) -> str:
    attempt = f", attempt {job.attempt} of {job.of}" if job.attempt and job.of else ""
    if job.retry_at is not None:
        return f"Failed. The next attempt begins in {max(int(job.retry_at - job.now + 0.999), 0)} s"
    if job.cancelling:
        return "Cancelling ..."
    where = " as the server's plan says" if state.unattended else ""
    return f"Flashing{where}{attempt}"


def _bar_line(label: str, done: int, total: int | None, area: Size, look: Look) -> Line:
    columns = area.columns - _LABEL - 3
    figures = f"{format_bytes(done)} of {format_bytes(total)}" if total else format_bytes(done)
    if area.columns >= 70:
        columns -= _FIGURES
    if not total:
        return (("dim", fit(f" {label}", _LABEL)), ("text", f" {figures}"))
    full, rest = look.bar(done, total, max(columns - 7, 5))
    line: list[tuple[str, str]] = [
        ("dim", fit(f" {label}", _LABEL)),
        ("text", " ["),
        ("bar", full),
        ("dim", rest),
        ("text", f"] {min(done * 100 // total, 100):>3} %"),
    ]
    if area.columns >= 70:
        line.append(("text", f"  {figures}"))
    return tuple(line)


def _outcome(run: Run) -> tuple[str, str]:
    if run.receipt is None:
        words, trouble = STAGE_WORDS[run.progress.stage], run.progress.trouble
        return ("warn", f"{words}, waiting: {trouble}") if trouble else ("text", words)
    if run.receipt.error:
        return "bad", f"FAILED: {run.receipt.error}"
    return "good", f"done in {format_seconds(run.receipt.seconds)}"


def _rate(run: Run) -> str:
    receipt = run.receipt
    if receipt and receipt.seconds:
        return f"{format_bytes(receipt.image_bytes / receipt.seconds)}/s on average"
    return f"{format_bytes(run.rate_bps)}/s" if run.rate_bps else "waiting"


def _times(job: Job, run: Run) -> str:
    parts = [_rate(run), f"{format_seconds(job.now - job.began_at)} passed"]
    left = run.progress.seconds_left(run.rate_bps)
    if left is not None:
        parts.append(f"{format_seconds(left)} left")
    if run.progress.retries:
        parts.append(f"{run.progress.retries} reconnects")
    return "   ".join(parts)


def _single(job: Job, run: Run, area: Size, look: Look) -> list[Line]:
    progress = run.progress
    style, outcome = _outcome(run)
    lines: list[Line] = [(("dim", fit(" Stage", _LABEL)), (style, f" {outcome}"))]
    lines.append(_bar_line("Download", progress.read, progress.read_total, area, look))
    if progress.stage is Stage.VERIFY:
        lines.append(_bar_line("Read back", progress.done, progress.done_total, area, look))
    else:
        lines.append(_bar_line("Write", progress.done, progress.done_total, area, look))
    lines.append((("dim", fit(" Rate", _LABEL)), ("text", f" {_times(job, run)}")))
    if spark := look.spark(run.samples.rates):
        lines.append((("dim", fit(" So far", _LABEL)), ("spark", f" {spark}")))
    return lines


def _several(job: Job, area: Size, look: Look) -> list[Line]:
    """Return one download, then two rows for each disk, or one where there are many; what does not fit is counted."""
    lead: Progress = max((run.progress for run in job.runs), key=lambda progress: progress.read)
    lines: list[Line] = [
        _bar_line("Download", lead.read, lead.read_total, area, look),
        (("dim", fit(" Time", _LABEL)), ("text", f" {format_seconds(job.now - job.began_at)} passed")),
    ]
    room = area.rows - len(lines) - 1
    if 2 * len(job.runs) <= room:
        return [*lines, *[line for run in job.runs for line in _two_rows(run, area, look)]]
    runs = job.runs
    if len(runs) > room:  # what failed and what still runs is what somebody looks for
        runs = tuple(sorted(runs, key=lambda run: 2 if run.receipt and not run.failed else 0 if run.failed else 1))[: room - 1]
    lines += [_one_row(run, area, look) for run in runs]
    return lines if len(runs) == len(job.runs) else [*lines, (("dim", f" and {len(job.runs) - len(runs)} more"),)]


def _two_rows(run: Run, area: Size, look: Look) -> list[Line]:
    style, outcome = _outcome(run)
    serial = f"  {run.disk.serial}" if run.disk.serial else ""
    rate = f"{format_bytes(run.rate_bps)}/s  " if run.receipt is None and run.rate_bps else ""
    lines: list[Line] = [(("text", f" {run.disk.path}{serial}  "), ("dim", rate), (style, outcome))]
    if run.receipt is None:
        label = "Read back" if run.progress.stage is Stage.VERIFY else "Write"
        lines.append(_bar_line(label, run.progress.done, run.progress.done_total, area, look))
    return lines


def _one_row(run: Run, area: Size, look: Look) -> Line:
    style, outcome = _outcome(run)
    name = ("text", fit(f" {run.disk.path}", 15))
    if run.receipt is not None or not run.progress.done_total:
        return (name, (style, f" {outcome}"))
    percent = min(run.progress.done * 100 // run.progress.done_total, 100)
    if run.progress.trouble:  # which needs the room of the bar
        return (name, ("text", f" {percent:>3} %  "), (style, outcome))
    full, rest = look.bar(run.progress.done, run.progress.done_total, max(area.columns - 54, 5))
    rate = f"{format_bytes(run.rate_bps)}/s" if run.rate_bps else ""
    return (name, ("text", " ["), ("bar", full), ("dim", rest), ("text", f"] {percent:>3} %  {rate:>13}  "), (style, outcome))


def _body(state: State, area: Size, look: Look) -> Body:
    job = state.job
    if job is None:
        text = "Asking the server what to do ..." if state.unattended else "Starting ..."
        lines: list[Line] = [(("title", f" {text}"),)]
        if state.plan_text:
            lines = [(("bad", " Failed"),), *[(("text", f" {line}"),) for line in wrap(state.plan_text, area.columns - 2, 4)]]
    else:
        lines = [(("title", f" {_title(state, job)}"),)]
        lines += _single(job, job.runs[0], area, look) if len(job.runs) == 1 else _several(job, area, look)
    lines = lines[: area.rows]
    room = area.rows - len(lines) - 1
    if room > 0:
        lines.append(())
        lines += [(("dim", f" {line}"),) for line in state.log[-room:]]
    return Body(lines=tuple(lines))


def _bindings(state: State) -> tuple[Binding, ...]:
    return _WAITING if state.unattended and state.job is None else _BINDINGS


ROOM = Room(name="Flash", bindings=_bindings, body=_body)
