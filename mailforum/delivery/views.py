"""What the texts are shown: lists, and the threads and posts of a digest, ready to be read by people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

from mailforum.mail.body import Block, Body, fold_quotes
from mailforum.model import MailingList, Post
from mailforum.settings import ListSettings

LONGEST_TEXT = 20_000  # characters of one post in a digest; one long log file must not bury the others

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class ListView:
    """A list as the texts see it: what it is called, and its addresses ready to be written to."""

    address: str
    title: str
    name: str
    domain: str
    join: str
    leave: str
    request: str
    help: str
    info: str
    owner: str
    settings: ListSettings

    @classmethod
    def of(cls, mlist: MailingList) -> ListView:
        """Show `mlist`; a list without a title is called by its name."""
        return cls(
            address=mlist.address,
            title=mlist.title or mlist.name,
            name=mlist.name,
            domain=mlist.domain,
            join=mlist.sub("join"),
            leave=mlist.sub("leave"),
            request=mlist.sub("request"),
            help=mlist.sub("help"),
            info=mlist.sub("info"),
            owner=mlist.sub("owner"),
            settings=mlist.settings,
        )


@dataclass(frozen=True, slots=True)
class DigestAttachment:
    """A file that came with a post; `size` is ready to read (`1.2 MB`)."""

    filename: str
    size: str


@dataclass(frozen=True, slots=True)
class DigestPost:
    """A post in a digest. `new` is False for one that is shown again so that its answers make sense.

    `reply`, if there is one, is the address that puts an answer under this post. `cut` says that the
    end of a very long post is left out.
    """

    label: str
    author: str
    address: str
    date: str
    blocks: tuple[Block, ...]
    attachments: tuple[DigestAttachment, ...] = ()
    new: bool = True
    reply: str = ""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class DigestThread:
    """A thread in a digest: `#48`, its subject, its posts in reading order."""

    label: str
    subject: str
    posts: tuple[DigestPost, ...]

    @property
    def new(self) -> int:
        """How many of the posts are new."""
        return sum(post.new for post in self.posts)

    @property
    def anchor(self) -> str:
        """The thread's mark within the HTML."""
        return "t" + self.label.removeprefix("#")


@dataclass(frozen=True, slots=True)
class DigestCounts:
    """How much is new in a digest."""

    posts: int
    threads: int


def digest_post(post: Post, body: Body, zone: tzinfo, *, new: bool = True, reply: str = "") -> DigestPost:
    """Show a post in a digest, its long quotes folded, its date in `zone`."""
    return DigestPost(
        label=f"#{post.label}",
        author=post.from_name or post.from_address,
        address=post.from_address,
        date=date_text(post.date, zone),
        blocks=tuple(fold_quotes(body.text[:LONGEST_TEXT])),
        attachments=tuple(DigestAttachment(a.filename, size_text(a.size)) for a in body.attachments),
        new=new,
        reply=reply,
        cut=len(body.text) > LONGEST_TEXT,
    )


def digest_values(number: int, at: float, threads: Sequence[DigestThread], zone: tzinfo) -> dict[str, object]:
    """Return what `digest/digest` takes besides site, list and to; `at` (seconds) is when it was made."""
    counts = DigestCounts(sum(thread.new for thread in threads), len(threads))
    return {"number": number, "date": date_text(at, zone), "threads": tuple(threads), "counts": counts}


def date_text(seconds: float, zone: tzinfo) -> str:
    """Write a time for people: `Sat 22 Nov 2025, 14:05`."""
    when = datetime.fromtimestamp(seconds, zone)
    day, month = _DAYS[when.weekday()], _MONTHS[when.month - 1]
    return f"{day} {when.day} {month} {when.year}, {when:%H:%M}"


def size_text(size: int) -> str:
    """Write a number of bytes for people: `640 bytes`, `12 KB`, `1.2 MB`."""
    if size < 1000:
        return f"{size} {'byte' if size == 1 else 'bytes'}"
    if size < 999_500:
        return f"{size / 1000:.0f} KB"
    return f"{size / 1_000_000:.1f} MB"
