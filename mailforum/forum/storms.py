"""What ends loops and storms when no header field tells of them any more.

Other servers take out List-Id and every mark of ours, give mail a new Message-ID, and send it back; a
member's robot answers every post and does not say that it is one. What such mail cannot hide is that the
text has been here before, and that no person answers so much (docs/decisions/0008-loops-and-storms.md).
"""

from __future__ import annotations

import hashlib
import re

from mailforum.forum.site import Incoming
from mailforum.mail import address, body, msgid, subject
from mailforum.mail.body import Body
from mailforum.mail.message import Message
from mailforum.model import Verdict
from mailforum.store import intake, posts
from mailforum.store.database import Tx

TEN_MINUTES = 600.0
SAME_WORDS = 5  # answers of one author in the same words in ten minutes
SHORTEST = 40  # bytes without blanks; "Me too!" is said by many
LONGEST = 64 * 1024  # bytes of a mail that are looked at; every other sender waits meanwhile
MOST_NAMES = 5  # of the posts that a mail says it answers, the nearest ones
TOO_MANY = "too many answers"

_TAGS = re.compile(r"(?>(?:\[[^\]]{0,80}\] *)*)")


def judge(tx: Tx, mail: Incoming) -> Verdict | None:
    """Refuse a text that the list has just had, hold what comes too fast, and note what is taken."""
    return _same_text(tx, mail) or _too_many_answers(tx, mail)


def _same_text(tx: Tx, mail: Incoming) -> Verdict | None:
    """A text that another server brings again is in a loop. Short ones are said by many, but not that often."""
    mark, short = _mark(mail.msg)
    what, within = f"text {mail.mlist.address}", mail.site.same_text
    most = min(mail.site.answers_per_ten_minutes, SAME_WORDS)
    new = not mark or intake.see_again(tx, what, mark, mail.now, within=within)
    if new or not within or not _was_passed_on(mail) or not _was_written_within(mail, within):
        return None
    if not short:
        text = "This list has just had the same text, as in a loop of mail. If you mean it, change a few words."
        return Verdict("refuse", "loop: the same text again", text, 550, "5.4.6")
    if most and not intake.pace(tx, f"short {what}", mark, mail.now, most=most, seconds=TEN_MINUTES):
        return Verdict("hold", TOO_MANY, "The same text comes again and again, so a moderator reads this first.")
    return None


def _too_many_answers(tx: Tx, mail: Incoming) -> Verdict | None:
    most = mail.site.answers_per_ten_minutes
    if not most or not _answers_others(tx, mail):
        return None
    what, author = f"answers {mail.mlist.address}", address.key(mail.sender).encode("utf-8", "replace")
    any_words = intake.pace(tx, what, author, mail.now, most=most, seconds=TEN_MINUTES)
    words = author + b" " + _mark(mail.msg)[0]
    if intake.pace(tx, what, words, mail.now, most=min(most, SAME_WORDS), seconds=TEN_MINUTES) and any_words:
        return None
    return Verdict("hold", TOO_MANY, "You have answered many posts in a short time, so a moderator reads this first.")


def _was_passed_on(mail: Incoming) -> bool:
    """Say whether a server sent it that is not its author's: what its author sends twice is no loop."""
    return address.key(mail.envelope.mail_from) != address.key(mail.sender)


def _was_written_within(mail: Incoming, seconds: float) -> bool:
    """Say whether its Date is of just now: an archive that is posted again is no loop and no storm."""
    return mail.msg.date is None or abs(mail.now - mail.msg.date) <= seconds


def _answers_others(tx: Tx, mail: Incoming) -> bool:
    """Say whether it answers, just now, what somebody else wrote. A robot does; a series of patches answers its
    own author, and what was written on a train bears the time when it was."""
    if not _was_written_within(mail, TEN_MINUTES):
        return False
    named = msgid.references(mail.msg.get("In-Reply-To"), mail.msg.get("References"), limit=MOST_NAMES)
    for name in named:
        post = posts.by_name(tx, mail.mlist.id, msgid.key(name))
        if post:
            return address.key(post.from_address) != address.key(mail.sender)
    return subject.is_reply(mail.msg.subject)


def _mark(msg: Message) -> tuple[bytes, bool]:
    """Return a hash of what stays of a post when it goes in circles, and whether that is too short to tell.

    b"" for a mail that is not looked at. Quote marks, blanks, footers and what lists put before subjects do not count.
    """
    if len(msg.body) > LONGEST:
        return b"", False
    plain = msg.body.decode("utf-8", "replace").replace("\r\n", "\n") if _is_text(msg) else ""
    written = Body(plain, ()) if plain else body.read(msg)
    text = body.unsigned(written.text).encode("utf-8", "replace").translate(None, b"> \t\n")
    files = "".join(f"\0{file.filename} {file.size}" for file in written.attachments)
    title = subject.base(_TAGS.sub("", subject.base(msg.subject), count=1)).lower()
    return hashlib.sha256(f"{title}{files}\0".encode("utf-8", "replace") + text).digest(), len(text) < SHORTEST


def _is_text(msg: Message) -> bool:
    """Say whether the body is what there is to be read, as it stands; then reading it costs nothing."""
    kind, encoding = msg.get("Content-Type").lower(), msg.get("Content-Transfer-Encoding").lower()
    plain = kind.startswith("text/plain") or not kind
    return plain and encoding in ("", "7bit", "8bit") and ("utf-8" in kind or msg.body.isascii())
