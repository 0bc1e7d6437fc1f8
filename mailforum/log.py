"""One function for each thing that happens to a mail; each writes one line and counts once.

Lines are `event=… key=value …`, or JSON objects. A value with blanks, quotes or control characters is
written as a JSON string, so a line is always one line, whatever a mail contained. `mail` is the same
from the first word about a mail to the last about what was sent because of it (docs/observing.md).
`counters` and the histograms are what `/metrics` shows.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal, NamedTuple

from mailforum.metrics import Histogram

logger = logging.getLogger("mailforum")
counters: Counter[str] = Counter()
outcomes: Counter[str] = Counter()  # of mails that were dealt with
refusals: Counter[tuple[str, str]] = Counter()  # by enhanced code and reason, one of REASONS
handling = Histogram((0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0))
arrival = Histogram((0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21600.0, 86400.0))

# What a reason is counted as, by how it begins. What may stand behind that was written by strangers.
REASONS = (
    "unknown recipient",
    "unknown address",
    "not a member",
    "not a moderator",
    "no single author",
    "too big",
    "loop",
    "bad token",
    "expired token",
    "joining is closed",
    "our own address",
    "no owner",
    "source route",
    "address",
    "path",
    "database",
    "the disk is nearly full",
    "the queue is full",
    "too many mails a minute",
    "too many recipients a minute",
    "The mail is too large",
    "Too many recipients",
    "Too many large mails",
    "This message has too many parts",
    "The header of this message is too large",
)

_PLAIN = re.compile(r"[!#-\[\]-~]+")
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@lru_cache(maxsize=256)  # a relay gives thousands of recipients the same reply
def _value(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else _quoted(text)


@lru_cache(maxsize=256)
def _quoted(text: str) -> str:
    return json.dumps(text).replace("\x7f", "\\u007f")


class Event(NamedTuple):
    """Something that has happened. What it says as a text is one line of key=value."""

    name: str
    fields: Mapping[str, object]

    def __str__(self) -> str:
        return " ".join([f"event={self.name}", *[f"{key}={_value(str(value))}" for key, value in self.fields.items()]])

    def objects(self) -> Iterator[str]:
        """Yield the inside of a JSON object."""
        yield f'"event":{_quoted(self.name)}' + "".join(
            [f',"{key}":{_json(value)}' for key, value in self.fields.items()]
        )


def _json(value: object) -> str:
    return str(value) if type(value) in (int, float) else _quoted(str(value))


class Delivered(NamedTuple):
    """A delivery that the next hop took, `delay` seconds after it was queued."""

    mail: str
    delivery: int
    mailing: int
    rcpt: str
    delay: float
    reply: str


class Deliveries(NamedTuple):
    """What the next hop took at about the same time; as a text, a line for each."""

    all: Sequence[Delivered]

    def __str__(self) -> str:
        return "\n".join(
            [
                f"event=sent mail={mail} delivery={delivery} mailing={mailing} "
                f"rcpt={_value(rcpt)} delay={delay:.1f} reply={_value(reply)}"
                for mail, delivery, mailing, rcpt, delay, reply in self.all
            ]
        )

    def objects(self) -> Iterator[str]:
        """Yield the inside of a JSON object for each."""
        for mail, delivery, mailing, rcpt, delay, reply in self.all:
            yield (
                f'"event":"sent","mail":"{mail}","delivery":{delivery},"mailing":{mailing}'
                f',"rcpt":{_quoted(rcpt)},"delay":{delay:.1f},"reply":{_quoted(reply)}'
            )


def event(name: str, level: int = logging.INFO, error: BaseException | None = None, /, **fields: object) -> None:
    """Write one line for the event `name` and count it. Fields that are None or "" are left out.

    With `error` the line tells where it came from.
    """
    counters[name] += 1
    if logger.isEnabledFor(level):
        filled = {key: value for key, value in fields.items() if value is not None and value != ""}
        logger.log(level, Event(name, filled), exc_info=error)


def received(*, mail: str, msgid: str, mail_from: str, rcpt: str, size: int, peer: str) -> None:
    """A mail arrived whole; nothing is decided yet."""
    event("received", mail=mail, msgid=msgid, mail_from=mail_from or "<>", rcpt=rcpt, size=size, peer=peer)


def handled(*, mail: str, msgid: str, rcpt: str, what: str, seconds: float) -> None:
    """A mail was dealt with and is durable. `what` says how: `post 48.3`, `held 7: …`, `duplicate`, …"""
    outcomes[what.partition(" ")[0].rstrip(":")] += 1
    handling.add(seconds)
    event("handled", mail=mail, msgid=msgid, rcpt=rcpt, what=what, ms=round(seconds * 1000, 1))


def refused(
    *,
    mail: str = "",
    msgid: str = "",
    mail_from: str = "",
    rcpt: str = "",
    code: int,
    enhanced: str,
    reason: str,
    peer: str = "",
) -> None:
    """A sender was told no (5yz) or not now (4yz). `rcpt` is empty where that was at MAIL, `mail_from` elsewhere."""
    refusals[enhanced, reason_class(reason)] += 1
    event(
        "refused",
        mail=mail,
        msgid=msgid,
        mail_from=mail_from,
        rcpt=rcpt,
        code=code,
        status=enhanced,
        reason=reason,
        peer=peer,
    )


def reason_class(reason: str) -> str:
    """Return the one of REASONS that a reason begins with, or `other`: few, and none by strangers."""
    return next((known for known in REASONS if reason.startswith(known)), "other")


def shunted(*, mail: str, shunt_id: int, reason: str) -> None:
    """Our own fault: the raw bytes are kept aside and the sender was told 451."""
    event("shunted", logging.ERROR, mail=mail, id=shunt_id, reason=reason)


def sent(deliveries: Sequence[Delivered]) -> None:
    """The next hop took these."""
    counters["sent"] += len(deliveries)
    for delivery in deliveries:
        arrival.add(delivery.delay)
    if deliveries and logger.isEnabledFor(logging.INFO):
        logger.info(Deliveries(deliveries))  # all in one go: making a record takes longer than making a line


def deferred(*, mail: str, delivery: int, mailing: int, rcpt: str, reply: str, retry_in: float) -> None:
    """A delivery waits for its next attempt."""
    wait = round(retry_in)
    event("deferred", mail=mail, delivery=delivery, mailing=mailing, rcpt=rcpt, reply=reply, retry_in=wait)


def failed(*, mail: str, delivery: int, mailing: int, rcpt: str, reply: str) -> None:
    """A delivery is given up."""
    event("failed", logging.WARNING, mail=mail, delivery=delivery, mailing=mailing, rcpt=rcpt, reply=reply)


def uncertain(*, mail: str, delivery: int, mailing: int, rcpt: str) -> None:
    """A crash left this delivery in flight: it may have been sent, and will be sent again."""
    event("uncertain", logging.WARNING, mail=mail, delivery=delivery, mailing=mailing, rcpt=rcpt)


def tally() -> dict[str, float]:
    """Return what a process that only sends has counted, by name; `add` takes it over in another one."""
    buckets = {f"arrival {place}": times for place, times in enumerate(arrival.counts)}
    return {**counters, **buckets, "arrival total": arrival.total}


def add(more: Mapping[str, float]) -> None:
    """Count what another process has counted."""
    for name, value in more.items():
        event_name, _, place = name.partition(" ")
        if not place:
            counters[event_name] += int(value)
        elif place == "total":
            arrival.total += value
        else:
            arrival.counts[int(place)] += int(value)


class Lines(logging.Formatter):
    """Makes a line of each thing that happened. What is no event is put on one line as well.

    Behind an error stands where it came from, each line of that marked with a `|`: its text may have
    been written by a stranger, and must not look like an event.
    """

    def __init__(self, form: str = "%(asctime)s %(levelname)s %(message)s") -> None:
        super().__init__(form)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's own name
        if not isinstance(record.msg, Event | Deliveries):
            record.message = one_line(record.message)
        before, _, after = super().formatMessage(record).partition(record.message)
        return before + record.message.replace("\n", f"{after}\n{before}") + after

    def formatException(self, ei: object) -> str:  # noqa: N802  logging's own name
        found = super().formatException(ei)  # type: ignore[arg-type]
        return "\n".join(f"| {one_line(line)}" for line in found.split("\n"))


class Json(logging.Formatter):
    """Makes a JSON object, on a line of its own, of each thing that happened."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = f'{{"at":"{at}","level":"{record.levelname.lower()}",'
        error = f',"error":{_quoted(self.formatException(record.exc_info))}' if record.exc_info else ""
        return "\n".join([f"{head}{inside}{error}}}" for inside in _objects(record)])


def _objects(record: logging.LogRecord) -> Iterator[str]:
    if isinstance(record.msg, Event | Deliveries):
        return record.msg.objects()
    return iter([f'"message":{_quoted(record.getMessage())}'])


def one_line(text: str) -> str:
    """Return `text` with whatever would end its line, or move a terminal's cursor, escaped."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to standard error; a line that cannot be written is counted, and mail goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's own name
        counters["log_lost"] += 1


def setup(level: str = "info", form: Literal["text", "json"] = "text") -> None:
    """Send mailforum's own log to standard error, a line an event, from `level` up."""
    handler = Handler()
    logger.handlers[:] = [handler]
    use(level, form)
    logger.propagate = False
    # Each line would be told apart by thread, process and place in the code, which nobody prints; finding
    # them out takes longer than all the rest (logging HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None


def use(level: str, form: Literal["text", "json"]) -> None:
    """Go on with another level and form."""
    logger.setLevel(level.upper())
    for handler in logger.handlers:
        handler.setFormatter(Json() if form == "json" else Lines())
