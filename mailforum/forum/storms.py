"""What ends loops and storms when no header field tells of them any more.

Other servers take out List-Id and every mark of ours, give mail a new Message-ID, and send it back; a
member's robot answers every post and does not say that it is one. What such mail cannot hide is that the
text has been here before, and that no person writes so much (docs/decisions/0008-loops-and-storms.md).
"""

from __future__ import annotations

import hashlib
import re

from mailforum.forum.site import Incoming
from mailforum.mail import address, body, subject
from mailforum.mail.body import Body
from mailforum.mail.message import Message
from mailforum.model import Verdict
from mailforum.store import intake
from mailforum.store.database import Tx

TEN_MINUTES = 600.0
SHORTEST = 40  # bytes without blanks; "Me too!" is said by many
LONGEST = 64 * 1024  # bytes of a mail that are looked at; every other sender waits meanwhile
TOO_MANY = "too many posts"

_TAGS = re.compile(r"(?:\[[^\]]{0,80}\] *)*+")


def judge(tx: Tx, mail: Incoming) -> Verdict | None:
    """Refuse a text that the list has just had, hold what its author writes too fast, and note what is taken."""
    mark, within = _mark(mail.msg), mail.site.same_text
    if mark and not intake.see_again(tx, f"text {mail.mlist.address}", mark, mail.now, within=within) and within:
        text = "This list has just had the same text, as in a loop of mail. If you mean it, change a few words."
        return Verdict("refuse", "loop: the same text again", text, 550, "5.4.6")
    most = mail.site.posts_per_ten_minutes
    author = address.key(mail.sender).encode("utf-8", "replace")
    if most and not intake.pace(tx, f"posts {mail.mlist.address}", author, mail.now, most=most, seconds=TEN_MINUTES):
        return Verdict("hold", TOO_MANY, "You have sent many posts in a short time, so a moderator reads this first.")
    return None


def _mark(msg: Message) -> bytes:
    """Return a hash of what stays of a post when it goes in circles; b"" for one that is too short to tell.

    Quote marks, blanks, footers and what lists put before subjects do not count.
    """
    if len(msg.body) > LONGEST:
        return b""
    plain = msg.body.decode("utf-8", "replace").replace("\r\n", "\n") if _is_text(msg) else ""
    written = Body(plain, ()) if plain else body.read(msg)
    text = body.unsigned(written.text).encode("utf-8", "replace").translate(None, b"> \t\n")
    if len(text) < SHORTEST:
        return b""
    files = "".join(f"\0{file.filename} {file.size}" for file in written.attachments)
    title = subject.base(_TAGS.sub("", subject.base(msg.subject), count=1)).lower()
    return hashlib.sha256(f"{title}{files}\0".encode("utf-8", "replace") + text).digest()


def _is_text(msg: Message) -> bool:
    """Say whether the body is what there is to be read, as it stands; then reading it costs nothing."""
    kind, encoding = msg.get("Content-Type").lower(), msg.get("Content-Transfer-Encoding").lower()
    plain = kind.startswith("text/plain") or not kind
    return plain and encoding in ("", "7bit", "8bit") and ("utf-8" in kind or msg.body.isascii())
