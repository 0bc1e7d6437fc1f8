"""What a person wrote, as text, and which of it is only quoted. For showing, never for sending on.

Nothing here is exact, because mail programs mark a quote as they like; where it is unclear, a line
counts as written: a digest that shows too much is better than one that hides an answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from mailforum.mail import html, mime
from mailforum.mail.message import Message

MAX_TEXT = 500_000  # characters; nobody writes more, and what is behind them is not shown
_MAX_ATTRIBUTION = 400
_MAX_QUOTES = 500  # further ones are shown as text
_SIGNATURE_TYPES = frozenset(("application/pgp-signature", "application/pkcs7-signature"))

# All of these begin with a line break that stands for the beginning of a line; the text has one put
# before it. It makes the search fast.
# Empty lines between quoted ones belong to the quote; ">From " is a line that an mbox has changed.
_QUOTE = re.compile(r"(?>(?:\n ?>(?!From )[^\n]*+(?>(?:(?>(?:\n[ \t]*+(?=\n))+)(?=\n ?>(?!From )))?))+)")
_SIGNATURE = re.compile(
    r"\n(?:--[ \t]*+(?=\n|\Z)|_{40,}+[ \t]*+(?=\n|\Z)|(?:Sent from my|Sent from Mail for|Get Outlook for|Von meinem"
    r"|Gesendet von|Envoyé de mon|Enviado desde mi|Inviato da|Verstuurd vanaf)\b[^\n]{0,60}\s*+\Z)"
)
# Outlook's header above the mail that is answered: From, and within three lines the date.
_ORIGINAL = re.compile(
    r"\n(?:-{2,}+ ?(?:Original Message|Original Appointment|Ursprüngliche Nachricht|Original-Nachricht"
    r"|Message d.origine|Mensaje original|Messaggio originale|Mensagem original|Oorspronkelijk bericht"
    r"|Ursprungligt meddelande|Oprindelig meddelelse|Opprinnelig melding|Alkuperäinen viesti"
    r"|Исходное сообщение) ?-{2,}+[ \t]*+(?=\n|\Z)"
    r"|(?:_{20,}+[ \t]*+\n\s*+)?\*?(?:From|Von|De|Da|Van|Från|Fra|Lähettäjä|Od|От)\*? ?:\*?[ \t][^\n]{1,300}\n"
    r"(?:[^\n]{0,300}\n){0,2}?\*?(?:Sent|Date|Gesendet|Datum|Envoyé|Enviado(?: el| em)?|Inviato|Data|Verzonden"
    r"|Skickat|Sendt|Lähetetty|Wysłano|Odesláno|Отправлено|Дата)\*? ?:)",
)
_ATTRIBUTION = re.compile(r"(?:On|Am|Le|El|Il|Op|Em|Den|Dne|W dniu|Dnia)\b[^\n]*\d[^\n]*[:：]")
_WROTE = re.compile(
    r"(?:\b(?:wrote|writes|schrieb|a écrit|escribió|escreveu|ha scritto|scrisse|schreef|skrev|napsal|napsala|pisze"
    r"|napisał|napisała|kirjoitti|написал|написала|пишет)\b|写道|のメール)[^\n]{0,40}[:：]\Z"
)


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a mail; `size` is that of the file, in bytes."""

    filename: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Body:
    """The text of a mail, lines ended by LF, and the files beside it."""

    text: str
    attachments: tuple[Attachment, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Lines that belong together. `hidden` says how many more a quote had."""

    kind: Literal["text", "quote", "signature"]
    lines: tuple[str, ...]
    hidden: int = 0


def read(msg: Message, parts: tuple[mime.Part, ...] | None = None) -> Body:
    """Return what is to be read in `msg`, whose `parts` may be known already.

    Of alternatives the plain text is taken if there is any, else the HTML as text. Raises Refused
    (550 5.6.0) as `mime.parts` does, and nothing else.
    """
    found = mime.parts(msg) if parts is None else parts
    texts = [_text(msg, group) for group in _groups(found)]
    text = "\n\n".join(text for text in texts if text)[:MAX_TEXT]
    attached = (part for part in found if part.is_attachment and part.content_type not in _SIGNATURE_TYPES)
    return Body(text, tuple(Attachment(part.filename, part.content_type, mime.size(msg, part)) for part in attached))


def unsigned(text: str) -> str:
    """Return text up to its signature, or to what a list has put under it."""
    found = _SIGNATURE.search("\n" + text)
    return text[: max(0, found.start() - 1)] if found else text


def _groups(found: tuple[mime.Part, ...]) -> Iterator[list[mime.Part]]:
    """Yield the parts, those within one multipart/alternative together."""
    group: list[mime.Part] = []
    for part in found:
        if group and (group[0].content_type != "multipart/alternative" or part.depth <= group[0].depth):
            yield group
            group = []
        group.append(part)
    yield group


def _text(msg: Message, group: list[mime.Part]) -> str:
    texts = [part for part in group if not part.is_attachment and not part.is_multipart]
    plain = [_plain(msg, part) for part in texts if part.content_type != "text/html"]
    text = "\n\n".join(text for text in plain if text)
    if text:
        return text
    marked = [html.to_text(mime.decode_text(msg, part)) for part in texts if part.content_type == "text/html"]
    return mime.printable("\n\n".join(text for text in marked if text))


def _plain(msg: Message, part: mime.Part) -> str:
    text = mime.decode_text(msg, part, limit=4 * MAX_TEXT)[:MAX_TEXT]
    if mime.parameter(part, "format").lower() == "flowed":
        text = unflow(text, delsp=mime.parameter(part, "delsp").lower() == "yes")
    return text.strip("\n") if text.strip() else ""


def unflow(text: str, *, delsp: bool = False) -> str:
    """Join the lines of format=flowed text (RFC 3676) that were broken only to fit; linear."""
    lines: list[str] = []
    pieces: list[str] = []
    depth = -1  # of the quote that the paragraph in `pieces` stands in; -1: there is none
    for line in text.split("\n"):
        content = line.lstrip(">")
        level = len(line) - len(content)
        content = content.removeprefix(" ")
        flowed = content.endswith(" ") and content != "-- "
        if pieces and (level != depth or content == "-- "):  # section 4.5: a quote of another depth is another
            lines.append(_quoted(depth, "".join(pieces)))
            pieces = []
        pieces.append(content[:-1] if flowed and delsp else content)
        depth = level
        if not flowed:
            lines.append(_quoted(depth, "".join(pieces)))
            pieces = []
    if pieces:
        lines.append(_quoted(depth, "".join(pieces)))
    return "\n".join(lines)


def _quoted(depth: int, text: str) -> str:
    return f"{'>' * depth} {text}" if depth else text


def fold_quotes(text: str, keep: int = 2) -> list[Block]:
    """Take text apart into what is written, quoted and signed; of a quote the first `keep` lines stay.

    The line that says who is quoted belongs to the quote and is not counted. What stands below the
    header of an answered mail ("-----Original Message-----", From: and Sent:) is one quote. Linear.
    """
    text = "\n" + text.rstrip()
    original = _ORIGINAL.search(text)
    end = original.start() if original else len(text)
    blocks: list[Block] = []
    start = 0
    for match in islice(_QUOTE.finditer(text, 0, end), _MAX_QUOTES):
        written, attribution = _cut_attribution(text[start : match.start()])
        blocks += _written(written)
        blocks.append(_quote(attribution, match[0], keep))
        start = match.end()
    blocks += _written(text[start:end])
    if original:
        head, _, rest = text[end + 1 :].partition("\n")
        blocks.append(_quote([head], "\n" + rest, keep) if head[:1] in "-_" else _quote([], text[end:], keep))
    return blocks


def quotes(text: str) -> bool:
    """Say whether somebody else is quoted in a text, in whatever way."""
    return bool(_QUOTE.search("\n" + text)) or bool(unmarked_quotes(text))


def unmarked_quotes(text: str) -> list[int]:
    """Return where quotes begin whose lines are not marked: below the header that Outlook puts before an
    answered mail, and below "On Monday Al wrote:" without `>`. Linear."""
    starts = [match.start() for match in _ORIGINAL.finditer("\n" + text)]
    at = 0
    for line in text.split("\n"):
        at += len(line) + 1
        line = line.rstrip()
        if (
            line.endswith((":", "："))
            and _WROTE.search(line[-100:])
            and not text[at : at + 100].lstrip().startswith(">")
        ):
            starts.append(at)
    return sorted(starts)


def _written(text: str) -> Iterator[Block]:
    """Yield the text between two quotes, and the signature that it may end with."""
    found = _SIGNATURE.search(text)
    end = found.start() if found else len(text)
    for kind, piece in (("text", text[:end]), ("signature", text[end:])):
        if piece.strip():
            yield Block(kind, tuple(piece.rstrip().lstrip("\n").split("\n")))  # type: ignore[arg-type]


def _quote(attribution: list[str], text: str, keep: int) -> Block:
    """Make a block of a quote, whose lines each have their line break before them."""
    text = text.rstrip()
    lines = text.split("\n", keep + 1)[1 : keep + 1]
    return Block("quote", (*attribution, *lines), hidden=max(0, text.count("\n") - keep))


def _cut_attribution(text: str) -> tuple[str, list[str]]:
    """Cut "On Monday Al wrote:" off the end of `text`; mail programs break it into up to three lines."""
    text = text.rstrip()
    if not text.endswith((":", "：")):
        return text, []
    lines = text[-_MAX_ATTRIBUTION:].split("\n")
    whole = next((n for n in (1, 2, 3) if _ATTRIBUTION.fullmatch(" ".join(lines[-n:]))), 0)
    count = whole or (1 if _WROTE.search(lines[-1][-100:]) else 0)
    return text.removesuffix("\n".join(lines[-count:])) if count else text, lines[-count:] if count else []
