"""The state machine at work: events in, state changed, effects out. Every call comes from one thread."""

from __future__ import annotations

from collections.abc import Callable

from bty.agent.wizard.events import Effect, Event
from bty.agent.wizard.runner import Runner
from bty.agent.wizard.state import State, Step
from bty.agent.wizard.update import begin, update


class Session:
    """Holds the state. What the runner does not know to do goes to `terminal`, once there is one."""

    def __init__(self, state: State, runner: Runner) -> None:
        self.state = state
        self.terminal: Callable[[Effect], None] = _refuse
        self._runner = runner

    def begin(self) -> None:
        """Start what the first screen needs."""
        self._take(begin(self.state))

    def dispatch(self, event: Event) -> None:
        """Take an event."""
        self._take(update(self.state, event))

    def _take(self, step: Step) -> None:
        self.state, effects = step
        for effect in effects:
            if not self._runner.perform(effect):
                self.terminal(effect)


def _refuse(effect: Effect) -> None:
    raise AssertionError(f"no terminal yet that could do {effect}")
