"""What a mail says about its place among others: the mails it names, its subject, whether it quotes.

Pure: whether a named mail is known, and what follows from that, is for forum/threads.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from mailforum.errors import Refused
from mailforum.mail import body, msgid, quoted, subject, thread_index
from mailforum.mail.message import Message
from mailforum.model import How

MOST_NAMES = 50  # of the header
MOST_INDICES = 10  # among them: they are long
INDEX = "ti:"  # before a Thread-Index that is a name
_PEOPLE = ("From", "To", "Cc", "Reply-To", "Sender")
_ADDRESS = re.compile(r"""[^\s<>"'(),;:]++""")
_MAX_PEOPLE = 20_000  # characters of them that are looked at
_DIGEST = re.compile(r"\bdigest,? vol\.? ?\d+,? issue \d+|\bdigest \d+, \d+ new posts?\Z")  # Mailman's, and our own
_OURS = ("<digest.", "<notice.")
# One of these is in every text that names something.
_MARKS = re.compile(rb"message-id|news:|base64|#\d|<[^\s<>@]{1,200}@")
_TEXT_AT = 4 * quoted.MAX_TEXT  # bytes of the body in which the text that is looked at stands


class Named(NamedTuple):
    """A mail that another names, and where. `name` is `<left@right>` in the form that is compared
    (`msgid.key`), or `ti:` and a Thread-Index in hex."""

    name: str
    how: How


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a mail says about its place.

    `index` is its own Thread-Index in hex, "" for none. `names`: the mails it names, nearest first,
    those of its text (How.TEXT) last, each once, never itself. `labels` are those of our footers in
    its text, without their `#`. `base`, `was` and `marked` are as in `subject.Topic`; for a reply `was` may
    be its Thread-Topic. `quotes` says
    whether it quotes anything, and is true where nobody needs to know: for replies, and for mails
    without names.
    """

    index: str
    names: tuple[Named, ...]
    labels: tuple[str, ...]
    base: str
    was: str
    marked: bool
    quotes: bool


def read(msg: Message, own: str, *, prefix: str = "", under: str = "", address: str = "") -> Evidence:
    """Return what `msg`, which has the Message-ID `own`, says about its place; never raises; linear.

    `prefix` and `address` are those of the list: without the address its footers are not recognised.
    `under` is the name of the post that our own reply address names; it is believed before anything else.
    """
    index = thread_index.read(msg.get("Thread-Index"))
    said = list(_header_names(msg, index, under))
    digest = any(_is_ours(one.name, address) for one in said)
    topic = _topic(msg, prefix, digest)
    names = msgid.nearest(list(_others(said, own, address)), MOST_NAMES)
    if not all(one.how.is_weak for one in names):
        return Evidence(index, names, (), *topic, quotes=topic.marked or body.quotes(_text(msg)))
    found = quoted.read(_text(msg), address, digest=digest) if _may_name(msg) else quoted.NOTHING
    weak = (Named(msgid.key(one), How.TEXT) for one in found.ids)
    quotes = not names or topic.marked or body.quotes(_text(msg))
    return Evidence(index, (*names, *_others(weak, own, address)), found.labels, *topic, quotes=quotes)


def _topic(msg: Message, prefix: str, digest: bool) -> subject.Topic:
    """Take the subject apart. That of an answer to a digest says nothing. What a reply was about before is also
    in Outlook's Thread-Topic, where gateways have put their marks before the subject."""
    topic = subject.topic(msg.subject, prefix)
    if digest or _DIGEST.search(topic.base):
        return topic._replace(base="")
    if not topic.marked or topic.was or not msg.get("Thread-Topic"):
        return topic
    before = subject.topic(msg.text("Thread-Topic"), prefix).base
    return topic if before == topic.base else topic._replace(was=before)


def _header_names(msg: Message, index: str, under: str) -> Iterator[Named]:
    """Yield what the header names, nearest first (RFC 5322 section 3.6.4)."""
    if under:
        yield Named(msgid.key(under), How.TOKEN)
    people = _people(msg)
    for how, field in ((How.IN_REPLY_TO, "In-Reply-To"), (How.REFERENCES, "References")):
        for value in reversed(msg.get_all(field)):
            ids = (msgid.key(one) for one in reversed(msgid.ids(value, every=how is How.REFERENCES)))
            yield from (Named(one, how) for one in ids if how is How.REFERENCES or one[1:-1] not in people)
    yield from (
        Named(INDEX + before, How.THREAD_INDEX) for before in msgid.nearest(thread_index.ancestors(index), MOST_INDICES)
    )


def _people(msg: Message) -> frozenset[str]:
    """Return the addresses that a mail with In-Reply-To bears: old programs write there whom they answer."""
    if not msg.get("In-Reply-To"):
        return frozenset()
    people = " ".join(msg.get(field)[:_MAX_PEOPLE] for field in _PEOPLE)
    return frozenset(_ADDRESS.findall(people.lower()))


def _others(names: Iterable[Named], own: str, address: str) -> Iterator[Named]:
    """Yield each name once, not the mail's own, and not those of digests and notices of ours: answers to
    the same digest do not belong together."""
    seen = {msgid.key(own)}
    for one in names:
        if one.name not in seen and not _is_ours(one.name, address):
            seen.add(one.name)
            yield one


def _is_ours(name: str, address: str) -> bool:
    """Say whether a mail is a digest or a notice of the list with this address."""
    return bool(address) and name.startswith(_OURS) and name.endswith(f"@{address.partition('@')[2]}>")


def _text(msg: Message) -> str:
    try:
        return body.read(msg).text[: quoted.MAX_TEXT]
    except Refused:
        return ""  # nested deeper than anybody writes


def _may_name(msg: Message) -> bool:
    """Say whether the text is worth being taken out of the mail: most name nothing."""
    return bool(_MARKS.search(msg.body[:_TEXT_AT].lower()))
