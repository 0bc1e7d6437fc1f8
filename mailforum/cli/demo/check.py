"""Has everything arrived as it should? Compares what was due with what lies in the Maildir.

Nothing of what the list decided is asked here: who is due what comes from the story, and what was
sent is read from the mails.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mailforum.cli.demo import story
from mailforum.cli.demo.post_office import Letter
from mailforum.cli.demo.story import Person
from mailforum.mail import body, message, subject
from mailforum.mail.message import Message
from mailforum.model import Post

_LABEL = re.compile(r"^#(\d+\.\d+) ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, and whether it is as it should be."""

    good: bool
    text: str


@dataclass(slots=True)
class Due:
    """What has to arrive: (address, Message-ID of a post, or `digest` or `notice`) and how often.

    `posts` are the mails that became posts, by Message-ID, and `parents` whom each of them answers;
    `odd` are the answers in SMTP that should have been others.
    """

    letters: Counter[tuple[str, str]] = field(default_factory=Counter)
    posts: dict[str, Message] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)
    odd: list[str] = field(default_factory=list)

    def add(self, what: str, people: Iterable[Person]) -> None:
        """Note one mail that is due to each of `people`."""
        self.letters.update((person.address, what) for person in people)


def findings(due: Due, letters: Sequence[Letter], posts: Sequence[Post]) -> Iterator[Finding]:
    """Yield what was found; it is all as it should be if every finding is good."""
    arrived = Counter((letter.to, _what(letter)) for letter in letters)
    yield _answers(due)
    for person in story.PEOPLE:
        yield _mailbox(person, due.letters, arrived)
    yield _nobody_else(arrived)
    yield _tree(due, posts)
    yield _own_words(due, [letter for letter in letters if letter.kind == "post"])
    yield _digest([letter for letter in letters if letter.kind == "digest"], posts)


def _answers(due: Due) -> Finding:
    if due.odd:
        return Finding(False, f"answered otherwise than they should be: {'; '.join(due.odd)}")
    return Finding(True, f"{len(due.posts)} mails became posts; the robot's was put away, the stranger's refused")


def _what(letter: Letter) -> str:
    return letter.msg.message_id if letter.kind == "post" else letter.kind


def _mailbox(person: Person, due: Counter[tuple[str, str]], arrived: Counter[tuple[str, str]]) -> Finding:
    wanted = Counter({what: count for (to, what), count in due.items() if to == person.address})
    got = Counter({what: count for (to, what), count in arrived.items() if to == person.address})
    problems = [f"missing: {_listed(wanted - got)}"] if wanted - got else []
    problems += [f"too much: {_listed(got - wanted)}"] if got - wanted else []
    if problems:
        return Finding(False, f"{person.name}: {'; '.join(problems)}")
    singles = sum(count for what, count in got.items() if what.startswith("<"))
    digest = ", the digest" if got["digest"] else ""
    return Finding(True, f"{person.name}: {singles} posts{digest}, {got['notice']} notices; each once, and no other")


def _listed(mails: Counter[str]) -> str:
    return ", ".join(f"{what}{f' ({count} times)' if count > 1 else ''}" for what, count in sorted(mails.items()))


def _nobody_else(arrived: Counter[tuple[str, str]]) -> Finding:
    members = {person.address for person in story.PEOPLE}
    others = sorted({to for to, _ in arrived} - members)
    if others:
        return Finding(False, f"mail went to {', '.join(others)}")
    return Finding(True, "nobody else got any mail")


def _tree(due: Due, posts: Sequence[Post]) -> Finding:
    found = {post.message_id: post.parent for post in posts}
    wrong = [name for name in due.parents.keys() | found.keys() if found.get(name, "") != due.parents.get(name, "")]
    if wrong:
        return Finding(False, f"not where they belong in the tree: {', '.join(sorted(wrong))}")
    threads = {post.thread for post in posts}
    roots = [post for post in posts if post.parent is None]
    if len(threads) != len(roots):
        return Finding(False, f"{len(roots)} discussions, but {len(threads)} threads")
    return Finding(True, f"{len(posts)} posts stand in {len(threads)} threads, each below the one that it answers")


def _own_words(due: Due, letters: Iterable[Letter]) -> Finding:
    """Every copy of a post must be what its author wrote, byte by byte, but for prefix and footer."""
    problems, count = [], 0
    for letter in letters:
        count += 1
        original = due.posts.get(letter.msg.message_id)
        problem = changed(original, letter.msg) if original else "is no post of the story"
        if problem:
            problems.append(f"{letter.path.name} {problem}")
    if problems:
        return Finding(False, f"changed on the way: {'; '.join(problems)}")
    return Finding(True, f"{count} copies of posts: every byte of the author intact, but for prefix and footer")


def changed(original: Message, sent: Message) -> str:
    """Say what the list did to a post that it must not do; "" if nothing."""
    whole = sent.to_bytes()
    for header in original.headers:
        if header.name.lower() != "subject" and header.raw not in whole:
            return f"has another {header.name}"
    if subject.base(sent.subject, story.PREFIX) != subject.base(original.subject, story.PREFIX):
        return "has another subject"
    if sent.subject.count(story.PREFIX) != 1:
        return f"does not have {story.PREFIX} in its subject once"
    if _content(original) not in sent.body:
        return "has another text"
    return "" if story.LEAVE.encode() in sent.body else "has no footer"


def _content(msg: Message) -> bytes:
    """Return the body without what a footer goes before: its last line ends, a multipart/mixed's last line."""
    content = msg.body.rstrip(b"\r\n")
    if msg.get("Content-Type").lower().startswith("multipart/mixed"):
        content = content.rpartition(b"\r\n--")[0]
    return content


def _digest(letters: Sequence[Letter], posts: Sequence[Post]) -> Finding:
    wanted = Counter(post.label for post in posts)
    for letter in letters:
        if Counter(_LABEL.findall(digest_text(letter))) != wanted:
            return Finding(False, f"the digest of {letter.to} does not hold every post once")
    if not letters:
        return Finding(False, "no digest has arrived")
    return Finding(True, f"the digest holds all {len(posts)} posts, each once")


def digest_text(letter: Letter) -> str:
    """Return the plain text of a digest."""
    return body.read(letter.msg).text


def parse(raw: bytes) -> Message:
    """Read a mail of the story."""
    return message.parse(raw)
