"""How fast each destination is given mail: a good citizen's limits.

A destination is a recipient's domain; "" is the relay itself, which all mail goes through. Each begins
with a few transactions at a time and is given more as they succeed. One that is slow gets fewer, and all
slow ones together never more than half of the connections, so that nobody else waits for them. One
that puts off (4yz) gets fewer as well. One that refuses (5yz) most of what it gets, always for the same
reason, is left alone for a while: the circuit breaker. A mailing has one of its own: where it alone is
refused it is what is wrong, and the others go on. `[delivery] limits` sets bounds of the admin's own.

Times are monotonic seconds.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mailforum.model import State, Status
from mailforum.units import Limit, Place

BEGIN = 4.0  # transactions at a time to a destination nothing is known of
SLOW = 1.0  # seconds a transaction; a destination that takes longer is slow
ALIKE = 20  # refusals for one reason that open the breaker, if they are
SHARE = 0.5  # that part of the last transactions, or,
OWN_FAULT = 0.9  # where the reason is a mailbox that does not exist, this
SEVERAL = 3  # domains must refuse alike before it is the relay's doing, and mailings before it is not a mailing's
WINDOW = 50  # transactions that are remembered
PAUSE = (300.0, 3600.0)  # first and longest rest of a destination whose breaker is open
PATIENCE = 5.0  # seconds that mail to a destination may wait in hand
PUT_OFF = 30.0  # seconds for which most of the mail to a slow destination is put back into the queue
KNOWN = 5000  # destinations that are remembered

OF_MAIL = ("5.6.", "5.3.4", "5.2.3")  # RFC 3463: the form of the mail, its size

_VARIES = re.compile(r"[\w.+=/-]*[@\d][\w.+=/@-]*+")


@dataclass(frozen=True, slots=True)
class Opened:
    """A breaker that has opened: whose, why, for how many seconds, and the deliveries (ids) refused so.

    `anew` is False where it was open already, and somebody who was under way then was refused too.
    """

    domain: str
    reason: str
    pause: float
    refused: tuple[int, ...]
    anew: bool = True
    why: str = ""  # what such refusals have in common


class Lesson(NamedTuple):
    """How an attempt ended: to which domain, which delivery, of which mailing, to whom, and how."""

    domain: str
    delivery: int
    mailing: int
    rcpt: str
    status: Status


class _Seen(NamedTuple):
    """What is remembered of an attempt; `reason` is why it was refused, "" if it was not."""

    reason: str
    delivery: int
    domain: str
    mailing: int


class Destination:
    """What is known of one destination."""

    __slots__ = (
        "active",
        "allowed",
        "level",
        "limit",
        "pause",
        "recent",
        "resume_at",
        "since",
        "slow",
        "used_at",
        "why",
    )

    def __init__(self, limit: Limit, now: float) -> None:
        self.limit = limit
        self.active = 0
        self.allowed = BEGIN
        self.slow = False
        self.since = now  # the last transaction ended, or the first began
        self.pause = self.resume_at = 0.0
        self.why = ""  # the breaker was opened
        self.recent: deque[_Seen] = deque(maxlen=WINDOW)
        self.level, self.used_at = 0.0, now  # of the leaky bucket, in mails, and when that was

    def wait(self, now: float) -> float:
        """Return for how many seconds nothing may be sent; 0: it may be now, as far as time is concerned."""
        wait = max(0.0, self.resume_at - now)
        if self.limit.per_second:
            level = self.level - (now - self.used_at) * self.limit.per_second
            wait = max(wait, (level - self.burst) / self.limit.per_second)
        return wait

    @property
    def burst(self) -> float:
        """How many mails more than none may go at once under a rate limit: a second's worth."""
        return max(0.0, self.limit.per_second - 1)

    def has_room(self) -> bool:
        """Say whether one more transaction at a time is allowed."""
        return self.active < self.allowed and (not self.limit.connections or self.active < self.limit.connections)

    def begin(self, now: float) -> None:
        """A transaction begins."""
        if not self.active:
            self.since = now
        self.active += 1
        if self.limit.per_second:
            self.level = max(0.0, self.level - (now - self.used_at) * self.limit.per_second) + 1
            self.used_at = now

    def took(self, seconds: float, most: int, now: float) -> None:
        """A transaction has ended after `seconds`."""
        self.active -= 1
        self.since = now
        self.slow = seconds > SLOW
        self.allowed = max(1.0, self.allowed / 2) if self.slow else min(self.allowed + 1, most)

    def refused(
        self, reason: str, now: float, domains: int, mailings: int
    ) -> tuple[float, tuple[int, ...], bool] | None:
        """Look at the breaker after a refusal; return (pause, deliveries refused alike, anew) if it is open.

        It opens only for refusals of so many `domains` and `mailings`.
        """
        if now < self.resume_at:
            return (self.resume_at - now, (self.recent.pop().delivery,), False) if reason == self.why else None
        alike = [seen for seen in self.recent if seen.reason == reason]
        share = OWN_FAULT if reason.startswith("5.1.") else SHARE
        enough = (
            len(alike) >= max(ALIKE, share * len(self.recent))
            and len({seen.domain for seen in alike}) >= domains
            and len({seen.mailing for seen in alike}) >= mailings
        )
        if not enough and not self.pause:  # after a rest the first refusal is enough
            return None
        first, longest = PAUSE
        self.pause = min(self.pause * 2, longest) or first
        self.resume_at = now + self.pause
        self.allowed, self.why = 1.0, reason
        self.recent.clear()
        return self.pause, tuple([seen.delivery for seen in alike]), True


