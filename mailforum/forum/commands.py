"""Commands sent by mail: `subscribe`, `leave`, `set digest daily`, one a line (docs/commands.md).

The subject is read first, then the body up to a signature, `end`, `quit` or `stop`. What people know
from other list managers works. Nothing is changed here: whatever changes something is asked back
(forum/members.py), and the answer quotes the commands only, never the mail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from string import ascii_lowercase

from mailforum.errors import Refused
from mailforum.forum import members, notices
from mailforum.forum.site import Incoming
from mailforum.mail import address, body, msgid, subject
from mailforum.mail.message import Message
from mailforum.model import MailingList, Mode, Outcome
from mailforum.store import lists
from mailforum.store.database import Tx

MAX_LINES = 10
MAX_LINE = 200
MAX_BARE = 64 * 1024  # bytes of a mail in which one word is looked for; every other sender waits meanwhile
LAST_LINES = {"end", "quit", "stop", "--"}
JOIN_WORDS = {"subscribe", "join", "sub"}
LEAVE_WORDS = {"unsubscribe", "leave", "signoff", "sig", "unsub"}
# Small letters only; all else is a blank, or a line break where a line or an HTML tag or character ends.
_PLAIN = bytes(
    10 if byte in b"\n>;" else byte if chr(byte) in ascii_lowercase else 32 for byte in bytes(range(256)).lower()
)
# Such a word at the beginning of a line; or a part in which none can be seen.
_WORD_OR_BASE64 = re.compile(
    rb"\n *+(?:%s|content transfer encoding[ \n]+base)(?![a-z])" % "|".join(sorted(JOIN_WORDS | LEAVE_WORDS)).encode()
)


@dataclass(frozen=True, slots=True)
class Said:
    """One command: its words in lower case, and the line as it was written (shortened)."""

    line: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """What a verb did. A `quiet` one has sent a mail of its own; the others are worded by notice/results."""

    outcome: str
    quiet: bool = False
    detail: str = ""


Verb = Callable[[Tx, Incoming, MailingList | None, tuple[str, ...]], Done]


def obey(tx: Tx, mail: Incoming) -> Outcome:
    """Carry out the commands in a mail, and answer with what came of each."""
    said = list(islice(read(mail.msg), MAX_LINES))
    if not said or said[0].words[0] not in VERBS:
        return _not_understood(tx, mail)
    results = []
    for command in said:
        done = _carry_out(tx, mail, command)
        results.append((command.line, done))
        if done.outcome == "unknown":
            break
    if not all(done.quiet for _, done in results):
        outcomes = [[line, done.outcome, done.detail] for line, done in results]
        notices.answer(tx, mail, "notice/results", outcomes=outcomes)
    return mail.done("commands: " + ", ".join(done.outcome for _, done in results))


def _not_understood(tx: Tx, mail: Incoming) -> Outcome:
    """Answer with the help; to somebody who has answered a digest, with how to answer a post in it."""
    named = msgid.references(mail.msg.get("In-Reply-To"), mail.msg.get("References"))
    if mail.route.mlist and any(name.startswith("<digest.") for name in named):
        notices.answer(tx, mail, "notice/digest-reply")
        return mail.done("reply to a digest")
    return send_help(tx, mail)


def _carry_out(tx: Tx, mail: Incoming, command: Said) -> Done:
    verb = VERBS.get(command.words[0])
    if verb is None:
        return Done("unknown")
    named, words = _named(tx, mail, command.words[1:])
    try:
        return verb(tx, mail, named or mail.route.mlist, words)
    except Refused as refused:
        return Done("refused", detail=refused.text)


def _named(tx: Tx, mail: Incoming, words: tuple[str, ...]) -> tuple[MailingList | None, tuple[str, ...]]:
    """Take the list that a command names out of its words. A name behind it is LISTSERV's, and passed over."""
    domain = address.domain_of(mail.route.rcpt) or mail.site.domain
    for index, word in enumerate(words):
        mlist = None if word in _SETTINGS else lists.by_address(tx, word if "@" in word else f"{word}@{domain}")
        if mlist:
            return mlist, words[:index] + tuple(other for other in words[index + 1 :] if other in _SETTINGS)
    return None, words


def read(msg: Message) -> Iterator[Said]:
    """Yield the commands of a mail: its subject if that is one as a whole, then its lines."""
    first = _said(subject.base(msg.subject))
    is_command = first is not None and len(first.words) - 1 <= MOST_WORDS.get(first.words[0], -1)
    if first and is_command:
        yield first
    for line in body.read(msg).text.splitlines():
        command = _said(line)
        if command is None:
            continue
        if command.words[0] in LAST_LINES:
            return
        if is_command and command.words[0] not in VERBS:
            return  # whatever else a person wrote below a command in the subject
        yield command


def _said(line: str) -> Said | None:
    text = line.lstrip("> \t").strip()[:MAX_LINE]
    words = tuple(filter(None, (word.strip(".,;!") for word in text.lower().split())))
    return Said(text, words) if words else None


def bare(msg: Message) -> tuple[str, ...]:
    """Return the words of a mail to the list itself that is nothing but `subscribe` or `unsubscribe`.

    That is one with such a subject, or one in which a person wrote only that line; else ().
    """
    title = _said(subject.base(msg.subject))
    if title and _is_bare(title) and not subject.is_reply(msg.subject):
        return title.words
    return _only_line(msg) if len(msg.body) <= MAX_BARE and _may_say_it(msg) else ()


def _may_say_it(msg: Message) -> bool:
    """Say whether the body has to be read at all: nearly every post is seen at a glance to be no command."""
    encoded = msg.get("Content-Transfer-Encoding").lower().startswith("base64")
    return encoded or _WORD_OR_BASE64.search(b"\n" + msg.body.translate(_PLAIN)) is not None


