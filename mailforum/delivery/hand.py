"""What a worker has in hand: deliveries taken from the queue, in the order in which connections get them.

Whose destination may not be sent to just now steps aside and is asked again when something has
changed. So one destination cannot keep others waiting; what has to step aside for long goes back to
the queue (`overdue`).
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from mailforum.delivery.pace import Pace
from mailforum.mail.address import domain_of
from mailforum.model import Due
from mailforum.store.queue import Run, Taken

LARGE = 1024 * 1024  # bytes; the mails of a larger mailing wait while others
MEMORY = 48 * 1024 * 1024  # have so many bytes together on their way
ASIDE = 50  # mails to a destination that is put off which stay in hand all the same


@dataclass(slots=True, eq=False)
class Task:
    """Deliveries of one mailing, of `size` bytes, that go out in one transaction. `domain`: "" where there are several.

    `mail` is the id of the mail that was the cause, for the log; `list_id` is the list's, if it is one's. `host` is
    who has claimed the deliveries, where there are claims.

    Where signing takes long it is done ahead, for some tasks together: `signed` will hold the
    recipients' own fields of this task at `place`, for the mailing as it was `prepared`.
    """

    mailing_id: int
    deliveries: tuple[Due, ...]
    domain: str = ""
    size: int = 0
    mail: str = ""
    list_id: int | None = None
    host: int = 0
    given_out: bool = False
    signed: asyncio.Future[list[bytes]] | None = None
    prepared: object = None
    place: int = 0

    @property
    def run(self) -> Run:
        """The run that the deliveries belong to."""
        return self.deliveries[0].due_at, self.mailing_id


def tasks_of(taken: Taken, recipients: int, host: int = 0) -> Iterator[Task]:
    """Yield what is taken as tasks: one for each recipient of what is personal, else for so many `recipients`.

    Each is of one run: by its run the hand knows how far a mailing has been taken.
    """
    for (_, mailing_id), some in groupby(taken.due, lambda due: (due.due_at, due.mailing_id)):
        run, outline = list(some), taken.outlines[mailing_id]
        number = 1 if outline.personal else recipients
        for start in range(0, len(run), number):
            together = tuple(run[start : start + number])
            domain = domain_of(together[0].rcpt) if len(together) == 1 else ""
            yield Task(mailing_id, together, domain, outline.size, outline.mail, outline.list_id, host)


def ids_of(tasks: Iterable[Task]) -> list[int]:
    """Return the ids of the deliveries of some tasks."""
    return [due.id for task in tasks for due in task.deliveries]


class Hand:
    """The tasks, and for each run up to which delivery it is in hand (`reached`)."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.ready: deque[Task] = deque()
        self.reached: dict[Run, int] = {}
        self._left: Counter[Run] = Counter()
        self._aside: dict[str, deque[Task]] = {}
        self._total = 0  # deliveries in hand
        self._stuck: dict[str, int] = {}  # those of them whose destination has trouble
        self._large: dict[int, list[int]] = {}  # of large mailings that are given out: bytes, and how many tasks

    @property
    def size(self) -> int:
        """How many deliveries there are to be sent, without those whose destination has trouble."""
        return self._total - (sum(self._stuck.values()) if self._stuck else 0)

    @property
    def whole(self) -> int:
        """How many deliveries there are, with those that connections have been given."""
        return self._left.total()

    @property
    def under_way(self) -> int:
        """How many deliveries connections have been given, and not settled or put back."""
        return self.whole - self._total

    def add(self, tasks: Iterable[Task]) -> None:
        """Take tasks in hand, behind those that are there."""
        for task in tasks:
            self.ready.append(task)
            self._total += len(task.deliveries)
            self._left[task.run] += len(task.deliveries)
            self.reached[task.run] = max(self.reached.get(task.run, 0), task.deliveries[-1].id)

    def next(self, now: float) -> Task | None:
        """Give out the first task that may be sent now (monotonic seconds); None: there is none."""
        task = self._next_aside(now) if self._aside else None
        while task is None and self.ready:
            first = self.ready.popleft()
            resting = self.pace.resting_as(first.mailing_id, first.domain, now)
            if not resting and self._may_go(first, now):
                task = first
            else:
                self._aside.setdefault(resting or first.domain, deque()).append(first)
        if task:
            self._give_out(task)
        return task

    def _may_go(self, task: Task, now: float) -> bool:
        """Say whether the destination may have it now, and there is memory for it."""
        if task.domain and not self.pace.may_begin(task.domain, now):
            return False
        if task.size <= LARGE or task.mailing_id in self._large or not self._large:
            return True
        return task.size + sum(size for size, _ in self._large.values()) <= MEMORY

    def _give_out(self, task: Task) -> None:
        task.given_out = True
        self._total -= len(task.deliveries)
        if task.size > LARGE:
            self._large.setdefault(task.mailing_id, [task.size, 0])[1] += 1

    def _next_aside(self, now: float) -> Task | None:
        for domain, tasks in self._aside.items():
            if not self.pace.resting_as(tasks[0].mailing_id, tasks[0].domain, now) and self._may_go(tasks[0], now):
                task = tasks.popleft()
                self._count_stuck(domain, now)
                return task
        return None

    def _count_stuck(self, domain: str, now: float) -> None:
        if not self._aside[domain]:
            del self._aside[domain]
        if domain in self._aside and self.pace.put_off_for(domain, now):
            self._stuck[domain] = len(self._aside[domain])
        else:
            self._stuck.pop(domain, None)

    def done(self, task: Task) -> None:
        """Forget a task that was settled or put back. A run is looked at from its beginning when none is left."""
        run = task.run
        self._left[run] -= len(task.deliveries)
        if self._left[run] <= 0:
            del self._left[run]
            self.reached.pop(run, None)
        if task.given_out and task.size > LARGE:
            self._large[task.mailing_id][1] -= 1
            if not self._large[task.mailing_id][1]:
                del self._large[task.mailing_id]

    def overdue(self, now: float) -> list[tuple[str, float, list[Task]]]:
        """Take out who stands aside and has to wait for longer: (domain, seconds to wait, tasks).

        Some stay, to be sent as soon as that is possible. The caller puts the others off, and calls `done`.
        """
        found = []
        for domain, tasks in list(self._aside.items()):
            wait, stay = self.pace.put_off_for(domain, now), max(ASIDE, self.pace.passes(domain, now))
            if wait and len(tasks) > stay:
                found.append((domain, wait, [tasks.pop() for _ in range(len(tasks) - stay)]))
                self._total -= len(found[-1][2])
            self._count_stuck(domain, now)
        return found

    def take_back(self) -> list[Task]:
        """Empty the hand; return what was in it and had not been given out."""
        tasks = [*self.ready, *(task for aside in self._aside.values() for task in aside)]
        self.ready.clear()
        self._aside.clear()
        self._stuck.clear()
        self._total = 0
        for task in tasks:
            self.done(task)
        return tasks
