"""The books: what was accepted, what the relay kept, and what the server said of the difference."""

from __future__ import annotations

import email
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email import policy
from itertools import pairwise

TOKEN = re.compile(r"\bmail\d+of\w+\b")  # the local part of a post's Message-ID; stands in its text too

Pair = tuple[str, str]  # (recipient, Message-ID)


@dataclass(frozen=True)
class List:
    """A list of the game. Its members have a domain of their own, so an address says whose it is."""

    name: str
    size: int
    personal: bool = True
    digest: bool = False

    @property
    def readers(self) -> tuple[str, ...]:
        """The addresses of its members."""
        return tuple(f"reader{number}@{self.name}.example.org" for number in range(self.size))


@dataclass
class Post:
    """A mail that was tried to be posted; `accepted` once its 250 was read."""

    msgid: str
    lists: tuple[List, ...]
    body: bytes
    accepted: bool = False


@dataclass(frozen=True)
class Copy:
    """One mail that the relay kept: in which life of the server, in which transaction, and its bytes' hash."""

    life: int
    transaction: tuple[int, int]  # connection, number on it
    digest: bytes
    body: bytes


@dataclass
class Ledger:
    """What happened, to be judged at the end."""

    posts: dict[str, Post] = field(default_factory=dict)
    copies: dict[Pair, list[Copy]] = field(default_factory=lambda: defaultdict(list))
    digests: dict[str, set[str]] = field(default_factory=dict)  # what stands in each, by Message-ID
    uncertain: dict[int, set[tuple[int, str]]] = field(default_factory=dict)  # by life: (mailing, recipient)
    owed: int = 0
    wish: str = ""  # a list that the next mail is to be posted to

    def post(self, msgid: str, lists: tuple[List, ...], body: bytes) -> Post:
        """Write down a mail before it is tried."""
        self.posts[msgid] = Post(msgid, lists, hashlib.sha256(body).digest())
        return self.posts[msgid]

    def accept(self, post: Post) -> None:
        """Its 250 was read: from now on it is promised."""
        post.accepted = True
        self.owed += sum(each.size for each in post.lists if not each.digest)

    def keep(self, life: int, transaction: tuple[int, int], mail_from: str, rcpts: Iterable[str], data: bytes) -> str:
        """Write down what the relay kept; return its Message-ID."""
        head, _, body = data.partition(b"\r\n\r\n")
        msgid = _msgid(head)
        copy = Copy(
            life,
            transaction,
            hashlib.sha256(mail_from.encode() + b"\0" + data).digest(),
            hashlib.sha256(body).digest(),
        )
        for rcpt in rcpts:
            self.owed -= not self.copies.get((rcpt, msgid))
            self.copies[rcpt, msgid].append(copy)
        if msgid.startswith("<digest.") and msgid not in self.digests:
            self.digests[msgid] = _tokens(data)
        return msgid


def _msgid(head: bytes) -> str:
    found = re.search(rb"^Message-ID: (\S+)", head, re.MULTILINE)
    return found[1].decode() if found else ""


def _tokens(digest: bytes) -> set[str]:
    part = email.message_from_bytes(digest, policy=policy.default).get_body(("plain",))
    assert part is not None
    return set(TOKEN.findall(part.get_content()))


@dataclass(frozen=True)
class Verdict:
    """The books, added up. Everything but `repeated` must be empty."""

    lost: list[Pair]
    torn: list[str]
    damaged: list[str]
    avoidable: list[Pair]
    untold: list[Pair]
    repeated: Counter[int]  # second copies by the life whose end brought them about
    transactions: dict[int, set[tuple[int, int]]]  # whose answers those ends have cut off


