"""Why two programs see the threads of one archive differently: each difference by its kind, with examples.

The reasons are looked for in the mails themselves, by rules of this file's own: what is measured here
is not asked for its opinion.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mailforum.mail import message, subject
from tests.bench.threads.likeness import Forest
from tests.bench.threads.others import file_name

_ID = re.compile(r"<([^<>]*)>")
_BARE = re.compile(r"""[^\s<>"(),;@]+@[^\s<>"(),;@]+""")
EXAMPLES = 3
LONGEST = 50  # mails of a circle


@dataclass(frozen=True, slots=True)
class Facts:
    """What the threads of a mail can depend on. Names are what stands between `<` and `>`, blanks taken out."""

    message_id: str
    in_reply_to: str
    references: str
    topic: str
    index: bytes

    @property
    def replied(self) -> list[str]:
        """The names in In-Reply-To."""
        return _names(self.in_reply_to)

    @property
    def referred(self) -> list[str]:
        """The names in References."""
        return _names(self.references)


@dataclass(slots=True)
class Archive:
    """The mails of a Maildir, by number. Of mails with one Message-ID the first owns it; `first` leads to it."""

    maildir: Path
    facts: dict[int, Facts] = field(default_factory=dict)
    owner: dict[str, int] = field(default_factory=dict)
    naming: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    first: dict[int, int] = field(default_factory=dict)

    @property
    def numbers(self) -> list[int]:
        """The mails that are compared."""
        return [number for number in self.facts if number not in self.first]

    def text(self, number: int) -> str:
        """The mail as it stands there."""
        return (self.maildir / "cur" / file_name(number)).read_bytes().decode("utf-8", "replace")

    def id(self, number: int) -> str:
        """How a mail is named in a report."""
        return (
            f"<{self.facts[number].message_id}>" if self.facts[number].message_id else f"mail {number}, no Message-ID"
        )


def read(maildir: Path) -> Archive:
    """Read the headers of all mails."""
    archive = Archive(maildir)
    for path in sorted((maildir / "cur").iterdir()):
        number = int(path.name[1:].partition(".")[0])
        facts = archive.facts[number] = _facts(path.read_bytes())
        if facts.message_id and (owner := archive.owner.setdefault(facts.message_id, number)) != number:
            archive.first[number] = owner
        for name in dict.fromkeys([*facts.replied, *facts.referred]):
            archive.naming[name].append(number)
    return archive


def _facts(raw: bytes) -> Facts:
    msg = message.read(raw)
    names = _names(" ".join(msg.get_all("Message-ID"))) or [msg.get("Message-ID").strip()]
    return Facts(
        names[0],
        " ".join(msg.get_all("In-Reply-To")),
        " ".join(msg.get_all("References")),
        subject.base(msg.subject).casefold(),
        _index(msg.get("Thread-Index")),
    )


def _names(text: str) -> list[str]:
    return ["".join(name.split()) for name in _ID.findall(text) if name.strip()]


def _index(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=False)
    except (binascii.Error, ValueError):
        return b""


@dataclass(slots=True)
class Differences:
    """What differs between two forests: kinds with their count and some examples."""

    against: str
    found: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, what: str, kind: str, example: str) -> None:
        """Count one more."""
        self.found[what, kind].append(example)

    def rows(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield (what, kind, how many, examples), the most frequent first."""
        for (what, kind), examples in sorted(self.found.items(), key=lambda item: (item[0][0], -len(item[1]))):
            yield what, kind, str(len(examples)), " ".join(examples[:EXAMPLES])


def explain(archive: Archive, ours: Forest, theirs: Forest, note: Callable[[int], str]) -> Differences:
    """Name the kind of each difference in parents, and of each place where one joins what the other keeps apart.

    `note` adds what is known of a mail, "" if nothing is.
    """
    found = Differences(theirs.name)
    numbers = [number for number in archive.numbers if number in ours.threads and number in theirs.threads]
    for number in numbers:
        mine, other = ours.parents[number], theirs.parents[number]
        if mine != other:
            kind = f"ours {standing(archive, number, mine)}, there {standing(archive, number, other)}"
            circle = ", in a circle of mails that name each other" if _in_circle(archive, number) else ""
            found.add("parent", f"{kind}{circle}{note(number)}", archive.id(number))
    _joins(archive, numbers, theirs, ours, "joined there, not by us", note, found)
    _joins(archive, numbers, ours, theirs, "joined by us, not there", note, found)
    return found


def standing(archive: Archive, child: int, parent: int | None) -> str:
    """Say where the parent of a mail is named in it."""
    if parent is None:
        return "none"
    facts, above = archive.facts[child], archive.facts[parent]
    name = above.message_id
    if not name:
        return "a mail without Message-ID"
    for found in (_in_headers(facts, name), _by_index(facts, above)):
        if found:
            return found
    lower = {one.lower() for one in [*facts.replied, *facts.referred]}
    if name.lower() in lower:
        return "named in another case"
    if any(name in _ancestors(archive, lost) for lost in _lost(archive, facts)):
        return "above a lost mail"
    if name in archive.text(child):
        return "named in the text"
    return "by subject" if facts.topic and facts.topic == above.topic else "not named"


