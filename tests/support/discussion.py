"""Archives of which the truth is known: who answers whom, whatever the headers have become on the way.

    for told in discussion(100_000, seed=3):        # a stream, in the order in which the mails arrived
        told.raw, told.number, told.parent, told.thread, told.flaws

The mails are those of archive.py, in the hands of the same dozen of mail programs, with its dirt. What has gone
wrong here besides is what makes threading hard, as often as in real archives: mails that never arrived or arrived
late, answers to mails of other lists, headers that were stripped, cut, brought into one case or filled with something
else, Outlooks that name nothing but their Thread-Index, subjects that return. Who answers a mail names what that one
names, as far as it still does. A `flavour` says of what there is most.
"""

from __future__ import annotations

import base64
import heapq
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import formatdate
from random import Random

from mailforum.mail import message
from tests.support.archive import IDS, MARKERS, PEOPLE, START, TOPICS, Draft, Letter, add, compose, drop

# How likely a mail has a flaw. An answer has one at most of those in `_FLAWS`.
COMMON: Mapping[str, float] = {
    "bare": 0.01, "stripped": 0.01, "several ids": 0.01, "cut": 0.005, "case": 0.003, "no id": 0.002,
    "only Thread-Index": 0.005, "only In-Reply-To": 0.10, "id in the text": 0.005, "hijack": 0.007,
}  # fmt: skip
FLAVOURS: Mapping[str, Mapping[str, float]] = {
    "common": COMMON,
    "bare": {**COMMON, "bare": 0.07},  # one real archive has 7 % of In-Reply-To without brackets
    "office": {**COMMON, "only Thread-Index": 0.15, "stripped": 0.03},
    "clean": {},  # every program sees the same in it, though mails are missing and late
}
LOST, LATE, ELSEWHERE, AGAIN, OLD_SUBJECT = 0.02, 0.03, 0.02, 0.01, 0.03
ANSWERS, RECENT = 0.75, 60
SETTLED = 150  # so many of the last mails are not late: all that are have then come


_ENDS = ("get", "ject", "ting", "ing", "ive", "port", "mark", "view", "ply", "ers", "ness", "able", "ly", "ed", "s")
_ID = re.compile(r"<[^<>\s]+@[^<>\s]+>")


