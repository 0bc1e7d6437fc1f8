"""Archives as they really are: made up from a seed, in the hands of a dozen mail programs.

    for letter in letters(5000, seed=7):        # the same seed, the same mails
        letter.raw                              # CRLF, as SMTP would have brought it
    mbox(letters(5000))                         # mboxo, as old archives are

There are threads with late, missing and cut References, mails without an id or a date, encodings of
three decades, attachments, signatures, and dirt that mail programs have really left in headers.
"""

from __future__ import annotations

import base64
import quopri
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from email.header import Header as EncodedWords
from email.utils import format_datetime
from random import Random

START = datetime(2003, 2, 17, 8, 0, tzinfo=UTC)

PEOPLE = [
    ("Ada Lovell", "ada@example.org"),
    ("Bob Stone", "bob.stone@example.com"),
    ("Zoë Müller", "zoe@mail.example.net"),
    ("Łukasz Żak", "lukasz@example.org"),
    ("山田 太郎", "taro@example.jp"),
    ("Иван Петров", "ivan@mail.example.com"),
    ("O'Brien, Pat", "pat+lists@example.ie"),
    ("Jean-Luc Côté", "jl.cote@example.ca"),
    ("dev-null", "d@example.org"),
    ("", "plain@example.net"),
]
TOPICS = [
    "Budget for next year",
    "Meeting on Thursday",
    "Build fails on big-endian machines",
    "Größe der Anhänge",
    "会議の議事録",
    "Протокол заседания",
    "[pmo] Roadmap, second draft",
    "question",
    "Élection du bureau",
    "Re-organisation of the archive",
]
MARKERS = ["Re: ", "Re: ", "Re: ", "AW: ", "RE: ", "SV: ", "Re[2]: ", "Antw: ", "回复：", "Re: Re: "]
_WORDS = (  # noqa: SIM905  a list of words is easier to read as a text
    "the list we should have a look at this before the meeting because nobody has answered yet and I think "
    "that patch number seven breaks what version two of the protocol says about folded lines From what I saw "
    "it works for me with the current release thanks for the quick answer please find my comments below"
).split()
_FOREIGN = {
    "utf-8": "Grüße aus Köln – “schön”, nicht wahr? Пока! 今日は",
    "iso-8859-1": "Grüße aus Köln, ça va déjà mieux",
    "windows-1252": "He said “no” – and that’s that…",
    "iso-8859-2": "Łódź i Kraków, zażółć gęślą jaźń",
    "koi8-r": "Спасибо за быстрый ответ",
    "iso-2022-jp": "議事録を送ります。よろしく。",
    "big5": "謝謝你的回覆",
}


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail of the archive, what it was made to be, and when its mailbox received it."""

    raw: bytes
    msgid: str
    subject: str
    answers: Letter | None
    references: tuple[str, ...]
    at: datetime


@dataclass(slots=True)
class Draft:
    """A mail that is being written; `index` is the Thread-Index that Outlook gives it (else one that leads nowhere)."""

    random: Random
    at: datetime
    name: str
    address: str
    msgid: str
    subject: str
    references: tuple[str, ...]
    headers: list[tuple[str, str | bytes]] = field(default_factory=list)
    body: bytes = b""
    index: bytes = b""


def letters(count: int, seed: int = 1) -> Iterator[Letter]:
    """Yield `count` mails, in the order in which they arrived."""
    random = Random(seed)
    recent: list[Letter] = []
    at = START
    for number in range(count):
        at += timedelta(seconds=random.randrange(60, 6 * 3600))
        letter = _copy(random, recent) if recent and random.random() < 0.01 else _letter(random, recent, number, at)
        recent = [*recent[-60:], letter]
        yield letter


def _copy(random: Random, recent: list[Letter]) -> Letter:
    """The same mail again: to the byte, or as Outlook's "resend" does it, one id with another text."""
    letter = random.choice(recent)
    if random.random() < 0.5:
        return letter
    return replace(letter, raw=letter.raw + b"PS: sent once more.\r\n")


