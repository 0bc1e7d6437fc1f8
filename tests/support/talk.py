"""Archives of mailing lists made up from a seed, of which it is known which mail belongs to which thread.

    discussion(5000, seed=1)        # people who ask, answer and report
    patches(5000, seed=1)           # series of patches in several versions, and what is said about them

They are about subjects, so these are as they are on real lists: most are of one thread only, but some are asked
about again and again (`build fails on macOS`), say nothing (`question`), or come each week or month. Threads with one
subject run side by side. Patches are sent again under the same subject. People change the subject, with and without
`(was: …)`, answer a mail to talk about something else, write `Re:` by hand, or with clocks that are wrong. Answers
come after minutes, hours, weeks. How frequent each of these is stands in `Habits`; the figures are guesses that err
on the side of trouble, as far as the few archives at hand allow to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random

START = datetime(2019, 1, 7, 6, 0, tzinfo=UTC).timestamp()  # a Monday
HOUR, DAY = 3600.0, 86400.0


@dataclass(frozen=True, slots=True)
class Talk:
    """A mail of the thread numbered `thread`. `answers` is the number of the mail it answers; None: it begins one."""

    number: int
    thread: int
    answers: int | None
    subject: str
    author: str
    date: float
    references: tuple[str, ...]
    quoted: str = ""

    @property
    def message_id(self) -> str:
        return f"<{self.number}@{self.author}.example.org>"

    @property
    def strays(self) -> bool:
        """Whether it looks like a reply, and answers nothing that was on the list."""
        return self.answers is None and base(self.subject) != self.subject

    @property
    def raw(self) -> bytes:
        """The mail as a mail program sends it, with all that says which one it answers."""
        lines = [
            f"From: {self.author.title()} <{self.author}@example.org>",
            f"Date: {format_datetime(datetime.fromtimestamp(self.date, UTC))}",
            f"Message-ID: {self.message_id}",
            f"Subject: {self.subject}",
            "Content-Type: text/plain; charset=utf-8",
        ]
        if self.references:
            lines += [f"In-Reply-To: {self.references[-1]}", f"References: {' '.join(self.references)}"]
        text = [f"On some day {self.quoted} wrote:", "> what was said", ""] if self.quoted else []
        return "\r\n".join([*lines, "", *text, f"This is what I think, number {self.number}.", ""]).encode()


@dataclass(frozen=True, slots=True)
class Habits:
    """How often, out of 1, people do what makes subjects hard to follow."""

    common: float = 0.003  # a subject that others have used too, or will
    plain: float = 0.003  # one that says nothing
    again: float = 0.002  # the subject of a thread of the last days, asked once more
    reports: int = 1  # reports that have the same subject every week
    stray: float = 0.005  # a thread that begins with `Re:`, since what it answers was never on the list
    was: float = 0.01  # a reply with a new subject (was: the old one)
    renamed: float = 0.001  # a reply with a new subject and `Re:`
    hijack: float = 0.005  # a reply that begins something new, without `Re:`
    fast_clock: float = 0.01  # a mail whose clock is ahead by up to two hours


TROUBLED = Habits(common=0.03, plain=0.01, again=0.01, reports=2, stray=0.02, renamed=0.003)


def _either(text: str) -> list[str]:
    return text.split("|")


_WHAT = _either("parser|cache|socket|driver|index|release|website|manual|scheduler|installer|logger|plugin|translation")
_DOES = _either(
    "crashes|leaks memory|is slow|loses data|ignores the option|needs a maintainer|hangs|should be optional"
)
_WHERE = _either(
    "on startup|with large files|since 2.1|on 32 bit|after suspend|behind a proxy|in the container|over NFS"
)
_HOW = _either("Proposal:|Bug:|How to tell whether|RFC:|Regression:|Summary:|Plan:|Why does it happen that")
_COMMON = _either(
    "build fails on macOS|segmentation fault|how to unsubscribe|cannot compile|next meeting|roadmap|memory leak|license"
)
_PLAIN = _either("question|help|hello|hi all|test|problem|(no subject)|quick question|update|a question")
_MARKS = ["Re: "] * 20 + ["RE: ", "AW: ", "Re: Re: ", "Antw: ", "SV: ", "Re[2]: ", "回复: "]
_AUTHORS = [f"{first}{number}" for number in range(25) for first in ("ada", "bob", "cleo", "dora", "emil")]


def discussion(count: int, seed: int, habits: Habits = Habits()) -> list[Talk]:
    """Return about `count` mails of a list on which people talk, in the order in which they were written."""
    writer = _Writer(Random(seed), habits)
    at, week = START, START
    while len(writer.mails) < count:
        at += writer.random.expovariate(1 / (5 * HOUR))
        while week < at:
            for number in range(habits.reports):
                writer.thread(week, f"Weekly report of team {number}", replies=writer.random.choice([0, 0, 0, 1]))
            week += 7 * DAY
        writer.begin(at)
    return sorted(writer.mails, key=lambda talk: talk.date)


def patches(count: int, seed: int, habits: Habits = Habits()) -> list[Talk]:
    """Return about `count` mails of a list to which patches are sent, in the order in which they were written."""
    writer = _Writer(Random(seed), habits)
    at = START
    while len(writer.mails) < count:
        at += writer.random.expovariate(1 / (5 * HOUR))
        if writer.random.random() < 0.3:
            writer.begin(at)
        else:
            _series(writer, at)
    return sorted(writer.mails, key=lambda talk: talk.date)


class _Writer:
    def __init__(self, random: Random, habits: Habits) -> None:
        self.random, self.habits = random, habits
        self.mails: list[Talk] = []
        self._threads = 0
        self._recent: list[str] = []

    def begin(self, at: float) -> None:
        """Begin a thread that people talk in."""
        stray = self._happens(self.habits.stray)
        often = stray and self._happens(0.5)
        subject = self.random.choice(_COMMON + _PLAIN) if often else self._new_subject()
        self._recent = [*self._recent[-60:], subject]
        mark = self.random.choice(_MARKS) if stray else ""
        self.thread(at, mark + subject, replies=int(self.random.lognormvariate(0.9, 1.1)))

    def thread(self, at: float, subject: str, replies: int, spread: float = 1.0) -> None:
        """Write a thread: each reply answers one of the mails before it, mostly one of the last."""
        mails = [self.write(at, subject)]
        for _ in range(replies):
            answered = mails[-1 - min(int(self.random.expovariate(1)), len(mails) - 1)]
            delay = min(self.random.lognormvariate(math.log(4 * HOUR), 1.7), 60 * DAY) * spread
            mails.append(self.reply(answered, answered.date + delay))

    def write(self, at: float, subject: str, answers: Talk | None = None) -> Talk:
        """Write one mail; one that answers another is of its thread."""
        self._threads += answers is None
        thread = answers.thread if answers else self._threads
        references = (*answers.references[-8:], answers.message_id) if answers else ()
        clock = self.random.uniform(0, 2 * HOUR) if self._happens(self.habits.fast_clock) else 0.0
        number = answers.number if answers else None
        quoted = answers.author.title() if answers else ""
        author = self.random.choice(_AUTHORS)
        mail = Talk(len(self.mails), thread, number, subject, author, at + clock, references, quoted)
        self.mails.append(mail)
        return mail

    def reply(self, answered: Talk, at: float) -> Talk:
        """Answer a mail under its subject, as most people do."""
        old = base(answered.subject)
        subject = self.random.choice(_MARKS) + old
        if self._happens(self.habits.was):
            subject = f"Re: {self._topic()} (was: {old})"
        elif self._happens(self.habits.renamed):
            subject = f"Re: {self._topic()}"
        elif self._happens(self.habits.hijack):
            subject = self._topic()
        return self.write(at, subject, answered)

    def _new_subject(self) -> str:
        if self._happens(self.habits.common):
            return self.random.choice(_COMMON)
        if self._happens(self.habits.plain):
            return self.random.choice(_PLAIN)
        if self._recent and self._happens(self.habits.again):
            return self.random.choice(self._recent[-10:])
        return self._topic()

    def _topic(self) -> str:
        choose = self.random.choice
        number = self.random.randrange(10_000)
        return f"{choose(_HOW)} the {choose(_WHAT)} {choose(_DOES)} {choose(_WHERE)}, case {number}"

    def _happens(self, share: float) -> bool:
        return self.random.random() < share


def base(subject: str) -> str:
    """What mail programs take for the subject: without one `Re:` in their own language."""
    for mark in sorted(set(_MARKS), key=len, reverse=True):
        subject = subject.removeprefix(mark)
    return subject


def _series(writer: _Writer, at: float) -> None:
    """Send some patches in up to five versions, and answer them."""
    random = writer.random
    topics = [writer._topic() for _ in range(random.choice([1, 1, 2, 3, 5, 9]))]
    cover: Talk | None = None
    for version in range(1, random.choice([1, 1, 2, 2, 3, 5]) + 1):
        for _ in range(2 if random.random() < 0.03 else 1):  # sent again, as it was: something went wrong
            cover = _send(writer, at, version, topics, cover if random.random() < 0.2 else None)
            at += random.uniform(0.02, 1) * DAY
        at += random.uniform(1, 9) * DAY


def _send(writer: _Writer, at: float, version: int, topics: list[str], under: Talk | None) -> Talk:
    random = writer.random
    mark = f"PATCH v{version}" if version > 1 else "PATCH"
    if len(topics) == 1:
        sent = [writer.write(at, f"[{mark}] {topics[0]}", under)]
    else:
        many = len(topics)
        sent = [writer.write(at, f"[{mark} 0/{many}] Series about {topics[0]}", under)]
        sent += [
            writer.write(at + number, f"[{mark} {number}/{many}] {topic}", sent[0])
            for number, topic in enumerate(topics, 1)
        ]
    for patch in sent:
        last = patch
        for _ in range(random.choice([0, 0, 1, 1, 2, 3, 6])):
            last = writer.reply(last, last.date + min(random.lognormvariate(math.log(6 * HOUR), 1.6), 40 * DAY))
    return sent[0]