def _in_circle(archive: Archive, start: int) -> bool:
    """Whether one comes back to a mail by what it, and what that one, names nearest."""
    at: int | None = start
    for _ in range(LONGEST):
        facts = archive.facts[at] if at is not None else None
        nearest = [*facts.replied[-1:], *facts.referred[-1:]][:1] if facts else []
        at = archive.owner.get(nearest[0]) if nearest else None
        if at == start:
            return True
    return False


def _in_headers(facts: Facts, name: str) -> str:
    if name in facts.replied:
        return "In-Reply-To" if len(facts.replied) == 1 else "In-Reply-To, one of several"
    if name in facts.referred:
        return "last of References" if facts.referred[-1] == name else "further back in References"
    if name in _BARE.findall(facts.in_reply_to):
        return "In-Reply-To without brackets"
    return "References without brackets" if name in _BARE.findall(facts.references) else ""


def _by_index(facts: Facts, above: Facts) -> str:
    longer = len(facts.index) > len(above.index) >= 22
    return "Thread-Index" if longer and facts.index.startswith(above.index) else ""


def _lost(archive: Archive, facts: Facts) -> list[str]:
    return [name for name in [*facts.replied, *facts.referred] if name not in archive.owner]


def _ancestors(archive: Archive, name: str) -> set[str]:
    """What mails that name `name` name before it in References."""
    found: set[str] = set()
    for number in archive.naming[name][:50]:
        referred = archive.facts[number].referred
        found.update(referred[: referred.index(name)] if name in referred else referred)
    return found


def _joins(
    archive: Archive,
    numbers: Iterable[int],
    joined: Forest,
    apart: Forest,
    what: str,
    note: Callable[[int], str],
    found: Differences,
) -> None:
    """Find for each thread of `joined` that is several in `apart` what ties these together."""
    threads: dict[object, list[int]] = defaultdict(list)
    for number in numbers:
        threads[joined.threads[number]].append(number)
    for members in threads.values():
        parts = _Parts({number: apart.threads[number] for number in members})
        for link in (_parent_links, _name_links, _index_links, _subject_links, _any_links):
            for child, other, kind in link(archive, joined, members) if parts.several else ():
                if parts.join(child, other):
                    found.add(what, kind + note(child), f"{archive.id(child)}–{archive.id(other)}")


class _Parts:
    """The parts of a thread, which grow together as reasons are found."""

    def __init__(self, of: dict[int, object]) -> None:
        self.of = dict(of)
        self.leader: dict[object, object] = {part: part for part in of.values()}
        self.count = len(self.leader)

    @property
    def several(self) -> bool:
        return self.count > 1

    def join(self, one: int, other: int) -> bool:
        """Join the parts of two mails; say whether they were not one already."""
        first, second = self._find(self.of[one]), self._find(self.of[other])
        if first == second:
            return False
        self.leader[first] = second
        self.count -= 1
        return True

    def _find(self, part: object) -> object:
        while self.leader[part] != part:
            part = self.leader[part]
        return part


Links = Iterator[tuple[int, int, str]]


def _parent_links(archive: Archive, joined: Forest, members: list[int]) -> Links:
    inside = set(members)
    for number in members:
        parent = joined.parents[number]
        if parent in inside and parent is not None:
            yield number, parent, f"its parent: {standing(archive, number, parent)}"


def _name_links(archive: Archive, joined: Forest, members: list[int]) -> Links:
    """Mails that name each other, and mails that name the same."""
    first: dict[str, int] = {}
    inside = set(members)
    for number in members:
        facts = archive.facts[number]
        for name in dict.fromkeys([*facts.replied, *facts.referred]):
            known = archive.owner.get(name)
            if known in inside and known is not None:
                yield number, known, f"a mail that is named: {_in_headers(facts, name)}"
            other = first.setdefault(name, number)
            if other != number:
                yield number, other, f"both name {_what(archive, number, name, known)}"


def _what(archive: Archive, number: int, name: str, known: int | None) -> str:
    """Say what a name is that several mails name."""
    if known is not None:
        return "a mail"
    if not _BARE.fullmatch(name):
        return "what is no id"
    words = set(_ID.sub(" ", archive.facts[number].in_reply_to).split())
    prose = any("@" not in word for word in words)
    return "an address in In-Reply-To" if prose and name in archive.facts[number].replied[:-1] else "a lost mail"


def _index_links(archive: Archive, joined: Forest, members: list[int]) -> Links:
    first: dict[bytes, int] = {}
    for number in members:
        index = archive.facts[number].index[:22]
        if len(index) == 22 and first.setdefault(index, number) != number:
            yield number, first[index], "one Thread-Index"


def _subject_links(archive: Archive, joined: Forest, members: list[int]) -> Links:
    first: dict[str, int] = {}
    for number in members:
        other = first.setdefault(archive.facts[number].topic, number)
        if other != number:
            yield number, other, "nothing but the subject"


def _any_links(archive: Archive, joined: Forest, members: list[int]) -> Links:
    for number in members[1:]:
        yield number, members[0], "unknown"
