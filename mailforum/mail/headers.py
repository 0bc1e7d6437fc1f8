"""The fields that make a mail a list's mail, and those that tell robots and loops.

RFC 2369 and 2919 (List-*), RFC 8058 (one-click), RFC 3834 (automatic mail), RFC 5064 (Archived-At),
MS-OXOMSG (Thread-Index).
"""

import re
from collections.abc import Collection, Iterator
from urllib.parse import quote

from mailforum.mail import address, thread_index, words
from mailforum.mail.message import Header, Message, field
from mailforum.model import MailingList

MAX_HOPS = 30  # Received fields; a mail that comes back and forth grows by two or more each time
MAX_TITLE = 200

LOOP = "X-Mailforum-Loop"

_AUTO_REPLY_FIELDS = (
    "X-Autoreply",
    "X-Autorespond",
    "X-Autoresponse",
    "X-Auto-Reply-From",
    "X-Autoreply-From",
    "X-Mail-Autoreply",
    "X-Failed-Recipients",
    "X-Cron-Env",
)
_ROBOT_FIELDS = frozenset(
    {"auto-submitted", "precedence", "x-auto-response-suppress", *(name.lower() for name in _AUTO_REPLY_FIELDS)}
)
_LOOP_FIELDS = ("List-Id", "List-Post", LOOP, "X-Loop")
_LISTED_FIELDS = frozenset({"list-unsubscribe", *(name.lower() for name in _LOOP_FIELDS)})
_DAEMONS = ("mailer-daemon", "postmaster")
_STRIPPED = frozenset(
    {
        "return-path",
        "delivered-to",
        "x-original-to",
        "bcc",
        "sender",
        "precedence",
        "archived-at",
        "errors-to",
        "return-receipt-to",
        "disposition-notification-to",
        "x-confirm-reading-to",
    }
)
_WORD = re.compile(r"(?>(?:\s|\([^()]*+\))*)([^\s;()]*)")
_BRACKETS = re.compile(r"<([^<>]*)>")
_MAX_VALUE = 2000  # characters of a mark that are looked at


def robot(msg: Message, mail_from: str) -> str:
    """Say by which sign a mail was written by a program, in a few words; "" for a person's.

    `mail_from` is the envelope sender, "" for the null sender. `Precedence: list` alone is no sign:
    people write to lists (RFC 3834 section 2).
    """
    if not mail_from:
        return "null sender"
    marked = msg.has_any(_ROBOT_FIELDS) and (_auto_submitted(msg) or _auto_fields(msg))
    return marked or _report(msg) or _daemon(msg, mail_from)


def _auto_submitted(msg: Message) -> str:
    for value in msg.get_all("Auto-Submitted"):
        if _word(value) not in ("no", ""):
            return "Auto-Submitted"
    return ""


def _auto_fields(msg: Message) -> str:
    if any(_word(value) in ("bulk", "junk") for value in msg.get_all("Precedence")):
        return "Precedence"
    if any(_suppresses(value) for value in msg.get_all("X-Auto-Response-Suppress")):
        return "X-Auto-Response-Suppress"
    for name in _AUTO_REPLY_FIELDS:
        if any(_word(value) != "no" for value in msg.get_all(name)):
            return name
    return ""


def _report(msg: Message) -> str:
    return "multipart/report" if _word(msg.get("Content-Type")) == "multipart/report" else ""


def _suppresses(value: str) -> bool:
    """Say whether replies are unwanted; people's Exchange servers do suppress receipts (DR, RN, NRN)."""
    wanted = {word.strip() for word in value[:_MAX_VALUE].lower().split(",")}
    return bool(wanted & {"all", "oof", "autoreply"})


def _daemon(msg: Message, mail_from: str) -> str:
    author = msg.author
    senders = [mail_from, author.address if author else ""]
    names = {address.local_of(sender).lower() for sender in senders}
    return next((f"from {daemon}" for daemon in _DAEMONS if daemon in names), "")


def _word(value: str) -> str:
    """Return the first word of a value such as `auto-replied (rejected); owner=x`, in lower case."""
    match = _WORD.match(value[:_MAX_VALUE])
    return match[1].lower() if match else ""


def via_list(msg: Message) -> bool:
    """Say whether a list has handled the mail before: fine for a post, never for a command (RFC 3834)."""
    return msg.has_any(_LISTED_FIELDS) or _word(msg.get("Precedence")) == "list"