class Pace:
    """All destinations. `limits` are those of the configuration by domain, "*" for any other one.

    `places` are ours among the hosts that have a part in the limits (`Limit.among`); none where we are alone.
    """

    def __init__(self, limits: Mapping[str, Limit], connections: int, places: Sequence[Place] = ()) -> None:
        self._limits = limits
        self._connections = connections
        self._places = places
        self._known: dict[str, Destination] = {}
        self._slow = 0  # transactions with slow destinations
        self._resting: set[str] = set()  # whose breaker was opened

    def use(self, limits: Mapping[str, Limit], connections: int, places: Sequence[Place] = ()) -> None:
        """Go on with other limits."""
        self._limits, self._connections, self._places = limits, connections, places
        for domain, destination in self._known.items():
            destination.limit = self._limit(domain)

    def _limit(self, domain: str) -> Limit:
        return self._whole(domain).among(self._places, domain)

    def _whole(self, domain: str) -> Limit:
        named = domain and " " not in domain  # neither the relay nor a mailing
        return self._limits.get(domain) or (self._limits.get("*") if named else None) or Limit()

    def is_elsewhere(self, domain: str) -> bool:
        """Say whether only other hosts may send to `domain`."""
        return bool(self._places) and self._limit(domain).closed

    def of(self, domain: str, now: float) -> Destination:
        """Return what is known of `domain`."""
        found = self._known.get(domain)
        if found is None:
            if len(self._known) >= KNOWN:
                self._forget(now)
            found = self._known[domain] = Destination(self._limit(domain), now)
            if self._slow > self._connections // 4:  # many are slow: this one may be as well
                found.allowed = 1.0
        return found

    def _forget(self, now: float) -> None:
        self._known = {
            domain: one for domain, one in self._known.items() if one.active or one.pause or one.wait(now) > 0
        }

    def may_begin(self, domain: str, now: float) -> bool:
        """Say whether a mail to `domain` may be sent now."""
        one = self.of(domain, now)
        if one.limit.closed or (one.slow and self._slow >= max(1, self._connections // 2)):
            return False
        return one.has_room() and one.wait(now) <= 0

    def begin(self, domain: str, now: float) -> None:
        """A mail to `domain` is being sent."""
        one = self.of(domain, now)
        one.begin(now)
        if one.slow:
            self._slow += 1

    def end(self, domain: str, seconds: float, now: float) -> None:
        """A mail to `domain` has been sent, or not; that took `seconds`.

        One to many domains takes long because of the many, and says nothing of any.
        """
        one, seconds = self.of(domain, now), seconds if domain else 0.0
        if one.slow:
            self._slow -= 1
        was_slow = one.slow
        one.took(seconds, 2 * self._connections, now)  # on each the next one is begun before the last has ended
        if one.slow != was_slow:
            self._slow += one.active if one.slow else -one.active

    def look_around(self, now: float) -> None:
        """Find the destinations that keep transactions waiting and do not end them: they are slow."""
        for domain, one in self._known.items():
            if domain and one.active and not one.slow and now - one.since > SLOW:
                one.slow, one.allowed = True, 1.0
                self._slow += one.active

    def learn(self, lessons: Iterable[Lesson], now: float) -> list[Opened]:
        """Take notice of how attempts ended; return the breakers that opened."""
        return [opened for lesson in lessons for opened in self._learn(lesson, now)]

    def _learn(self, lesson: Lesson, now: float) -> Iterator[Opened]:
        domain, delivery, mailing, rcpt, status = lesson
        if status.state is State.DEFERRED:  # greylisting does that to each recipient once, and means no harm
            one = self.of(domain, now)
            one.allowed = max(1.0, one.allowed / 2)
            return
        if status.enhanced.startswith(OF_MAIL) or status.reply.startswith("552"):
            return  # it says nothing of who was to take the mail, however many mails are like that
        reason = "" if status.state is State.SENT else _reason(status, rcpt)
        # Whose doing it may be, and how many domains and mailings must then be refused alike.
        alone, whole = _names(mailing, domain)
        for key, domains, mailings in (
            (alone, 1, 1),
            (whole, SEVERAL, 1),
            (domain, 1, SEVERAL),
            ("", SEVERAL, SEVERAL),
        ):
            one = self.of(key, now)
            one.recent.append(_Seen(reason, delivery, domain, mailing))
            if not reason:
                one.pause = 0.0
            elif found := one.refused(reason, now, domains, mailings):
                self._resting.add(key)
                yield Opened(key, status.reply, *found, reason)

    def rest(self, key: str, why: str, seconds: float, now: float) -> bool:
        """Leave something alone because another host has found out about it; False if we do so already."""
        one = self.of(key, now)
        if one.resume_at >= now + seconds - 1:
            return False
        one.resume_at, one.pause = now + seconds, max(one.pause, PAUSE[0])
        one.allowed, one.why = 1.0, why
        one.recent.clear()
        self._resting.add(key)
        return True

    def wake(self) -> None:
        """Leave nothing alone any more. What refuses once more is left alone again at once, and for longer."""
        for one in self._known.values():
            one.resume_at = 0.0
        self._resting.clear()

    def resting_as(self, mailing: int, domain: str, now: float) -> str:
        """Return under which name a mailing to `domain` is left alone, because nearly all refuse it; "": it is not."""
        for key in _names(mailing, domain) if self._resting else ():
            if key in self._resting:
                if self.of(key, now).resume_at > now:
                    return key
                self._resting.discard(key)
        return ""

    def resting(self, now: float) -> list[tuple[str, float]]:
        """Return the destinations whose breaker is open, and for how many seconds more."""
        return [(domain, one.resume_at - now) for domain, one in self._known.items() if one.resume_at > now]

    def put_off_for(self, domain: str, now: float) -> float:
        """Return for how many seconds mail to `domain` is better put back into the queue; 0: let it wait here."""
        one = self.of(domain, now)
        wait = one.wait(now)
        if wait > PATIENCE:
            return wait
        return PUT_OFF if one.slow or one.limit.per_second else 0.0

    def passes(self, domain: str, now: float) -> int:
        """Return how many mails a rate limit lets through while the others are put off."""
        return int(self.of(domain, now).limit.per_second * PUT_OFF)


def _names(mailing: int, domain: str) -> tuple[str, str]:
    """Under which names a mailing has its breakers, at one domain and at all; no domain is spelt like that."""
    return f"mailing {mailing} to {domain}", f"mailing {mailing}"


def _reason(status: Status, rcpt: str) -> str:
    """What refusals have in common that say the same of different recipients."""
    words = _VARIES.sub("#", status.reply[4:200].replace(rcpt, "#"))
    return f"{status.enhanced} {words}"
