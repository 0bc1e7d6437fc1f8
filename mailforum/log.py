"""One function for each thing that happens to a mail; each writes one line and counts once.

Lines are `event=… key=value …`; a value with blanks, quotes or control characters is written
as a JSON string, so a line is always one line, whatever a mail contained. `counters` is what
`/metrics` shows.
"""

import json
import logging
import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

logger = logging.getLogger("mailforum")
counters: Counter[str] = Counter()

_PLAIN = re.compile(r"[!#-\[\]-~]+")


@lru_cache(maxsize=256)  # a relay gives thousands of recipients the same reply
def _value(text: str) -> str:
    return text if _PLAIN.fullmatch(text) else json.dumps(text).replace("\x7f", "\\u007f")


def event(name: str, level: int = logging.INFO, **fields: object) -> None:
    """Write one line for the event `name` and count it. Fields that are None are left out."""
    pairs = [f"{key}={_value(str(value))}" for key, value in fields.items() if value is not None]
    counters[name] += 1
    logger.log(level, "event=%s %s", name, " ".join(pairs))


def received(*, msgid: str, mail_from: str, rcpt: str, size: int, peer: str) -> None:
    """A mail arrived whole; nothing is decided yet."""
    event("received", msgid=msgid, mail_from=mail_from, rcpt=rcpt, size=size, peer=peer)


def handled(*, msgid: str, rcpt: str, what: str, seconds: float) -> None:
    """A mail was dealt with and is durable. `what` says how: `post 48.3`, `held 7: …`, `duplicate`, …"""
    counters[f"handled_{what.partition(' ')[0].rstrip(':')}"] += 1
    event("handled", msgid=msgid, rcpt=rcpt, what=what, ms=round(seconds * 1000, 1))


def refused(*, rcpt: str, code: int, enhanced: str, reason: str, peer: str = "", msgid: str = "") -> None:
    """A sender was told no (5yz) or not now (4yz)."""
    event(
        "refused",
        rcpt=rcpt,
        code=code,
        status=enhanced,
        reason=reason,
        peer=peer or None,
        msgid=msgid or None,
    )


def shunted(*, shunt_id: int, reason: str) -> None:
    """Our own fault: the raw bytes are kept aside and the sender was told 451."""
    event("shunted", logging.ERROR, id=shunt_id, reason=reason)


def sent(deliveries: Sequence[tuple[int, int, str, str]]) -> None:
    """The next hop took these: (delivery, mailing, recipient, reply) of each."""
    counters["sent"] += len(deliveries)
    if deliveries and logger.isEnabledFor(logging.INFO):
        lines = [
            f"event=sent delivery={delivery} mailing={mailing} rcpt={_value(rcpt)} reply={_value(reply)}"
            for delivery, mailing, rcpt, reply in deliveries
        ]
        logger.info("%s", "\n".join(lines))  # all in one go: making a record takes longer than making a line


def deferred(*, delivery: int, mailing: int, rcpt: str, reply: str, retry_in: float) -> None:
    """A delivery waits for its next attempt."""
    event("deferred", delivery=delivery, mailing=mailing, rcpt=rcpt, reply=reply, retry_in=round(retry_in))


def failed(*, delivery: int, mailing: int, rcpt: str, reply: str) -> None:
    """A delivery is given up."""
    event("failed", logging.WARNING, delivery=delivery, mailing=mailing, rcpt=rcpt, reply=reply)


def uncertain(*, delivery: int, mailing: int, rcpt: str) -> None:
    """A crash left this delivery in flight: it may have been sent, and will be sent again."""
    event("uncertain", logging.WARNING, delivery=delivery, mailing=mailing, rcpt=rcpt)


class Lines(logging.Formatter):
    """Formats each line of what happened at once as a line of its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  logging's own name
        before, _, after = super().formatMessage(record).partition(record.message)
        return before + record.message.replace("\n", f"{after}\n{before}") + after


class Handler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to standard error; a line that cannot be written is counted, and mail goes on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  logging's own name
        counters["log_lost"] += 1


def setup(level: str = "info") -> None:
    """Send mailforum's own log to standard error, a line an event, from `level` up."""
    handler = Handler()
    handler.setFormatter(Lines("%(asctime)s %(levelname)s %(message)s"))
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    # Each line would be told apart by thread, process and place in the code, which nobody prints; finding
    # them out takes longer than all the rest (logging HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