def _letter(random: Random, recent: list[Letter], number: int, at: datetime) -> Letter:
    answered = random.choice(recent[-15:]) if recent and random.random() < 0.75 else None
    name, address = random.choice(PEOPLE)
    msgid = random.choice(IDS)(random, number, address)
    draft = Draft(random, at, name, address, msgid, _subject(random, answered), _references(random, answered))
    return Letter(compose(draft, answered), msgid, draft.subject, answered, draft.references, at)


def compose(draft: Draft, answered: Letter | None, *flaws: Callable[[Draft], None], dirty: bool = True) -> bytes:
    """Write a draft as one of the mail programs does; return the mail, with some dirt and all of `flaws` in it."""
    program = draft.random.choice(_PROGRAMS)
    program(draft, answered)
    _write_body(draft, answered)
    if dirty:
        _make_dirty(draft)
    for flaw in flaws:
        flaw(draft)
    return _raw(draft)


def _subject(random: Random, answered: Letter | None) -> str:
    if answered is None:
        return f"{random.choice(TOPICS)} {random.randrange(1000)}"
    bare = re.sub(r"^(?:\S{2,5}[:：] ?)+", "", answered.subject)
    return random.choice(MARKERS) + bare


def _references(random: Random, answered: Letter | None) -> tuple[str, ...]:
    """The chain of References, as the first mail's id and so on; some name what was never on the list."""
    if answered is None:
        return (f"<private.{random.randrange(9999)}@example.org>",) if random.random() < 0.05 else ()
    chain = (*answered.references, answered.msgid)
    return chain[:1] + chain[-9:] if len(chain) > 10 else chain


IDS: list[Callable[[Random, int, str], str]] = [
    lambda random, number, address: f"<{random.getrandbits(64):x}.{number}@{address.partition('@')[2]}>",
    lambda random, number, address: f"<CA+{base64.urlsafe_b64encode(random.randbytes(30)).decode()}@mail.example.com>",
    lambda random, number, address: f"<{random.getrandbits(128):032X}@EXCH{number % 7}.corp.example.com>",
    lambda random, number, address: f"<Pine.LNX.4.44.{number:010}.{random.randrange(9999)}-100000@host.example.net>",
]


def _text(header: str, charset: str = "utf-8") -> str:
    """A header's text in encoded words where it has to be."""
    return header if header.isascii() else EncodedWords(header, charset, maxlinelen=70).encode(linesep="\r\n")


def _from(draft: Draft) -> str:
    name = draft.name
    if not name:
        return draft.address
    if "," in name or "'" in name:
        return f'"{name}" <{draft.address}>'
    return f"{_text(name)} <{draft.address}>"


def add(draft: Draft, *headers: tuple[str, str | bytes]) -> None:
    """Add headers."""
    draft.headers += headers


def _date(draft: Draft, hours: int = 0) -> str:
    return format_datetime(draft.at.astimezone(timezone(timedelta(hours=hours))))


def _folded(ids: Iterable[str]) -> str:
    return "\r\n\t".join(ids)


def _thunderbird(draft: Draft, answered: Letter | None) -> None:
    add(draft, ("Message-ID", draft.msgid), ("Date", _date(draft, 1)), ("From", _from(draft)))
    add(draft, ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:78.0) Gecko/20100101 Thunderbird/78.4"))
    add(draft, ("MIME-Version", "1.0"), ("To", "pmo@lists.example.org"), ("Subject", _text(draft.subject)))
    if draft.references:
        add(draft, ("References", _folded(draft.references)), ("In-Reply-To", draft.references[-1]))
    add(draft, ("X-Enigmail-Draft-Status", ""), ("Content-Language", "en-GB"))


