"""What the wizard knows about terminals: what each can do, what is sent to it, and when something else has written on it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prompt_toolkit.data_structures import Size
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import DEFAULT_ATTRS

from bty.agent.wizard.dumb import Lines
from bty.agent.wizard.events import DiskEnded, Effect, Event, FlashBegan, FlashEnded
from bty.agent.wizard.kernel import KernelLog
from bty.agent.wizard.output import ScreenOutput
from bty.agent.wizard.state import Size as StateSize
from bty.agent.wizard.state import State
from bty.agent.wizard.terminal import recognise, terminal_size
from bty.model.plan import Receipt
from tests.support.wizard import IMAGES, SSD


@pytest.mark.parametrize(
    ("environment", "device", "can"),
    [
        ({"TERM": "vt100"}, "/dev/ttyS0", "addressable serial ours"),
        ({"TERM": "vt220"}, "/dev/hvc0", "addressable serial ours"),
        ({"TERM": "linux"}, "/dev/tty1", "addressable colour unicode ours"),
        ({"TERM": "xterm-256color"}, "/dev/pts/3", "addressable colour unicode sparks mouse alternate"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, "/dev/pts/3", "addressable unicode sparks mouse alternate"),
        ({"TERM": "tmux-256color"}, "/dev/pts/3", "addressable colour unicode sparks mouse alternate"),
        ({"TERM": "dumb"}, "/dev/pts/3", ""),
        ({}, "/dev/ttyS0", "serial ours"),
    ],
    ids=str,
)
def test_a_terminal_is_known_by_its_name(environment: dict[str, str], device: str, can: str) -> None:
    """And nothing is sent to it that it may not understand."""
    kind = recognise({"LANG": "C.UTF-8", **environment}, device)
    names = ("addressable", "colour", "mouse", "alternate", "serial", "ours")
    found = {name for name in names if getattr(kind, name)} | {name for name in ("unicode", "sparks") if getattr(kind.look, name)}

    assert found == set(can.split())


@pytest.mark.parametrize(
    ("locale", "has_them"),
    [
        ({"LANG": "en_GB.UTF-8"}, True),
        ({"LANG": "de_DE.utf8@euro"}, True),
        ({"LANG": "C.UTF-8", "LC_CTYPE": "en_US.ISO-8859-1"}, False),
        ({"LANG": "C", "LC_ALL": "C.UTF-8"}, True),
        ({"LANG": "C.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "C.UTF-8", "LC_ALL": ""}, True),
        ({"LANG": "C"}, False),
        ({}, False),
    ],
    ids=str,
)
def test_letters_beyond_ascii_need_a_locale_that_has_them(locale: dict[str, str], has_them: bool) -> None:
    """Whatever the terminal is: a serial line of which nothing is known gets none."""
    assert recognise({"TERM": "xterm", **locale}, "").look.unicode is has_them


def test_a_line_that_knows_no_size_gets_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the one that the environment says; too small a one counts as a small one."""
    main, line = os.openpty()
    try:
        monkeypatch.delenv("COLUMNS", raising=False)
        monkeypatch.delenv("LINES", raising=False)
        assert terminal_size(line) == (80, 24)
        monkeypatch.setenv("COLUMNS", "132")
        monkeypatch.setenv("LINES", "x")
        assert terminal_size(line) == (132, 24)
        monkeypatch.setenv("COLUMNS", "1")
        assert terminal_size(line) == (20, 24)
    finally:
        os.close(main)
        os.close(line)


@dataclass
class Line:
    """An output onto a file, and what came out of it."""

    output: ScreenOutput
    path: Path

    def sent(self) -> bytes:
        self.output.flush()
        sent = self.path.read_bytes()
        os.truncate(self.path, 0)
        return sent


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    path = tmp_path / "line"
    with path.open("a") as stream:
        output = ScreenOutput(
            stream, lambda: Size(rows=24, columns=80), term="vt100", depth=ColorDepth.DEPTH_1_BIT, alternate=False, paste=False
        )
        output.hide_cursor()
        made = Line(output, path)
        made.sent()
        yield made
        output.close_line()


def test_many_small_moves_are_one_to_an_absolute_place(line: Line) -> None:
    """Also the first after others may have written: from wherever the cursor is."""
    output = line.output
    output.cursor_goto(1, 1)
    output.write("\r\n" * 4)
    output.cursor_forward(7)
    output.cursor_up(2)
    output.write("x")
    output.write("y")
    assert line.sent() == b"\x1b[3;8Hxy"
    output.write("z")

    assert line.sent() == b"\x1b[3;10Hz"


