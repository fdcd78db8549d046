"""Programs are started without a shell, ended with all that they started, and tell why they failed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bty.errors import CommandFailed
from bty.host import proc
from tests.support.api import eventually


def test_a_program_gets_its_words_as_they_are() -> None:
    """No shell looks at them."""
    _, output = proc.run(["printf", "%s", "$HOME; `id` | *"], timeout_s=5)
    assert output == b"$HOME; `id` | *"


def test_a_failure_names_command_exit_code_and_last_words() -> None:
    """The command can be pasted."""
    with pytest.raises(CommandFailed, match=r"ls '/no such place': exit 2: .*No such file"):
        proc.run(["ls", "/no such place"], timeout_s=5)


def test_a_program_that_takes_too_long_is_ended() -> None:
    """And the message says after how long."""
    with pytest.raises(CommandFailed, match=r"not done after 0\.2 s"):
        proc.run(["sleep", "60"], timeout_s=0.2)


def test_a_missing_program_is_named() -> None:
    """The same error as any other failure of a program."""
    with pytest.raises(CommandFailed, match="cannot start no-such-program"):
        proc.start(["no-such-program"])


def test_ending_a_child_ends_what_it_started() -> None:
    """Even where the child does not listen to TERM."""
    script = "trap '' TERM; sleep 61.5 & echo $!; wait; wait"
    child = proc.start(["sh", "-c", script], stdout=subprocess.PIPE)
    assert child.stdout
    grandchild = int(child.stdout.readline())
    child.kill()
    outcome = child.end()
    assert outcome.code == -9
    eventually(lambda: not _is_running(grandchild))  # a killed process may still be on its way out


def test_a_child_sees_a_short_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets of ours are none of theirs."""
    monkeypatch.setenv("BTY_ADMIN_PASSWORD", "secret")
    _, output = proc.run(["env"], timeout_s=5)
    assert b"secret" not in output
    assert b"LC_ALL=C.UTF-8" in output


def test_only_the_tail_of_the_error_output_is_kept() -> None:
    """A program that complains without end fills no memory and does not block."""
    outcome, _ = proc.run(["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo end >&2"], timeout_s=20)
    assert len(outcome.stderr) <= 4096
    assert outcome.stderr.endswith("end\n")


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().split()[2]
    except OSError:
        return False
    return state != "Z" and os.path.exists(f"/proc/{pid}")  # noqa: PTH110