def _gmail(draft: Draft, answered: Letter | None) -> None:
    signature = base64.b64encode(draft.random.randbytes(256)).decode()
    lines = "\r\n         ".join(signature[at : at + 70] for at in range(0, len(signature), 70))
    add(draft, ("DKIM-Signature", f"v=1; a=rsa-sha256; c=relaxed/relaxed; d=mail.example.com; s=s1;\r\n b={lines}"))
    add(draft, ("X-Google-Smtp-Source", base64.b64encode(draft.random.randbytes(60)).decode()), ("MIME-Version", "1.0"))
    if draft.references:
        add(draft, ("References", "\r\n ".join(draft.references)), ("In-Reply-To", draft.references[-1]))
    add(draft, ("From", _from(draft)), ("Date", _date(draft, -8)), ("Message-ID", draft.msgid))
    add(draft, ("Subject", _text(draft.subject)), ("To", "pmo <pmo@lists.example.org>"))


def _outlook(draft: Draft, answered: Letter | None) -> None:
    """Outlook names its thread in fields of its own; old ones name no other mail at all."""
    add(draft, ("From", _from(draft)), ("To", "\"'pmo@lists.example.org'\" <pmo@lists.example.org>"))
    if draft.references and draft.random.random() < 0.5:
        add(draft, ("References", " ".join(draft.references[-2:])), ("In-Reply-To", draft.references[-1]))
    elif draft.references and draft.random.random() < 0.5:
        add(draft, ("In-Reply-To", draft.references[-1]))
    add(draft, ("Subject", _text(draft.subject, "windows-1252" if draft.subject.isascii() else "utf-8")))
    add(draft, ("Thread-Topic", _text(draft.subject)))
    add(draft, ("Thread-Index", base64.b64encode(draft.index or draft.random.randbytes(22)).decode()))
    add(draft, ("Date", _date(draft, 2)), ("Message-ID", draft.msgid), ("X-Mailer", "Microsoft Outlook 16.0"))
    add(draft, ("Importance", "Normal"), ("MIME-Version", "1.0"), ("Accept-Language", "de-DE, en-US"))


def _pine(draft: Draft, answered: Letter | None) -> None:
    add(draft, ("Date", _date(draft, 1) + " (CET)"), ("From", _from(draft)), ("To", "pmo@lists.example.org"))
    add(draft, ("Subject", _text(draft.subject)), ("Message-ID", draft.msgid), ("MIME-Version", "1.0"))
    if draft.references:
        add(draft, ("In-Reply-To", draft.references[-1]), ("References", " ".join(draft.references)))


def _mutt(draft: Draft, answered: Letter | None) -> None:
    add(draft, ("Date", _date(draft)), ("From", _from(draft)), ("To", "pmo@lists.example.org"))
    add(draft, ("Subject", _text(draft.subject)), ("Message-ID", draft.msgid))
    if draft.references:
        add(draft, ("Mail-Followup-To", "pmo@lists.example.org"), ("References", "\r\n ".join(draft.references)))
    add(draft, ("MIME-Version", "1.0"), ("Content-Disposition", "inline"), ("User-Agent", "Mutt/1.5.20"))
    if draft.references:
        add(draft, ("In-Reply-To", draft.references[-1]))


def _exmh(draft: Draft, answered: Letter | None) -> None:
    """MH and its kin tell in In-Reply-To what the answer is to, in words."""
    add(draft, ("To", "pmo@lists.example.org"), ("Subject", _text(draft.subject)))
    if answered:
        what = f'Your message of "{format_datetime(answered.at)}."\r\n             {draft.references[-1]}'
        add(draft, ("In-Reply-To", what))
    add(draft, ("From", _from(draft)), ("Date", _date(draft, -5)), ("Message-Id", draft.msgid))
    add(draft, ("X-Mailer", "exmh version 2.5 07/13/2001 (debian) with nmh-1.0.4"))