@dataclass(frozen=True, slots=True)
class Told:
    """A mail with the truth about it: `thread` and `parent` are numbers of mails.

    `parent` is the nearest ancestor that is in the archive, None if there is none; `thread` is the mail that
    began it, which may never have arrived; `flaws` says what is wrong with the mail.
    """

    number: int
    raw: bytes
    msgid: str
    parent: int | None
    thread: int
    flaws: tuple[str, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class _Node:
    """A mail that was written, also one that never came here; `seen` is itself or its nearest ancestor that came.

    `chain` is what an answer has in its References.
    """

    letter: Letter
    chain: tuple[str, ...]
    number: int
    thread: int
    parent: int | None
    seen: int | None
    index: bytes
    topic: str


def discussion(count: int, seed: int = 1, flavour: str = "common", size: int = 0) -> Iterator[Told]:
    """Yield `count` mails in the order of arrival, of about `size` bytes in the mean where that is more than 5,000."""
    random = Random(f"{seed} {flavour}")
    writer = _Writer(random, FLAVOURS[flavour], max(0, size - 4800))
    late: list[tuple[datetime, int, Told]] = []
    given = 0
    while given < count:
        told = writer.write()
        if told and random.random() < LATE and given < count - SETTLED:
            heapq.heappush(late, (told.at + timedelta(hours=random.randrange(1, 200)), told.number, told))
            told = None
        due = [heapq.heappop(late)[2]] if late and late[0][0] < writer.at else []
        for one in [told, *due]:
            if one and given < count:
                yield one
                given += 1


class _Writer:
    """Writes one mail after the other, and remembers the last of them."""

    def __init__(self, random: Random, flaws: Mapping[str, float], more: int) -> None:
        self.random, self.flaws, self.more = random, flaws, more
        self.recent: list[_Node] = []
        self.at, self.number = START, 0

    def write(self) -> Told | None:
        """Write the next mail; None if it never arrives."""
        random = self.random
        self.at += timedelta(seconds=random.randrange(60, 6 * 3600))
        if self.recent and random.random() < AGAIN:
            return self._again(random.choice(self.recent))
        above = random.choice(self.recent[-15:]) if self.recent and random.random() < ANSWERS else None
        lost = random.random() < (ELSEWHERE if above is None else LOST)
        flaw = self._flaw(above)
        node, raw = self._mail(above, flaw, lost)
        self.recent = [*self.recent[-RECENT:], node]
        return None if lost else self._told(node, above, raw, flaw)

    def _told(self, node: _Node, above: _Node | None, raw: bytes, flaw: str) -> Told:
        flaws = (flaw,) if flaw else tuple(_dirt(raw, above))
        return Told(node.number, raw, node.letter.msgid, node.parent, node.thread, flaws, self.at)

    def _again(self, node: _Node) -> Told | None:
        """The same mail once more, with another text."""
        if node.seen != node.number:
            return None
        self.number += 1
        raw = node.letter.raw + b"PS: sent once more.\r\n"
        return Told(self.number, raw, node.letter.msgid, node.parent, node.thread, ("again",), self.at)

    def _flaw(self, above: _Node | None) -> str:
        left = self.random.random() if above and above.chain else 1.0
        for name, share in self.flaws.items():
            left -= share
            if left < 0:
                return name
        return ""

    def _mail(self, above: _Node | None, flaw: str, lost: bool) -> tuple[_Node, bytes]:
        random, self.number = self.random, self.number + 1
        name, address = random.choice(PEOPLE)
        msgid = random.choice(IDS)(random, self.number, address)
        topic = above.topic if above and flaw != "hijack" else self._topic()
        written = random.choice(MARKERS) + topic if above and flaw != "hijack" else topic
        draft = Draft(random, self.at, name, address, msgid, written, above.chain if above else ())
        draft.index = (above.index if above else b"\x01" + random.randbytes(21)) + (
            random.randbytes(5) if above else b""
        )
        changes = [_FLAWS[flaw]] if flaw else [] if self.flaws else [_whole]
        answered = above.letter if above and above.chain and flaw != "hijack" else None
        raw = compose(draft, answered, *changes, self._fill, dirty=bool(self.flaws))
        number, thread = self.number, above.thread if above else self.number
        letter = Letter(raw, msgid, written, None, draft.references, self.at)
        parent = above.seen if above else None
        seen = parent if lost else number
        return _Node(letter, _chain(raw, msgid), number, thread, parent, seen, draft.index, topic), raw

    def _topic(self) -> str:
        if self.recent and self.random.random() < OLD_SUBJECT:
            return self.random.choice(self.recent).topic
        return f"{self.random.choice(TOPICS)} {self.random.randrange(100_000)}"

    def _fill(self, draft: Draft) -> None:
        """Make a plain mail longer, as much as it takes for all of them to be as long as wanted in the mean."""
        if self.more and b"--" not in draft.body[:200]:
            line = b"%d lines of a log that somebody has pasted, and that are all nearly alike\r\n"
            draft.body += b"".join(line % number for number in range(self.random.randrange(self.more // 21)))


def _chain(raw: bytes, msgid: str) -> tuple[str, ...]:
    """What an answer to a mail names (RFC 5322, 3.6.4), as far as can be seen in the mail as it is."""
    head = message.parse(raw)
    above = _ID.findall(head.get("References")) or _ID.findall(head.get("In-Reply-To"))[-1:]
    chain = (*above, *([msgid] if head.get("Message-ID") else []))
    return chain[:1] + chain[-9:] if len(chain) > 10 else chain


def _dirt(raw: bytes, above: _Node | None) -> Iterator[str]:
    """Yield what archive.py's programs and its dirt have made of a mail, as far as threads depend on it."""
    head = message.parse(raw)
    if not head.get("Message-ID"):
        yield "no Message-ID"
    if above and not above.chain:
        yield "answers what cannot be named"
    elif above and not head.get("References") and not head.get("In-Reply-To"):
        yield "names nothing"


def _parent(draft: Draft) -> str:
    return draft.references[-1]


def _whole(draft: Draft) -> None:
    """Let a clean archive have no Outlooks that name nothing."""
    if draft.references and not {"in-reply-to", "references"} & {name.lower() for name, _ in draft.headers}:
        add(draft, ("In-Reply-To", _parent(draft)))


def _bare(draft: Draft) -> None:
    drop(draft, "references")
    drop(draft, "in-reply-to")
    add(draft, ("In-Reply-To", _parent(draft).strip("<>")))


def _stripped(draft: Draft) -> None:
    for name in ("references", "in-reply-to", "thread-index"):
        drop(draft, name)


def _several(draft: Draft) -> None:
    drop(draft, "in-reply-to")
    add(draft, ("In-Reply-To", " ".join(draft.references[-3:])))


def _cut(draft: Draft) -> None:
    """The field was cut at 255 characters, in the middle of an id as it happens."""
    drop(draft, "references")
    add(draft, ("References", re.sub(r"\s+$", "", " ".join(draft.references)[:255])))


def _case(draft: Draft) -> None:
    for at, (name, value) in enumerate(draft.headers):
        if name.lower() in ("references", "in-reply-to") and isinstance(value, str):
            draft.headers[at] = (name, value.lower())


def _no_id(draft: Draft) -> None:
    """As `git send-email` had it where somebody answered its question with yes."""
    drop(draft, "in-reply-to")
    drop(draft, "references")
    add(draft, ("In-Reply-To", "<yes>"), ("References", "<yes>"))


def _only_index(draft: Draft) -> None:
    _stripped(draft)
    add(
        draft,
        ("Thread-Index", base64.b64encode(draft.index).decode()),
        ("X-MimeOLE", "Produced By Microsoft Exchange V6.5"),
    )


def _only_in_reply_to(draft: Draft) -> None:
    _stripped(draft)
    add(draft, ("In-Reply-To", _parent(draft)))


def _in_text(draft: Draft) -> None:
    _stripped(draft)
    draft.headers = [
        (name, "7bit" if name.lower() == "content-transfer-encoding" else value)
        for name, value in draft.headers
        if name.lower() != "content-type"
    ]
    draft.body = f"In message {_parent(draft)} you wrote:\r\n> Is it so?\r\n\r\nIt is.\r\n".encode()


_FLAWS: Mapping[str, Callable[[Draft], None]] = {
    "bare": _bare,
    "stripped": _stripped,
    "several ids": _several,
    "cut": _cut,
    "case": _case,
    "no id": _no_id,
    "only Thread-Index": _only_index,
    "only In-Reply-To": _only_in_reply_to,
    "id in the text": _in_text,
    "hijack": lambda draft: None,
}


def small(count: int, seed: int = 1, start: float = START.timestamp()) -> Iterator[tuple[bytes, float]]:
    """Yield small mails fast, each with the time it was written: three of four answer one of the last hundred.

    The first was written soon after `start`, in seconds since the epoch.
    """
    random = Random(f"{seed} small")
    recent: list[tuple[str, str]] = []
    at = start
    for number in range(count):
        at += random.randrange(60, 1200)
        msgid = f"<{random.getrandbits(80):x}.{number}@mail.example.org>"
        chain, subject = random.choice(recent) if recent and random.random() < ANSWERS else ("", "")
        fields = [f"Message-ID: {msgid}", f"Date: {formatdate(at)}", "From: Ada <ada@example.org>"]
        fields += ["To: pmo@lists.example.test", f"Subject: {f'Re: {subject}' if chain else f'Budget item {number}'}"]
        fields += [f"References: {chain}", f"In-Reply-To: {chain.split()[-1]}"] if chain else []
        text = " ".join(random.choices(_WORDS, k=30))
        yield "\r\n".join([*fields, "", text, ""]).encode(), at
        ids = [*chain.split(), msgid]
        recent = [*recent[-100:], (" ".join([*ids[:1], *ids[1:][-8:]]), subject or f"Budget item {number}")]


_WORDS = [f"{begin}{end}" for begin in ("bud", "pro", "mee", "list", "arch", "re") for end in _ENDS]
