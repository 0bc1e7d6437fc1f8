"""Commands sent by mail: `subscribe`, `leave`, `set digest daily`, one a line (docs/commands.md).

The subject is read first, then the body up to a signature, `end`, `quit` or `stop`. What people know
from other list managers works. Nothing is changed here: whatever changes something is asked back
(forum/members.py), and the answer quotes the commands only, never the mail.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from mailforum.errors import Refused
from mailforum.forum import members, notices
from mailforum.forum.site import Incoming
from mailforum.mail import address, body, subject
from mailforum.mail.message import Message
from mailforum.model import MailingList, Mode, Outcome
from mailforum.store import lists
from mailforum.store.database import Tx

MAX_LINES = 10
MAX_LINE = 200
MAX_BARE = 256 * 1024  # bytes of a mail in which one word is looked for; every other sender waits meanwhile
LAST_LINES = {"end", "quit", "stop", "--"}
JOIN_WORDS = {"subscribe", "join", "sub"}
LEAVE_WORDS = {"unsubscribe", "leave", "signoff", "sig", "unsub"}


@dataclass(frozen=True, slots=True)
class Said:
    """One command: its words in lower case, and the line as it was written (shortened)."""

    line: str
    words: tuple[str, ...]


# What a verb did. `quiet` ones have sent a mail of their own already; the others are listed in
# the text notice/results, which words them.
@dataclass(frozen=True, slots=True)
class Done:
    """The outcome of one command, named as the templates know it."""

    outcome: str
    quiet: bool = False
    detail: str = ""


Verb = Callable[[Tx, Incoming, MailingList | None, tuple[str, ...]], Done]


def obey(tx: Tx, mail: Incoming) -> Outcome:
    """Carry out the commands in a mail, and answer with what came of each."""
    said = list(islice(read(mail.msg), MAX_LINES))
    known = [command for command in said if command.words[0] in VERBS]
    if not known:
        return send_help(tx, mail)
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


def _carry_out(tx: Tx, mail: Incoming, command: Said) -> Done:
    verb = VERBS.get(command.words[0])
    if verb is None:
        return Done("unknown")
    mlist, words = mail.route.mlist, command.words[1:]
    if mlist is None and words:
        mlist = _named(tx, mail, words[0])
        words = words[1:] if mlist else words
    try:
        return verb(tx, mail, mlist, words)
    except Refused as refused:
        return Done("refused", detail=refused.text)


def _named(tx: Tx, mail: Incoming, name: str) -> MailingList | None:
    """The list that a command to the site's own address is about."""
    domain = mail.site.domain
    return lists.by_address(tx, name if "@" in name else f"{name}@{domain}")


def read(msg: Message) -> Iterator[Said]:
    """Yield the commands of a mail: its subject if that is one, then its lines."""
    first = _said(subject.base(msg.subject))
    if first and first.words[0] in VERBS:
        yield first
    for line in body.read(msg).text.splitlines():
        command = _said(line)
        if command is None:
            continue
        if command.words[0] in LAST_LINES:
            return
        if first and first.words[0] in VERBS and command.words[0] not in VERBS:
            return  # whatever else a person wrote below a command in the subject
        yield command


def _said(line: str) -> Said | None:
    text = line.lstrip("> \t").strip()[:MAX_LINE]
    words = tuple(text.lower().split())
    return Said(text, words) if words else None


def is_bare_join(msg: Message) -> bool:
    """Say whether a mail to the list itself is nothing but the word `subscribe`."""
    return _is_bare(msg, JOIN_WORDS)


def is_bare_leave(msg: Message) -> bool:
    """Say whether a mail to the list itself is nothing but the word `unsubscribe`."""
    return _is_bare(msg, LEAVE_WORDS)


def _is_bare(msg: Message, words: set[str]) -> bool:
    """In the subject with nothing but a signature below, or as the only line a person wrote."""
    title = subject.base(msg.subject).strip().lower()
    if (title and title not in words and not subject.is_reply(msg.subject)) or len(msg.body) > MAX_BARE:
        return False
    own = [
        line.strip().lower()
        for block in body.fold_quotes(body.read(msg).text)
        if block.kind == "text"
        for line in block.lines
        if line.strip()
    ]
    return (title in words and (not own or own[0] in words)) or (len(own) == 1 and own[0] in words)


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
    if mlist is None:
        return Done("which-list")
    members.join(tx, mail, mlist, Mode.DIGEST if "digest" in words else Mode.EACH)
    return Done("asked", quiet=True)


def _leave(tx: Tx, mail: Incoming, mlist: MailingList | None, words: tuple[str, ...]) -> Done:
    if mlist is None:
        return Done("which-list")
    members.leave(tx, mail, mlist)
    return Done("asked", quiet=True)


def _confirm(tx: Tx, mail: Incoming, mlist: MailingList | None, words: tuple[str, ...]) -> Done:
    if not words:
        return Done("no-token")
    members.confirm_by_token(tx, mail.site, words[0], mail.now)
    return Done("confirmed", quiet=True)


def _set(tx: Tx, mail: Incoming, mlist: MailingList | None, words: tuple[str, ...]) -> Done:
    if words[:1] in ((), ("show",)):
        return _which(tx, mail, mlist, words)
    if mlist is None:
        return Done("which-list")
    mode = MODES.get(words[:2]) or MODES.get(words[:1])
    if mode is None:
        return Done("unknown-setting")
    members.change_mode(tx, mail, mlist, mode)
    return Done("asked", quiet=True)


MODES: dict[tuple[str, ...], Mode] = {
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
}


def _mode(mode: Mode) -> Verb:
    def change(tx: Tx, mail: Incoming, mlist: MailingList | None, words: tuple[str, ...]) -> Done:
        if mlist is None:
            return Done("which-list")
        members.change_mode(tx, mail, mlist, mode)
        return Done("asked", quiet=True)

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
    "digest": _mode(Mode.DIGEST),
    "nodigest": _mode(Mode.EACH),
    "nomail": _mode(Mode.NONE),
}
