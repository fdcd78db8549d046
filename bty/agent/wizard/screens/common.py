"""What the screens share: how a room is described, the keys that mean the same everywhere, lists with a filter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from bty.agent.wizard.entry import Entry
from bty.agent.wizard.events import Repaint, Suspend
from bty.agent.wizard.look import Look
from bty.agent.wizard.parts import Body, list_rows
from bty.agent.wizard.pick import Pick
from bty.agent.wizard.state import Binding, Overlay, Size, State, Step, stay


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A screen or an overlay: its name, its keys, what any other key does, its picture, and what a click on an item does."""

    name: str
    bindings: Callable[[State], tuple[Binding, ...]]
    body: Callable[[State, Size, Look], Body]
    typed: Callable[[State, str], Step] = lambda state, _key: (state, ())
    pasted: Callable[[State, str], Step] = lambda state, _text: (state, ())
    clicked: Callable[[State, int], Step] = lambda state, _index: (state, ())


def _open(overlay: Overlay) -> Callable[[State], Step]:
    return lambda state: (replace(state, overlay=overlay, log_offset=0), ())


open_help = _open(Overlay.HELP)
open_log = _open(Overlay.LOG)
ask_quit = _open(Overlay.ASK_QUIT)
ask_reboot = _open(Overlay.ASK_REBOOT)
ask_cancel = _open(Overlay.ASK_CANCEL)

HELP = Binding(keys=("?", "f1"), shown="?", word="help", help="Show this help.", act=open_help)
HELP_WHERE_TYPED = Binding(keys=("f1",), shown="F1", word="help", help="Show this help.", act=open_help)
LOG = Binding(keys=("l",), shown="l", word="log", help="Show the log.", act=open_log)
QUIT = Binding(keys=("q", "ctrl-c", "ctrl-d"), shown="q", word="quit", help="Leave this program.", act=ask_quit)
ALWAYS = (
    Binding(
        keys=("ctrl-l",),
        shown="Ctrl-L",
        help="Paint the screen again, after something else wrote on it.",
        act=lambda state: (state, (Repaint(),)),
    ),
    Binding(keys=("ctrl-z",), shown="Ctrl-Z", help="Suspend this program.", act=lambda state: (state, (Suspend(),))),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PickKeys:
    """The keys that every list has, for the list that *get* and *put* reach in the state and that has *count* items."""

    get: Callable[[State], Pick]
    put: Callable[[State, Pick], State]
    count: Callable[[State], int]

    def press(self, state: State, key: str) -> Step:
        """Move in the list, or type its filter."""
        pick = self.get(state)
        typing = pick.filtering and key not in ("up", "down", "pageup", "pagedown")
        moved = self._edit(pick, key) if typing else pick.move(key, self.count(state), list_rows(state.size))
        if moved is None:
            return state, ()
        return self._settle(self.put(state, moved)), ()

    def paste(self, state: State, text: str) -> Step:
        """Paste into the filter where it is being typed."""
        pick = self.get(state)
        if not pick.filtering:
            return state, ()
        return self._settle(self.put(state, replace(pick, filter=pick.filter.insert(text), cursor=0))), ()

    def start(self, state: State) -> Step:
        """Begin to type a filter."""
        return self.put(state, replace(self.get(state), filtering=True, digits="")), ()

    def leave(self, state: State) -> State | None:
        """Return the state without the filter, None where there was none to leave."""
        pick = self.get(state)
        if not (pick.filtering or pick.filter.text):
            return None
        return self._settle(self.put(state, replace(pick, filtering=False, filter=Entry(), digits="")))

    def keep(self, state: State) -> Step:
        """End typing and keep the filter."""
        return self.put(state, replace(self.get(state), filtering=False)), ()

    @staticmethod
    def _edit(pick: Pick, key: str) -> Pick | None:
        entry = pick.filter.press(key)
        return None if entry is None else replace(pick, filter=entry, cursor=0)

    def _settle(self, state: State) -> State:
        return self.put(state, self.get(state).within(self.count(state)))

    def filter_bindings(self) -> tuple[Binding, ...]:
        """Return the keys while the filter is being typed."""
        return (
            Binding(keys=("enter",), shown="Enter", word="keep filter", help="Keep the filter and go back to the list.", act=self.keep),
            Binding(
                keys=("escape",), shown="Esc", word="no filter", help="Drop the filter.", act=lambda state: (self.leave(state) or state, ())
            ),
            Binding(keys=("ctrl-c",), shown="Ctrl-C", help="Leave this program.", act=ask_quit),
            HELP_WHERE_TYPED,
        )

    def list_bindings(self) -> tuple[Binding, ...]:
        """Return the key that starts a filter, and the ones that move, for the help panel."""
        return (
            Binding(keys=("/",), shown="/", word="filter", help="Type a filter: only what has all its words stays.", act=self.start),
            Binding(
                keys=(),
                shown="arrows",
                help="Move; PgUp, PgDn, Home, End move far; digits jump to that number.",
                act=lambda state: stay(state),
            ),
        )
