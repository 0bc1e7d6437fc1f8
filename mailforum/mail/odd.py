"""Bounces in programs' own words: from before RFC 3464, or by those who never heard of it.

A mail counts as one only if a mail system has sent it, by its sender, and says so in the subject or in
the first lines of its text that are not quoted. So an out-of-office reply is none, nor is the mail of a
person who quotes one. Every expression here is linear, and only the first part of a mail is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mailforum.errors import Refused
from mailforum.mail import address, body, failure, words
from mailforum.mail.message import Message

MAX_TEXT = 12_000  # characters
MAX_RECIPIENTS = 50

_DAEMONS = re.compile(
    r"mailer-?daemon|postmaster|mail-?daemon|mail-?system|system|daemon|bounces?|mdaemon|mmdf|smtp|smtpd|mta"
    r"|maildelivery|mail\.delivery.*|microsoftexchange[0-9a-f]*|no-?reply|mail|administrator"
)
_SUBJECTS = re.compile(
    r"undeliver|returned mail|mail returned|failed mail|mail (?:delivery )?(?:failed|failure|error)"
    r"|delivery (?:has )?fail|failure notice|delivery (?:status )?notification|delivery failure|delivery problem"
    r"|nondeliver|non-deliver|not delivered|(?:could|can)(?: ?not|n.t) (?:be )?deliver|failed (?:mail|delivery)"
    r"|permanent fail|mail delivery subsystem|returning message to sender|delivery incomplete|mail system error"
    r"|unable to deliver|bounce|user unknown|message not sent|address not found|rejected|unzustellbar"
    r"|nicht zugestellt|zustellung|non remis|non distribu|échec|no se puede entregar|no entregado|devuelto"
    r"|non recapitabile|mancata consegna|impossibile recapitare|não entregue|onbestelbaar|nie dostarczono"
    r"|niedostarcz|недоставлен|не доставлен|не удалось доставить|配信不能|送信不能|エラー|未送達|退信"
    r"|delivery delayed|delayed mail|mail delayed|still undelivered|could not send|warning"
)
_PHRASES = re.compile(
    r"this is the qmail-send program|this is the \S{1,80} program at"
    r"|this message was created automatically by mail delivery"
    r"|this is the (?:mail system|postfix program) at host|this is the mail delivery (?:agent|system|subsystem)"
    r"|following addresses had (?:permanent fatal|transient non-fatal|delivery) (?:errors|problems)"
    r"|the original message was received at|transcript of (?:the )?session follows"
    r"|delivery has failed to these recipients|delivery to the following recipients? (?:has )?failed"
    r"|could(?: not|n.t) be delivered|was(?: not|n.t) delivered"
    r"|your message (?:to \S{1,120} )?(?:could(?: not|n.t) be|has not been|was not|wasn.t|cannot be|couldn.t be) "
    r"|unable to deliver (?:your|the|this|a) (?:message|mail)"
    r"|i (?:couldn.t|was not able to|was unable to) deliver|i'm afraid i wasn't able to|failed to deliver"
    r"|sorry, (?:we were|i was|i wasn.t) |message you sent .{0,80}bounced|could not deliver"
    r"|did not reach the following|was undeliverable|is undeliverable|not deliverable|returned to sender"
    r"|cannot be delivered|undeliverable to|returned to you|permanent (?:fatal )?error|delivery failure"
    r"|delivery failed|mail delivery failed|rejected your message"
    r"|konnten? [^.\n]{0,80}nicht [^.\n]{0,40}zugestellt|konnten? nicht [^.\n]{0,60}(?:zugestellt|übermittelt)"
    r"|n'a pas (?:pu être|été)|no se (?:ha podido|pudo) entregar|non è stato possibile|não (?:foi|pôde)"
    r"|не (?:может быть|было|было) доставлен|не удалось доставить|お届けできません|送信できません"
    r"|(?:無法|无法)[^.\n]{0,20}(?:投递|传递|傳遞|送达|發送|发送)|退信|could not be sent"
)
_DELAYED = re.compile(
    r"delay|notification: warning|warning(?: - |: )?(?:could not send|message|mail)"
    r"|still (?:un|being|trying|not)|has not (?:yet )?been delivered|this is a warning message only"
    r"|you do not need to resend|will (?:be retried|keep trying|continue to)|verzögert|retardé|in the queue"
    r"|not yet been|временн"
)
_NEVER = re.compile(
    r"\A(?:out of (?:the )?office|automatic(?:al)? reply|auto(?:matic)?[ -]?(?:reply|response|responder)|away"
    r"|vacation|abwesen|automatische antwort|réponse automatique|absence|respuesta automática|fuera de"
    r"|risposta automatica|read:|gelesen:|thank you for|we (?:have )?received|ticket|\[?case|accepted:|received:"
    r"|delivered:|relayed:|delivery receipt|successful)"
)
# Behind one of these the mail itself comes back; its words are its author's.
_RETURNED = re.compile(
    r"\n[ \t]*+(?:-{2,}[^\n]{0,40}(?:original|returned|this is a copy|below this line|unsent|headers?"
    r"|message text|copy of|ursprüngliche|mensaje|message (?:header|follow)|forwarded)"
    r"|original message (?:headers?|follows|details)|return-path:|received: |reporting-mta:"
    r"|diagnostic information for|x-mailforum-|list-id:|message header)"
)
_RECIPIENTS = (
    re.compile(r"(?:^|\n)[ \t]*+<([^<>\s]{1,254})>(?=:|[ \t]*\n|[ \t]*\()"),
    re.compile(r"(?:^|\n)[ \t]{0,8}<?([^<>\s:;,()（：]{1,254}@[^<>\s:;,()）：，]{1,254})>?:?(?= on |[ \t]*(?:\n|\Z))"),
    re.compile(
        r"(?:recipients?|address|mailbox|user|to|deliver(?:ed)? to|failed|rcpt)\b[ :=\[('\"<*]{1,8}"
        r"([^\s<>\[\]()'\",;:（）：，]{1,64}@[^\s<>\[\]()'\",;:*（）：，]{1,190})"
    ),
    re.compile(r"[\s<(\[\"'（：]([^\s<>\[\]()'\",;:=（）：，]{1,64}@[^\s<>\[\]()'\",;:（）：，]{1,190}\.[a-z]{2,24})"),
)


@dataclass(frozen=True, slots=True)
class Odd:
    """What such a mail says: whom it is about (perhaps nobody), whether it is only late, and the words."""

    recipients: tuple[str, ...]
    delayed: bool
    text: str


def read(msg: Message, mail_from: str) -> Odd | None:
    """Read a bounce of no standard form; None for mail that is none. `mail_from` is the envelope sender."""
    failed, subject = msg.get("X-Failed-Recipients"), msg.subject.lower()
    if not may_be_one(msg, mail_from):
        return None
    text = _own_words(msg)
    low = text.lower()
    late = bool(_DELAYED.search(low))
    titled = bool(_SUBJECTS.search(subject))
    about = _recipients(failed, text, msg)
    if not failed and not _PHRASES.search(low[:3000]) and not (titled and (late or about or failure.speaks(low))):
        return None
    return Odd(about, bool(_DELAYED.search(subject)) or (late and not titled), _reason(text))


def _reason(text: str) -> str:
    """Return the lines that tell why; all of the text if none does by itself."""
    return "\n".join(line for line in text.split("\n") if failure.speaks(line)) or text


def may_be_one(msg: Message, mail_from: str) -> bool:
    """Say whether a mail system may have sent this about a mail: not a person, not an out-of-office robot."""
    if _NEVER.search(msg.subject.lower()) and not msg.get("X-Failed-Recipients"):
        return False
    author = msg.author
    local = address.local_of(author.address).lower() if author else ""
    return not mail_from or any(_DAEMONS.fullmatch(one) for one in (local, address.local_of(mail_from).lower()))


def _own_words(msg: Message) -> str:
    """Return the text before the returned mail, without quoted lines."""
    try:
        text = "\n" + body.read(msg).text[:MAX_TEXT]
    except Refused:
        return ""
    cut = _RETURNED.search(text.lower())
    kept = text[: cut.start()] if cut and cut.start() > 60 else text
    return "\n".join(line for line in kept.split("\n") if not line.startswith(">")).strip("\n")


def _recipients(failed: str, text: str, msg: Message) -> tuple[str, ...]:
    if failed:
        return _addresses(failed.replace(",", " ").split())
    own = {address.key(box.address) for name in ("To", "From") for box in address.mailboxes(msg.get(name))}
    for pattern in _RECIPIENTS:
        found = _addresses(match[1].strip(".<>") for match in pattern.finditer(text))
        found = tuple(one for one in found if address.key(one) not in own)
        if found:
            return found
    return ()


def _addresses(found: Iterable[str]) -> tuple[str, ...]:
    valid = []
    for one in found:
        try:
            valid.append(address.envelope(words.clean(one, 300)))
        except Refused:
            continue
        if len(valid) >= MAX_RECIPIENTS:
            break
    return tuple(dict.fromkeys(one for one in valid if "@" in one))