def looping(msg: Message, list_ids: Collection[str]) -> str:
    """Say by which sign the mail has been through one of the lists `list_ids` (name.domain), or "".

    The signs are our own List-Id, List-Post and loop marks, and more than 30 Received fields.
    """
    own = {list_id.lower() for list_id in list_ids}
    for name in _LOOP_FIELDS:
        if any(_named(value) & own for value in msg.get_all(name)):
            return name
    return "too many hops" if msg.count("Received") > MAX_HOPS else ""


def _named(value: str) -> set[str]:
    """Return what a List-Id, List-Post or X-Loop names, as List-Ids in lower case."""
    low = value[:_MAX_VALUE].lower()
    found = _BRACKETS.findall(low) or low.split()
    return {one.strip().removeprefix("mailto:").partition("?")[0].replace("@", ".") for one in found}


def list_fields(mlist: MailingList, *, archived_at: str = "") -> list[Header]:
    """Return the fields of a list's mail, apart from List-Unsubscribe, which may be personal."""
    post = "NO" if mlist.settings.posting == "moderators" else f"<mailto:{mlist.address}>"
    fields = [
        field("List-Id", f"{_phrase(mlist.title)} <{mlist.list_id}>".strip()),
        field("List-Post", post),
        field("List-Help", f"<mailto:{mlist.sub('help')}>"),
        field("List-Owner", f"<mailto:{mlist.sub('owner')}>"),
    ]
    if mlist.settings.joining != "closed":
        fields.append(field("List-Subscribe", f"<mailto:{mlist.sub('join')}>"))
    if archived_at:
        fields.append(field("Archived-At", f"<{_uri(archived_at)}>"))
    return [*fields, field("Precedence", "list"), field(LOOP, mlist.address)]


def _phrase(title: str) -> str:
    """Return `title` as an RFC 5322 phrase; `field` encodes the words that are not ASCII."""
    # Programs take the id from the first brackets they see.
    text = words.clean(title, MAX_TITLE).translate({ord("<"): None, ord(">"): None})
    if text.isascii():
        return _quoted(text) if text else ""
    return " ".join(word if not word.isascii() or word.isalnum() else _quoted(word) for word in text.split())


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def unsubscribe_fields(mailto: str, url: str = "") -> list[Header]:
    """Return List-Unsubscribe for the address `mailto`; with `url` (https) also one-click (RFC 8058)."""
    by_mail = f"<{_uri('mailto:' + mailto.removeprefix('mailto:'))}>"
    if not url:
        return [field("List-Unsubscribe", by_mail)]
    return [
        field("List-Unsubscribe", f"<{_uri(url)}>, {by_mail}"),
        field("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    ]


def thread_fields(msg: Message, index: str, topic: str) -> list[Header]:
    """Return Thread-Index and Thread-Topic for a mail whose author's program wrote none, so that Outlook
    groups it with what it answers (MS-OXOMSG section 2.2.1). `index` is in hex; "" gives no field.

    Not where a DKIM signature says that there is no such field (RFC 6376 section 5.4.2): it would break.
    """
    if msg.has_any({"thread-index"}):
        return []
    new = {"Thread-Index": thread_index.value(index), "Thread-Topic": topic}
    taken = {name for value in msg.get_all("DKIM-Signature") for name in _signed(value)}
    wanted = [(name, value) for name, value in new.items() if value and name.lower() not in taken]
    return [field(name, value) for name, value in wanted if not msg.has_any({name.lower()})]


def _signed(signature: str) -> Iterator[str]:
    """Yield the names of the fields that a DKIM-Signature covers, in lower case."""
    for tag in signature.split(";"):
        name, _, value = tag.partition("=")
        if name.strip() == "h":
            yield from ("".join(one.split()).lower() for one in value.split(":"))


def _uri(text: str) -> str:
    """Return `text` with everything percent-encoded that could end a URI in angle brackets."""
    return quote(text, safe="!#$%&'()*+,-./:;=?@_~[]")


def strip_for_list(msg: Message) -> Message:
    """Return the mail without the fields that belong to its way here, or that a list sets itself.

    X-Mailforum-Loop stays: two lists that are subscribed to each other take out each other's List-Id,
    and would know their own mail by nothing else.
    """
    return msg.without(*{header.name for header in msg.headers if _is_stripped(header.name.lower())})


def _is_stripped(name: str) -> bool:
    ours = name.startswith("x-mailforum-") and name != LOOP.lower()
    return ours or name in _STRIPPED or name.startswith("list-")
