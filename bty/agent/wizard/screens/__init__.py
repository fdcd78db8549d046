"""The screens: each a room with its keys and its picture, all pure."""

from __future__ import annotations

from bty.agent.wizard.screens import confirm, disks, done, flash, images, sources
from bty.agent.wizard.screens.common import Room
from bty.agent.wizard.screens.overlays import CANCEL_ROOM, LOG_ROOM, QUIT_ROOM, REBOOT_ROOM, help_room
from bty.agent.wizard.state import Binding, Overlay, Screen, State

SCREENS: dict[Screen, Room] = {
    Screen.SOURCES: sources.ROOM,
    Screen.IMAGES: images.ROOM,
    Screen.DISKS: disks.ROOM,
    Screen.CONFIRM: confirm.ROOM,
    Screen.FLASH: flash.ROOM,
    Screen.DONE: done.ROOM,
}
OVERLAYS: dict[Overlay, Room] = {
    Overlay.HELP: help_room(lambda state: SCREENS[state.screen]),
    Overlay.LOG: LOG_ROOM,
    Overlay.ASK_CANCEL: CANCEL_ROOM,
    Overlay.ASK_REBOOT: REBOOT_ROOM,
    Overlay.ASK_QUIT: QUIT_ROOM,
}


def room_of(state: State) -> Room:
    """Return the room that keys go to."""
    return OVERLAYS[state.overlay] if state.overlay else SCREENS[state.screen]


def bindings_of(state: State) -> tuple[Binding, ...]:
    """Return the keys that mean something now."""
    return room_of(state).bindings(state)
