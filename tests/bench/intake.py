"""How fast posts are taken in: durable, threaded and fanned out before each 250.

The list has ten members, so each post writes ten deliveries. They are not sent: the relay is an
address where nobody listens, at which the worker knocks with one delivery every few seconds.
"""

from __future__ import annotations

from pathlib import Path

from tests.bench import references
from tests.bench.place import AUTHOR, LIST, NOWHERE, mail_with_file, make_site, relay, serving
from tests.bench.table import Goal, Row, at_least, at_most, share

MEMBERS = 10
SENDERS = 8
SIZE = 3072


def taken_in(folder: Path, posts: int) -> Row:
    """Post `posts` times with eight senders at once, beside what Postfix only queues."""
    if not references.tool("smtp-source"):
        return Row("posts in", "needs Postfix's smtp-source")
    rate, each = _rate(folder, posts, NOWHERE)
    syncs, postfix = references.syncs(folder), references.smtpd(folder, connections=SENDERS, size=SIZE)
    goals = [at_least(rate, 1000)] + [Goal("above Postfix's smtpd", rate > postfix)] * bool(postfix)
    beside = (share(rate, postfix, "Postfix's smtpd"), share(rate, syncs, "fdatasync"))
    return Row(f"posts in: 8 senders, 3 KiB, list of {MEMBERS}", f"{rate:,.0f}/s", each, beside, tuple(goals))


def while_sending(folder: Path, posts: int) -> Row:
    """The same, while what is queued leaves."""
    if not references.tool("smtp-source"):
        return Row("posts in while they are sent on", "needs Postfix's smtp-source")
    with relay() as port:
        rate, each = _rate(folder, posts, f"smtp://127.0.0.1:{port}")
        return Row("posts in while all of them are sent on", f"{rate:,.0f}/s", each)


def _rate(folder: Path, posts: int, to: str) -> tuple[float, float]:
    """Return posts a second and the microseconds of CPU for each."""
    make_site(folder, to, MEMBERS)
    with serving(folder) as server:
        used = server.cpu
        seconds = references.source(server.port, connections=SENDERS, mails=posts, size=SIZE, sender=AUTHOR, to=LIST)
        used = server.cpu - used
        rows = server.ask("SELECT count(*) FROM delivery")
        assert rows == posts * MEMBERS, f"{rows} deliveries of {posts} posts"
        return posts / seconds, used / posts * 1e6


def big(folder: Path, size: int = 24 * 1024**2) -> Row:
    """Memory that one very big mail costs, in and out to ten."""
    with relay() as port:
        make_site(folder, f"smtp://127.0.0.1:{port}", MEMBERS)
        with serving(folder) as server:
            _, _, mailing = server.post(mail_with_file("small", 4096))
            server.until_sent(mailing, MEMBERS)
            idle = server.memory()
            server.forget_peak()
            data = mail_with_file("big", size)
            answered, wait, mailing = server.post(data)
            server.until_sent(mailing, MEMBERS)
            more = server.memory("VmHWM") - idle
            seconds = server.last(mailing, MEMBERS) - answered
            beside = (f"250 after {wait:.2f} s", f"all out after {seconds:.2f} s", f"{idle:.0f} MiB before")
            name = f"a mail of {len(data) / 1024**2:.0f} MiB in, and out to {MEMBERS}"
            return Row(name, f"{more:.0f} MiB more", None, beside, (at_most(more, 100, " MiB"),))