def _notes(draft: Draft, answered: Letter | None) -> None:
    add(draft, ("Subject", _text(draft.subject)), ("To", "pmo@lists.example.org"), ("Message-ID", draft.msgid))
    add(draft, ("X-Mailer", "Lotus Notes Release 5.0.8  June 18, 2001"), ("From", _from(draft)), ("Date", _date(draft)))
    add(draft, ("X-MIMETrack", "Serialize by Router on D01/ACME(Release 5.0.8 |June 18, 2001) at\r\n 02/17/2003"))
    if draft.references:
        add(draft, ("In-Reply-To", draft.references[-1]))


_PROGRAMS: list[Callable[[Draft, Letter | None], None]] = [
    _thunderbird, _thunderbird, _gmail, _gmail, _gmail, _outlook, _outlook, _pine, _mutt, _exmh, _notes,
]  # fmt: skip


def _write_body(draft: Draft, answered: Letter | None) -> None:
    random = draft.random
    charset = random.choice(["us-ascii", "utf-8", "utf-8", *_FOREIGN])
    text = _prose(random, _FOREIGN.get(charset, ""), answered)
    kind = random.random()
    if kind < 0.60:
        add(draft, *_single(draft, text, charset, "plain"))
    elif kind < 0.85:
        _parts(draft, "alternative", [_part(draft, text, charset, "plain"), _part(draft, _html(text), charset, "html")])
    elif kind < 0.95:
        _parts(draft, "mixed", [_part(draft, text, charset, "plain"), _attachment(random)])
    elif kind < 0.98:
        signature = b"Content-Type: application/pgp-signature\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\nabc=\r\n"
        _parts(draft, 'signed; micalg="pgp-sha1"', [_part(draft, text, charset, "plain"), signature])
    else:
        draft.body = text.encode("utf-8")  # 8-bit, and not a word about it


def _prose(random: Random, foreign: str, answered: Letter | None) -> str:
    lines: list[str] = []
    if answered:
        lines += [f"On {answered.at:%a, %d %b %Y}, somebody wrote:", *(f"> {_line(random)}" for _ in range(6)), ""]
    for _ in range(random.randrange(1, 5)):
        lines += [_line(random) for _ in range(random.randrange(1, 7))] + [""]
    if random.random() < 0.05:
        lines += ["From here on it is clear.", ">From there it was not.", ""]
    lines += [foreign] if foreign else []
    return "\r\n".join([*lines, "-- ", "my signature", ""])


def _line(random: Random) -> str:
    return " ".join(random.choices(_WORDS, k=random.randrange(4, 13)))


def _html(text: str) -> str:
    rows = "".join(f"<p style='margin:0'>{line}</p>\r\n" for line in text.replace("<", "&lt;").split("\r\n"))
    return f"<html><head><meta http-equiv=Content-Type></head><body>\r\n{rows}</body></html>\r\n"


def _single(draft: Draft, text: str, charset: str, kind: str) -> list[tuple[str, str | bytes]]:
    encoding, draft.body = _encoded(draft.random, text, charset)
    flowed = "; format=flowed" if draft.random.random() < 0.3 else ""
    content = f"text/{kind}; charset={charset}{flowed}"
    return [("Content-Type", content), ("Content-Transfer-Encoding", encoding)]


def _encoded(random: Random, text: str, charset: str) -> tuple[str, bytes]:
    data = text.encode(charset, "replace")
    if charset == "us-ascii":
        return "7bit", data
    way = random.choice(["8bit", "quoted-printable", "base64"])
    if way == "quoted-printable":
        return way, quopri.encodestring(data.replace(b"\r\n", b"\n")).replace(b"\n", b"\r\n")
    if way == "base64":
        return way, base64.encodebytes(data).replace(b"\n", b"\r\n")
    return way, data


def _part(draft: Draft, text: str, charset: str, kind: str) -> bytes:
    encoding, data = _encoded(draft.random, text, charset)
    head = f"Content-Type: text/{kind};\r\n\tcharset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return head.encode() + data


