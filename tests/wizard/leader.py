"""Stands for the shell over a program in a terminal: it leads the session and stops and continues the program as shells do.

Called with the number of a pipe to report to and the program with its arguments. Reports are lines: `pid N`, `stopped`,
`ended CODE`. SIGUSR1 asks to continue a stopped program.
"""

from __future__ import annotations

import os
import signal
import sys
import termios


def main() -> int:
    report, argv = int(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # else taking the terminal back would stop us
    signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    cooked = termios.tcgetattr(0)
    program = os.fork()
    if program == 0:
        os.close(report)
        os.setpgid(0, 0)
        os.tcsetpgrp(0, os.getpid())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        os.execvp(argv[0], argv)
    os.write(report, b"pid %d\n" % program)
    while True:
        _, status = os.waitpid(program, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            code = os.waitstatus_to_exitcode(status)
            os.write(report, b"ended %d\n" % code)
            return code & 0xFF
        of_program = termios.tcgetattr(0)
        os.tcsetpgrp(0, os.getpid())
        termios.tcsetattr(0, termios.TCSADRAIN, cooked)
        os.write(report, b"stopped\n")
        signal.sigwait({signal.SIGUSR1})
        termios.tcsetattr(0, termios.TCSADRAIN, of_program)
        os.tcsetpgrp(0, program)
        os.killpg(program, signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(main())
