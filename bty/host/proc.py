"""Programs: the only room that starts processes.

Argument lists, never a shell string; standard input is /dev/null unless a pipe is given; a short environment; every
child in a session of its own, so that ending it ends what it started; its error output always drained, the tail kept.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess  # noqa: TID251 - this is the room that spawns
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from bty.errors import CommandFailed

_KEPT = ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "SHIV_ROOT", "PYTHONPATH")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TAIL_BYTES = 4096
# The ladder of an ending: ask, wait this long, then kill. Longer than any of our children needs to flush.
TERM_GRACE_S = 3.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended: `code` is its exit code, or the negative number of the signal that ended it."""

    argv: tuple[str, ...]
    code: int
    stderr: str

    @property
    def ok(self) -> bool:
        """Tell whether the child exited with 0."""
        return self.code == 0

    def describe(self) -> str:
        """Return one line: the command as one could paste it, how it ended, and its last words."""
        how = f"ended by {signal.Signals(-self.code).name}" if self.code < 0 else f"exit {self.code}"
        words = self.stderr.strip().splitlines()
        return f"{shlex.join(self.argv)}: {how}" + (f": {words[-1][:300]}" if words else "")


class Child:
    """A running program. Always `end()` or `wait()` it; as a context manager it is gone after the block."""

    def __init__(self, process: subprocess.Popen[bytes], argv: Sequence[str]) -> None:
        self.argv = tuple(argv)
        self.pid = process.pid
        self._process = process
        self._tail = b""
        self._drain = threading.Thread(target=self._drain_stderr, name=f"stderr of {argv[0]}", daemon=True)
        self._drain.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def stdout(self) -> IO[bytes] | None:
        """The child's standard output where `start` was told to make a pipe."""
        return self._process.stdout

    def running(self) -> bool:
        """Tell whether the child has not ended yet."""
        return self._process.poll() is None

    def wait(self, timeout_s: float | None = None) -> Outcome:
        """Wait for the child to end. Blocks. Raises `CommandFailed` when *timeout_s* passes."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"{shlex.join(self.argv)}: not done after {timeout_s:g} s") from None
        self._drain.join(1.0)
        return Outcome(self.argv, code, self._tail.decode("utf-8", "replace"))

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the child and to everything it started; harmless when it has ended."""
        if self._process.returncode is not None:
            return  # it is reaped, and its number may be another's by now
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def end(self) -> Outcome:
        """Make the child be gone: TERM, three seconds, KILL. Blocks until it is reaped."""
        if self.running():
            self.kill(signal.SIGTERM)
            try:
                self._process.wait(TERM_GRACE_S)
            except subprocess.TimeoutExpired:
                self.kill()
        outcome = self.wait()
        if self._process.stdout:
            self._process.stdout.close()
        return outcome

    def _drain_stderr(self) -> None:
        stream = self._process.stderr
        if stream is None:
            return
        with stream:
            while chunk := os.read(stream.fileno(), 65536):
                self._tail = (self._tail + chunk)[-_TAIL_BYTES:]


def which(*names: str) -> str | None:
    """Return the path of the first of *names* that is an executable program here, or None."""
    return next((path for name in names if (path := shutil.which(name, path=os.environ.get("PATH", _PATH)))), None)


def start(
    argv: Sequence[str],
    *,
    stdin: int | None = None,
    stdout: int | None = None,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Child:
    """Start a program. *stdin* and *stdout* are descriptors; without them both are /dev/null.

    Raises `CommandFailed` where the program is missing.
    """
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.DEVNULL if stdout is None else stdout,
            stderr=subprocess.PIPE,
            env=_environment(env),
            pass_fds=pass_fds,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(f"cannot start {argv[0]}: {error.strerror}") from error
    return Child(process, argv)


def run(argv: Sequence[str], *, timeout_s: float, check: bool = True) -> tuple[Outcome, bytes]:
    """Run a program to its end and return how it ended and what it printed. Blocks.

    Raises `CommandFailed` where it is missing or takes longer than *timeout_s*, and with *check* where it fails.
    """
    with start(argv, stdout=subprocess.PIPE) as child:
        timer = threading.Timer(timeout_s, child.kill)
        timer.start()
        try:
            output = child.stdout.read() if child.stdout else b""
            outcome = child.wait()
        finally:
            timer.cancel()
    if outcome.code == -signal.SIGKILL:
        raise CommandFailed(f"{shlex.join(argv)}: not done after {timeout_s:g} s")
    if check and not outcome.ok:
        raise CommandFailed(outcome.describe())
    return outcome, output


def interact(argv: Sequence[str]) -> None:
    """Give this program's terminal to another one, such as a shell, until that ends. Blocks.

    Raises `CommandFailed` where it is missing. It stays in our session, since it needs the terminal for its own; its errors
    go there too, because ours may go to a log, and a shell asks nobody whose errors are not seen.
    """
    try:
        subprocess.run(list(argv), check=False, stderr=subprocess.STDOUT)
    except OSError as error:
        raise CommandFailed(f"cannot start {argv[0]}: {error.strerror}") from error


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {"PATH": _PATH, **kept, "LC_ALL": "C.UTF-8", **(extra or {})}
