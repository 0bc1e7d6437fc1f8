"""A database that cannot be used: what the sender is told, and one clear line for the admin."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from mailforum import log
from mailforum.errors import Deferred

AGAIN = 30.0  # seconds between lines about the same trouble

# What an admin or time can mend. Any other error of a driver is a mistake of ours, to be heard of as one.
_WHAT = {
    "BUSY": "another process has locked it",
    "LOCKED": "another process has locked it",
    "FULL": "the disk is full",
    "IOERR": "the disk cannot be read or written",
    "READONLY": "we may not write to it",
    "CORRUPT": "the file is damaged: see `mailforum check`, and restore a backup",
    "NOTADB": "the file is damaged: see `mailforum check`, and restore a backup",
    "CANTOPEN": "the file cannot be opened",
    "NOMEM": "there is no memory left",
    "PROTOCOL": "another process has locked it",
    "GONE": "there is no connection to the server",
    "REFUSED": "the server does not let us in; please mend user, password or name of the database in [store] url, "
    "or create them on the server",
    "STOPPED": "the server is stopping or starting",
    "DENIED": "the server does not let us do that; the database has to belong to our user",
    "DAMAGED": "the server finds it damaged",
    "CANCELLED": "the server has cancelled the statement",
}

# PostgreSQL's SQLSTATE, or the class (its first two characters), by the word for it.
_STATES = {
    "08": "GONE",
    "28": "REFUSED",
    "3D000": "REFUSED",
    "25P03": "GONE",  # it has cut the connection of one who stood still in a transaction
    "25P04": "GONE",  # or of one whose transaction took longer than the admin lets any
    "57": "STOPPED",
    "57014": "CANCELLED",
    "53": "NOMEM",
    "53100": "FULL",
    "55P03": "BUSY",
    "40001": "BUSY",
    "40P01": "BUSY",
    "25006": "READONLY",
    "42501": "DENIED",
    "58": "IOERR",
    "58P01": "DAMAGED",
    "XX001": "DAMAGED",
    "XX002": "DAMAGED",
}


# What is said while a connection is made has no SQLSTATE for us, only words; where a server says them in another
# language, or another of several servers cannot be reached, it is as if there were none.
_ATTEMPT = "connection to server "
_NOT_LET_IN = re.compile(
    r"password authentication failed|no password supplied|(?:role|database) \"[^\"\n]*\" does not exist"
    r"|no pg_hba\.conf entry|pg_hba\.conf rejects|no such (?:user|database)|not permitted to log in"
    r"|permission denied for database"
)


class Unavailable(Deferred):
    """The database cannot be used just now; `kind` is one word for why, such as FULL, `what` the words for it."""

    def __init__(self, kind: str, error: Exception) -> None:
        self.kind, self.what = kind, _WHAT[kind]
        reason = f"database: {self.what} ({said_by(error).removeprefix('connection failed: ')})"
        if kind == "FULL":
            super().__init__("There is no room for your mail just now.", reason, code=452, enhanced="4.3.1")
        else:
            super().__init__("Mail cannot be stored just now; please try again later.", reason)


def said_by(error: BaseException) -> str:
    """Return a driver's words on one line, without the statement."""
    return " ".join((getattr(getattr(error, "diag", None), "message_primary", None) or str(error)).split())


def kind_of(error: BaseException) -> str:
    """Return the word for a driver's error that passes, such as FULL or BUSY; "" for any other."""
    if hasattr(error, "sqlstate"):  # psycopg's, which may not be installed
        return _kind_of_state(error)
    words = getattr(error, "sqlite_errorname", "SQLITE_").split("_")
    return words[1] if words[1] in _WHAT else ""


def _kind_of_state(error: BaseException) -> str:
    state = getattr(error, "sqlstate", None)
    if not state:  # not the server's word, but that of whoever could not reach it
        away = "REFUSED" if _is_refused(str(error)) else "GONE"
        return away if any(kind.__name__ == "OperationalError" for kind in type(error).__mro__) else ""
    return _STATES.get(state) or _STATES.get(state[:2], "")


def _is_refused(words: str) -> bool:
    return len(_NOT_LET_IN.findall(words)) >= max(1, words.count(_ATTEMPT))


def of_driver(error: Exception) -> bool:
    """Say whether the database itself has raised an error, and not what is around it."""
    return hasattr(error, "sqlite_errorname") or hasattr(error, "sqlstate")


def unavailable(error: Exception) -> Exception:
    """Turn the driver's error into what the sender may know: 452 for a full disk, else 451."""
    kind = kind_of(error)
    return Unavailable(kind, error) if kind else error


class Alarm:
    """Says once that the database cannot be `done` ("read", "written"), now and then that it still cannot,
    and once that it can again; never more than that, however many mails are turned away meanwhile."""

    def __init__(self, done: str, monotonic: Callable[[], float]) -> None:
        self._done = done
        self._monotonic = monotonic
        self._since: float | None = None
        self._said_at = float("-inf")
        self._said = False
        self._times = 0

    def ring(self, error: Unavailable) -> None:
        """Something has failed; every failure is to be told here."""
        now = self._monotonic()
        self._since = now if self._since is None else self._since
        self._times += 1
        if now - self._said_at >= AGAIN:
            self._said, self._said_at = True, now
            what = f"The database cannot be {self._done}: {error.reason.removeprefix('database: ')}"
            log.event("database_trouble", logging.ERROR, what=what, times=self._times)

    def quiet(self) -> None:
        """Something has worked; cheap while there is no trouble."""
        if self._since is None:
            return
        if self._said:
            seconds = round(self._monotonic() - self._since, 1)
            what = f"The database can be {self._done} again."
            log.event("database_well", logging.WARNING, what=what, after=seconds, times=self._times)
        self._since, self._said, self._times = None, False, 0
