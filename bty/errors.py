"""Every error that bty raises on purpose, and what each means to a shell and to a client.

BtyError                 something a person can act on
  InvalidInput           the caller's words are wrong              400, exit 2
    InvalidBody          ... with a list of where                  422
    TooLarge             ... a body over its cap                   413
  NotFound               no such thing                             404
  Conflict               it exists, or is in another state         409
  NotAllowed             log in first                              401
    Forbidden            ... or not in this way                    403
  TooMany                slow down                                 429
  ConfigFailed           the configuration cannot be used          exit 1
  StoreFailed            the state could not be read or written    503, exit 1
    StoreLocked          ... because another daemon has it
  FlashFailed            a flash ended without success
    NoSuchDisk           the serial is not there                   exit 10
    DiskRefused          a guard said no                           exit 11
    SourceFailed         the image could not be fetched            exit 12
    IntegrityFailed      the bytes are not the promised bytes      exit 13
    WriteFailed          the disk or a stage before it failed      exit 14
    Cancelled            somebody asked for it                     exit 15
  PlanUnreachable        the daemon does not answer                exit 16
  PersonWanted           the plan waits for a person               exit 17
"""

from __future__ import annotations


class BtyError(Exception):
    """Something a person can act on: a sentence, and where there is one a hint what to do next."""

    code = "error"
    status = 500
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class InvalidInput(BtyError):
    """The caller's words are wrong; the message says which and why."""

    code = "invalid_input"
    status = 400
    exit_code = 2


class InvalidBody(InvalidInput):
    """A body does not fit its schema; `problems` are `{loc, msg, type}` objects."""

    code = "invalid_body"
    status = 422

    def __init__(self, problems: list[dict[str, object]]) -> None:
        super().__init__("; ".join(str(problem["msg"]) for problem in problems))
        self.problems = problems


class TooLarge(InvalidInput):
    """A body is over its cap."""

    code = "too_large"
    status = 413


class NotFound(BtyError):
    """There is no such thing."""

    code = "not_found"
    status = 404


class Conflict(BtyError):
    """The thing exists already, or is in another state than the request needs."""

    code = "conflict"
    status = 409


class NotAllowed(BtyError):
    """The caller has to log in first."""

    code = "not_allowed"
    status = 401


class Forbidden(NotAllowed):
    """The caller may not do this in this way, logged in or not."""

    code = "forbidden"
    status = 403


class TooMany(BtyError):
    """The caller has to wait for `retry_after_s` seconds."""

    code = "too_many"
    status = 429

    def __init__(self, message: str, *, retry_after_s: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class ConfigFailed(BtyError):
    """The configuration cannot be used; the message names the file and the key."""

    code = "config_failed"


class CommandFailed(BtyError):
    """A program that bty started was missing, failed or took too long."""

    code = "command_failed"


class StoreFailed(BtyError):
    """The state could not be read or written; nothing was acknowledged."""

    code = "store_failed"
    status = 503


class StoreLocked(StoreFailed):
    """A daemon has the state: nobody else may open it for himself alone."""


class FlashFailed(BtyError):
    """A flash ended without success."""

    code = "flash_failed"


class NoSuchDisk(FlashFailed):
    """No disk has the serial that was asked for."""

    code = "no_such_disk"
    exit_code = 10


class DiskRefused(FlashFailed):
    """A guard refused the disk before a byte was written."""

    code = "disk_refused"
    exit_code = 11


class SourceFailed(FlashFailed):
    """The image could not be fetched to its end."""

    code = "fetch_failed"
    exit_code = 12


class IntegrityFailed(FlashFailed):
    """The bytes are not the promised bytes."""

    code = "integrity_failed"
    exit_code = 13


class NotUnpacked(IntegrityFailed):
    """The image is damaged, or not of the format that it is taken for."""


class ReadbackFailed(IntegrityFailed):
    """The disk does not give back what was written to it."""

    code = "readback_failed"


class WriteFailed(FlashFailed):
    """The disk, or a program between source and disk, failed."""

    code = "write_failed"
    exit_code = 14


class Cancelled(FlashFailed):
    """Somebody cancelled the flash; the target holds a partial write."""

    code = "cancelled"
    exit_code = 15


class PlanUnreachable(BtyError):
    """The daemon did not answer with a plan."""

    code = "plan_unreachable"
    exit_code = 16


class PersonWanted(BtyError):
    """The plan leaves image and disk to a person, and no terminal is there for one: nothing was flashed."""

    code = "person_wanted"
    exit_code = 17