def _only_line(msg: Message) -> tuple[str, ...]:
    """Return the words of the one line that a person wrote, if it is a bare command."""
    blocks = (block.lines for block in body.fold_quotes(body.read(msg).text) if block.kind == "text")
    own = list(islice((said for lines in blocks for said in map(_said, lines) if said), 2))
    return own[0].words if len(own) == 1 and _is_bare(own[0]) else ()


def obey_bare(tx: Tx, mail: Incoming, words: tuple[str, ...]) -> Outcome:
    """Carry out what `bare` has found. Raises Refused as joining does."""
    done = VERBS[words[0]](tx, mail, mail.mlist, tuple(word for word in words[1:] if word == "digest"))
    return mail.done(f"command: {done.outcome}")


def _is_bare(said: Said) -> bool:
    first, *rest = said.words
    return first in JOIN_WORDS | LEAVE_WORDS and set(rest) <= {"digest", "me", "please"}


def send_help(tx: Tx, mail: Incoming) -> Outcome:
    """Answer with the list of commands and addresses."""
    notices.answer(tx, mail, "notice/help")
    return mail.done("help")


def send_info(tx: Tx, mail: Incoming) -> Outcome:
    """Answer with what the list is about."""
    notices.answer(tx, mail, "notice/info")
    return mail.done("info")


def _help(tx: Tx, mail: Incoming, mlist: MailingList | None, words: tuple[str, ...]) -> Done:
    send_help(tx, mail)
    return Done("help", quiet=True)


def _info(tx: Tx, mail: Incoming, mlist: MailingList | None, words: tuple[str, ...]) -> Done:
    if mlist is None:
        return Done("which-list")
    notices.answer(tx, mail, "notice/info", about=mlist)
    return Done("info", quiet=True)


def _lists(tx: Tx, mail: Incoming, mlist: MailingList | None, words: tuple[str, ...]) -> Done:
    rows = [[each.address, each.title] for each in lists.every(tx) if each.settings.listed]
    notices.answer(tx, mail, "notice/lists", rows=rows)
    return Done("lists", quiet=True)


def _which(tx: Tx, mail: Incoming, mlist: MailingList | None, words: tuple[str, ...]) -> Done:
    memberships = lists.memberships(tx, address.key(mail.sender))
    rows = [[list_address, member.mode, member.status] for list_address, member in memberships]
    notices.answer(tx, mail, "notice/settings", rows=rows)
    return Done("which", quiet=True)


def _join(tx: Tx, mail: Incoming, mlist: MailingList | None, words: tuple[str, ...]) -> Done:
    if mlist is None or not set(words) <= _SETTINGS:
        return Done("no-list" if words else "which-list")
    members.join(tx, mail, mlist, Mode.DIGEST if "digest" in words else Mode.EACH)
    return Done("asked", quiet=True)


def _leave(tx: Tx, mail: Incoming, mlist: MailingList | None, words: tuple[str, ...]) -> Done:
    if mlist is None or words:
        return Done("no-list" if words else "which-list")
    members.leave(tx, mail, mlist)
    return Done("asked", quiet=True)


def _confirm(tx: Tx, mail: Incoming, mlist: MailingList | None, words: tuple[str, ...]) -> Done:
    if not words:
        return Done("no-token")
    members.confirm_by_token(tx, mail.site, words[0], mail.now)
    return Done("confirmed", quiet=True)


def _set(tx: Tx, mail: Incoming, mlist: MailingList | None, words: tuple[str, ...]) -> Done:
    if words in ((), ("show",)):
        return _which(tx, mail, mlist, words)
    setting = SETTINGS.get(words)
    if setting is None:
        return Done("unknown-setting")
    if mlist is None:
        return Done("which-list")
    if setting == Mode.DIGEST and not mlist.settings.digest:
        return Done("no-digest")
    members.change(tx, mail, mlist, setting)
    return Done("asked", quiet=True)


SETTINGS: dict[tuple[str, ...], str] = {
    ("digest",): Mode.DIGEST,
    ("digest", "on"): Mode.DIGEST,
    ("digest", "daily"): Mode.DIGEST,
    ("digest", "off"): Mode.EACH,
    ("nodigest",): Mode.EACH,
    ("each",): Mode.EACH,
    ("mail", "on"): Mode.EACH,
    ("mail", "off"): Mode.NONE,
    ("mail", "digest"): Mode.DIGEST,
    ("nomail",): Mode.NONE,
    ("myposts", "on"): members.OWN_POSTS,
    ("myposts", "off"): members.NO_OWN_POSTS,
}
_SETTINGS = {word for words in SETTINGS for word in words}


def _short(word: str) -> Verb:
    """The verb `digest` is short for `set digest`."""

    def change(tx: Tx, mail: Incoming, mlist: MailingList | None, words: tuple[str, ...]) -> Done:
        return _set(tx, mail, mlist, (word, *words))

    return change


VERBS: dict[str, Verb] = {
    "help": _help,
    "info": _info,
    "lists": _lists,
    "which": _which,
    **dict.fromkeys(JOIN_WORDS, _join),
    **dict.fromkeys(LEAVE_WORDS, _leave),
    **dict.fromkeys(("confirm", "ok", "accept"), _confirm),
    "set": _set,
    **{word: _short(word) for word in ("digest", "nodigest", "nomail")},
}
# A subject with more words behind the verb than this is a subject, and no command: `Leave request for Friday`.
MOST_WORDS = dict.fromkeys(VERBS, 1) | dict.fromkeys(JOIN_WORDS, 4) | {"set": 3, "lists": 0, "which": 0}