def test_within_a_line_the_shorter_way_is_taken(line: Line) -> None:
    """Along the line, if it is known where the cursor is."""
    output = line.output
    output.write("a")
    output.cursor_forward(3)
    output.write("b")
    output.cursor_forward(1)
    output.write("c")
    output.write("\r")
    output.write("d")

    assert line.sent() == b"\x1b[Ha\x1b[3Cb\x1b[Cc\x1b[Hd"


def test_a_look_is_sent_when_text_needs_it(line: Line) -> None:
    """Once, and taken back before others may write."""
    bold = DEFAULT_ATTRS._replace(bold=True, color="ansired")
    output = line.output
    output.set_attributes(bold, ColorDepth.DEPTH_1_BIT)
    output.reset_attributes()
    output.write("a")
    for letter in "bc":
        output.set_attributes(bold, ColorDepth.DEPTH_1_BIT)
        output.write(letter)

    assert line.sent() == b"\x1b[Ha\x1b[0;1mbc\x1b[m"


def test_after_an_erasure_blanks_are_sent_as_such(line: Line) -> None:
    """They are as short as a move."""
    output = line.output
    output.erase_down()
    output.write("a")
    output.cursor_forward(1)
    output.write("b")

    assert line.sent() == b"\x1b[H\x1b[Ja b"


def test_a_cursor_that_is_hidden_and_shown_again_costs_nothing(line: Line) -> None:
    """Each picture hides it first."""
    output = line.output
    output.show_cursor()
    line.sent()
    output.hide_cursor()
    output.show_cursor()

    assert line.sent() == b""


def test_a_line_that_is_gone_fails_nothing(line: Line) -> None:
    """What is written to it is dropped."""
    line.output.close_line()
    line.output.write("x")
    line.output.flush()

    assert line.output.gone
    assert line.sent() == b""


def _can_write_kernel_log() -> bool:
    return os.access("/dev/kmsg", os.R_OK | os.W_OK)


@pytest.mark.skipif(not _can_write_kernel_log(), reason="the kernel's log may not be written here")
def test_a_message_of_the_kernel_is_noticed_if_the_consoles_show_it(tmp_path: Path) -> None:
    """One that is less urgent than the consoles' level spoils no picture."""
    levels = tmp_path / "printk"
    levels.write_text("5\t4\t1\t7\n")
    log = KernelLog(levels=levels)
    try:
        assert not log.printed()
        with Path("/dev/kmsg").open("w") as kernel:
            kernel.write("<6>bty: a test of what a screen notices\n")
        assert not log.printed()
        with Path("/dev/kmsg").open("w") as kernel:
            kernel.write("<4>bty: a test of what a screen notices\n")
        assert log.printed()
        assert not log.printed()
    finally:
        log.close()


def test_a_line_that_takes_nothing_stops_nobody_for_long() -> None:
    """The rest of the picture is dropped, and known to be lost, so that the next one is whole."""
    main, other = os.openpty()
    with os.fdopen(other, "w") as stream:
        output = ScreenOutput(
            stream, lambda: Size(rows=24, columns=80), term="vt100", depth=ColorDepth.DEPTH_1_BIT, alternate=False, paste=False
        )
        output.write_raw("x" * 200_000)
        output.flush()
        assert output.lost
        assert not output.gone
        assert os.get_blocking(other)
        output.close_line()
    os.close(main)


def test_a_failure_that_comes_after_the_line_dropped_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """On plain lines too: the flash goes on without anybody, and its end is what the program tells."""

    class Left:
        """A runner whose flash fails when nobody is there any more."""

        def __init__(self, post: Callable[[Event], None], _overprinted: Callable[[], None]) -> None:
            self.post, self.asked = post, 0

        def perform(self, _effect: Effect) -> bool:
            return True

        def busy(self) -> bool:
            self.asked += 1
            if self.asked == 1:
                self.post(FlashBegan(image=IMAGES[0], disks=(SSD,), at=1.0))
                self.post(DiskEnded(0, Receipt(source="x", target_path=SSD.path, error="no", error_code="write_failed"), 2.0))
                self.post(FlashEnded(14))
            return self.asked < 2

    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    state = State(version="1", server=None, mac=None, size=StateSize(80, 24), sources=())

    assert Lines(state, Left).run() == 14