def judge(ledger: Ledger, mailings: Mapping[Pair, int]) -> Verdict:
    """Add up the books. `mailings` says which mailing carried a post, by (list, Message-ID)."""
    repeated: Counter[int] = Counter()
    transactions: dict[int, set[tuple[int, int]]] = defaultdict(set)
    avoidable, untold = [], []
    for pair, first, second in seconds(ledger):
        if first.life == second.life:
            avoidable.append(pair)
            continue
        repeated[first.life] += 1
        transactions[first.life].add(first.transaction)
        told = set().union(*(ledger.uncertain.get(life, set()) for life in range(first.life + 1, second.life + 1)))
        if (mailing(pair, mailings), pair[0]) not in told:
            untold.append(pair)
    return Verdict(
        lost=list(_lost(ledger)),
        torn=[post.msgid for post in ledger.posts.values() if _torn(ledger, post)],
        damaged=[*_damaged(ledger), *_damaged_digests(ledger)],
        avoidable=avoidable,
        untold=untold,
        repeated=repeated,
        transactions=transactions,
    )


def seconds(ledger: Ledger) -> Iterator[tuple[Pair, Copy, Copy]]:
    """Yield what somebody got again, with one copy and the next."""
    for pair, copies in ledger.copies.items():
        for first, second in pairwise(copies):
            yield pair, first, second


def mailing(pair: Pair, mailings: Mapping[Pair, int]) -> int:
    """Which mailing carried it: a post is in the database, ours have its number in their Message-ID."""
    rcpt, msgid = pair
    own = re.match(r"<(?:notice|digest\.\d+)\.(\d+)\.", msgid)
    return int(own[1]) if own else mailings[rcpt.partition("@")[2].partition(".")[0], msgid]


def _lost(ledger: Ledger) -> Iterator[Pair]:
    for post in ledger.posts.values():
        for each in post.lists if post.accepted else ():
            for reader in each.readers:
                if not (_issues(ledger, post, reader) if each.digest else (reader, post.msgid) in ledger.copies):
                    yield reader, post.msgid


def _issues(ledger: Ledger, post: Post, reader: str) -> list[str]:
    """In which digests a reader has found a post; each is counted once, however often it came."""
    token = post.msgid.strip("<>").partition("@")[0]
    return [msgid for msgid, tokens in ledger.digests.items() if token in tokens and (reader, msgid) in ledger.copies]


def _torn(ledger: Ledger, post: Post) -> bool:
    """Whether some have a mail and others have not, on a list or between its lists; promised or not."""
    got = [(reader, post.msgid) in ledger.copies for each in post.lists if not each.digest for reader in each.readers]
    return any(got) and not all(got)


def _damaged(ledger: Ledger) -> Iterator[str]:
    """Name what came with other bytes than it was posted with, to the wrong people, or differently again."""
    for (rcpt, msgid), copies in ledger.copies.items():
        post = ledger.posts.get(msgid)
        if post and any(copy.body != post.body for copy in copies):
            yield f"{msgid} to {rcpt}: other bytes than were posted"
        if post and not any(rcpt.endswith(f"@{each.name}.example.org") for each in post.lists):
            yield f"{msgid} to {rcpt}: never posted there"
        if len({copy.digest for copy in copies}) > 1:
            yield f"{msgid} to {rcpt}: other bytes the second time"


def _damaged_digests(ledger: Ledger) -> Iterator[str]:
    """Name what is in two digests, and numbers that were given twice or left out."""
    for post in ledger.posts.values():
        for each in post.lists:
            for reader in each.readers if each.digest else ():
                if len(issues := _issues(ledger, post, reader)) > 1:
                    yield f"{post.msgid} to {reader}: in {len(issues)} digests"
    for reader, numbers in _numbers(ledger).items():
        if sorted(numbers) != list(range(1, len(numbers) + 1)):
            yield f"digests to {reader}: numbers {sorted(numbers)}"


def _numbers(ledger: Ledger) -> dict[str, list[int]]:
    numbers: dict[str, list[int]] = defaultdict(list)
    for rcpt, msgid in ledger.copies:
        if found := re.match(r"<digest\.(\d+)\.", msgid):
            numbers[rcpt].append(int(found[1]))
    return numbers
