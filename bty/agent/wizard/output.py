"""An output that addresses the screen absolutely and says nothing twice.

prompt_toolkit finds out which characters have changed, and moves between them step by step, from where it believes the
cursor to be. On a console that other programs write to, the cursor may be anywhere, and on a serial line each byte costs
time. So moves, colours and the cursor's visibility are only noted, and sent when text follows that needs them.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from typing import TextIO

from prompt_toolkit.data_structures import Size
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.styles import Attrs
from prompt_toolkit.utils import get_cwidth

_PLAIN = "\x1b[m"
_SHORT_GAP = 5  # blanks are as short as a move
_WRITE_TIMEOUT_S = 2.0  # a line that takes nothing for so long has nobody who looks


class ScreenOutput(Vt100_Output):
    """What a full-screen application writes. *alternate*, *paste*: whether the terminal knows those modes.

    A terminal that is gone fails nothing: `gone` is then true and everything written is dropped.
    """

    def __init__(self, stdout: TextIO, get_size: Callable[[], Size], *, term: str, depth: ColorDepth, alternate: bool, paste: bool) -> None:
        super().__init__(stdout, get_size, term=term, default_color_depth=depth, enable_cpr=False)
        self._alternate = alternate
        self._paste = paste
        self._blank = False  # what lies ahead has just been erased
        self._at: tuple[int, int] | None = None  # row and column, from 0; None: unknown, others write here too
        self._wanted = (0, 0)
        self._style: str | None = None
        self._wanted_style = _PLAIN
        self._cursor_shown: bool | None = True
        self._wants_cursor = True
        self.gone = False
        self.lost = False
        """Whether something of a picture could not be sent: the next one has to be whole."""
        self._line = -1
        self.open_line()

    def write(self, data: str) -> None:
        """Write text, or move where it is nothing but line ends."""
        if data and not data.strip("\r\n"):
            row, column = self._wanted
            self._wanted = (row + data.count("\n"), 0 if "\r" in data else column)
            return
        self._place()
        self._emit_style(self._wanted_style)
        self._buffer.append(data.replace("\x1b", "?"))
        self._wanted = self._at = (self._wanted[0], self._wanted[1] + get_cwidth(data))

    def set_attributes(self, attrs: Attrs, color_depth: ColorDepth) -> None:
        """Note the look of the text to come."""
        code = self._escape_code_caches[color_depth][attrs]
        self._wanted_style = _PLAIN if code == "\x1b[0m" else code

    def reset_attributes(self) -> None:
        """Note that the text to come is plain."""
        self._wanted_style = _PLAIN

    def cursor_goto(self, row: int = 0, column: int = 0) -> None:
        """Note a place, counted from 1; 0 means 1."""
        self._wanted = (max(row - 1, 0), max(column - 1, 0))

    def cursor_up(self, amount: int) -> None:
        """Note a move."""
        self._wanted = (max(self._wanted[0] - amount, 0), self._wanted[1])

    def cursor_down(self, amount: int) -> None:
        """Note a move."""
        self._wanted = (self._wanted[0] + amount, self._wanted[1])

    def cursor_forward(self, amount: int) -> None:
        """Note a move."""
        self._wanted = (self._wanted[0], self._wanted[1] + amount)

    def cursor_backward(self, amount: int) -> None:
        """Note a move."""
        self._wanted = (self._wanted[0], max(self._wanted[1] - amount, 0))

    def erase_end_of_line(self) -> None:
        """Erase from the noted place to the end of its line."""
        self._erase("\x1b[K")

    def erase_down(self) -> None:
        """Erase from the noted place to the end of the screen."""
        self._erase("\x1b[J")
        self._blank = self._wanted == (0, 0)

    def erase_screen(self) -> None:
        """Erase everything."""
        self._erase("\x1b[2J")

    def hide_cursor(self) -> None:
        """Note that the cursor is not to be seen."""
        self._wants_cursor = False

    def show_cursor(self) -> None:
        """Note that the cursor is to be seen."""
        self._wants_cursor = True

    def enter_alternate_screen(self) -> None:
        """Begin on a screen of our own, or an empty one where the terminal has but one."""
        self._at, self._wanted, self._style, self._cursor_shown = None, (0, 0), None, None
        if self._alternate:
            self.write_raw("\x1b[?1049h")

    def quit_alternate_screen(self) -> None:
        """Give the former screen back."""
        self._at = None
        if self._alternate:
            self.write_raw("\x1b[?1049l")

    def enable_bracketed_paste(self) -> None:
        """Have what is pasted marked as such."""
        if self._paste:
            super().enable_bracketed_paste()

    def disable_bracketed_paste(self) -> None:
        """End marking what is pasted."""
        if self._paste:
            super().disable_bracketed_paste()

    def flush(self) -> None:
        """Send what was written. Blocks while the line is slow; never fails."""
        if self._wants_cursor != self._cursor_shown:
            if self._wants_cursor:
                self._place()
            self.write_raw("\x1b[?25h" if self._wants_cursor else "\x1b[?25l")
            self._cursor_shown = self._wants_cursor
        elif self._wants_cursor and self._buffer:
            self._place()
        if not self._buffer:
            return
        self._emit_style(_PLAIN)
        data = "".join(self._buffer).encode("utf-8", "replace")
        self._buffer = []
        self._at, self._blank = None, False  # until the next flush others may write
        self._send(data)

    def open_line(self) -> None:
        """Open the terminal once more, for writing without being held up: a line that takes nothing must not stop us.

        A flag on standard output would be seen by every program that shares it.
        """
        self.close_line()
        try:
            self._line = os.open(os.ttyname(self.fileno()), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # no terminal, or one of another file system
            self._line = os.dup(self.fileno())

    def close_line(self) -> None:
        """Close what `open_line` opened."""
        if self._line >= 0:
            os.close(self._line)
            self._line = -1

    def enable_mouse_support(self) -> None:
        """Have clicks and the wheel reported, but no moves: they would be answered on a slow line."""
        self.write_raw("\x1b[?1000h\x1b[?1006h")

    def disable_mouse_support(self) -> None:
        """End reports of the mouse."""
        self.write_raw("\x1b[?1000l\x1b[?1006l")

    def forget(self) -> None:
        """Take nothing for known about the terminal: what it shows, whether its cursor is seen."""
        self._at = self._style = self._cursor_shown = None

    def _send(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest and not self.gone:
            try:
                rest = rest[os.write(self._line, rest) :]
            except BlockingIOError:
                if not select.select([], [self._line], [], _WRITE_TIMEOUT_S)[1]:
                    self.forget()
                    self.lost = True
                    return
            except OSError:
                self.gone = True

    def _erase(self, code: str) -> None:
        self._place()
        self._emit_style(_PLAIN)
        self.write_raw(code)

    def _emit_style(self, style: str) -> None:
        if style != self._style:
            self._buffer.append(style)
            self._style = style

    def _place(self) -> None:
        """Send the move that was noted: along the line where that is shorter, else to an absolute place."""
        row, column = self._wanted
        if self._at == self._wanted:
            return
        gap = column - self._at[1] if self._at and self._at[0] == row else 0
        if self._blank and 0 < gap < _SHORT_GAP and self._style == _PLAIN:
            self._buffer.append(" " * gap)
        elif gap > 0:
            self._buffer.append("\x1b[C" if gap == 1 else f"\x1b[{gap}C")
        elif column == 0:
            self._buffer.append("\x1b[H" if row == 0 else f"\x1b[{row + 1}H")
        else:
            self._buffer.append(f"\x1b[{row + 1};{column + 1}H")
        self._at = self._wanted