def _attachment(random: Random) -> bytes:
    data = base64.encodebytes(random.randbytes(random.randrange(2_000, 30_000))).replace(b"\n", b"\r\n")
    head = (
        'Content-Type: application/octet-stream; name="report.bin"\r\nContent-Transfer-Encoding: base64\r\n'
        "Content-Disposition: attachment;\r\n filename*=utf-8''r%C3%A9port.bin\r\n\r\n"
    )
    return head.encode() + data


def _parts(draft: Draft, kind: str, parts: list[bytes]) -> None:
    boundary = f"----=_Part_{draft.random.getrandbits(60)}"
    add(draft, ("Content-Type", f'multipart/{kind};\r\n\tboundary="{boundary}"'))
    line = f"--{boundary}".encode()
    draft.body = b"This is a multi-part message in MIME format.\r\n" + b"".join(
        line + b"\r\n" + part + (b"" if part.endswith(b"\r\n") else b"\r\n") for part in parts
    )
    if draft.random.random() < 0.97:
        draft.body += line + b"--\r\n"


def _make_dirty(draft: Draft) -> None:
    """What has gone wrong on the way, in a few mails out of a hundred."""
    for dirt in _DIRT:
        if draft.random.random() < 0.01:
            dirt(draft)


def drop(draft: Draft, name: str) -> None:
    """Take a header away."""
    draft.headers = [header for header in draft.headers if header[0].lower() != name]


def _bad_date(draft: Draft) -> None:
    drop(draft, "date")
    dates = ["Thu, 31 Feb 2003 25:61:00 +0000", "yesterday", "Mon, 17 Feb 103 08:00:00 PST", "", "1 Jan 99999"]
    add(draft, ("Date", draft.random.choice(dates)))


def _eight_bit(draft: Draft) -> None:
    drop(draft, "subject")
    add(draft, ("Subject", "Größe".encode("latin-1")))


def _address_in_reply_to(draft: Draft) -> None:
    if draft.references:
        drop(draft, "in-reply-to")
        add(draft, ("In-Reply-To", f'Message from "Ada" <ada@example.org> of Mon {draft.references[-1]}'))


def _long_field(draft: Draft) -> None:
    add(draft, ("X-Spam-Report", "\r\n\t* ".join(["tests"] * 60)))


def _two_authors(draft: Draft) -> None:
    drop(draft, "from")
    add(draft, ("From", "Ada <ada@example.org>, Bob <bob.stone@example.com>"))


_DIRT: list[Callable[[Draft], None]] = [
    lambda draft: drop(draft, "message-id"),
    lambda draft: drop(draft, "date"),
    lambda draft: add(draft, ("Subject", "another one")),
    *(_bad_date, _eight_bit, _address_in_reply_to, _long_field, _two_authors),
]


def _raw(draft: Draft) -> bytes:
    trace: list[tuple[str, str | bytes]] = [("Return-Path", f"<{draft.address}>")]
    for hop in range(1, draft.random.randrange(2, 5)):
        host, queued = f"mx{hop}.example.com", f"{draft.random.getrandbits(40):X}"
        trace.append(("Received", f"from {host} ({host} [192.0.2.{hop}])\r\n\twith ESMTP id {queued}; {_date(draft)}"))
    values = [(name, text if isinstance(text, bytes) else text.encode()) for name, text in [*trace, *draft.headers]]
    lines = [name.encode() + b": " + value for name, value in values]
    if draft.random.random() < 0.01:
        lines.insert(3, b"this line is no field")
    return b"\r\n".join([*lines, b"", b""]) + draft.body


def mbox(archive: Iterable[Letter]) -> bytes:
    """Write the archive as mboxo with LF line ends: only `From ` itself is quoted, as old programs did."""
    out = []
    for letter in archive:
        text = re.sub(rb"^From ", b">From ", letter.raw.replace(b"\r\n", b"\n"), flags=re.MULTILINE)
        text += b"" if text.endswith(b"\n") else b"\n"
        out.append(f"From sender@example.org {letter.at:%a %b %d %H:%M:%S %Y}\n".encode() + text + b"\n")
    return b"".join(out)
