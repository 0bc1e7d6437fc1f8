"""The nouns. Frozen: whoever holds one may pass it anywhere.

Times are seconds since the epoch (UTC) unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Literal, NamedTuple

from mailforum.settings import ListSettings
from mailforum.units import EVER, Period


class Role(StrEnum):
    """What a member may do on a list."""

    MEMBER = "member"
    MODERATOR = "moderator"
    OWNER = "owner"


class Mode(StrEnum):
    """How a member reads a list: every post, a digest, or nothing by mail."""

    EACH = "each"
    DIGEST = "digest"
    NONE = "none"


class MemberStatus(StrEnum):
    """Whether mail goes to a member at all: yes; no, an admin stopped it; no, because it came back."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    BOUNCING = "bouncing"


class State(StrEnum):
    """Where a delivery stands. `QUEUED` and `DEFERRED` are due at some time, the others are final."""

    QUEUED = "queued"
    SENT = "sent"
    DEFERRED = "deferred"
    FAILED = "failed"


class Kind(StrEnum):
    """What a mailing carries."""

    POST = "post"
    DIGEST = "digest"
    NOTICE = "notice"
    FORWARD = "forward"


class How(IntEnum):
    """How the parent of a post was found; what stands first is believed first."""

    NONE = 0
    TOKEN = 1
    IN_REPLY_TO = 2
    REFERENCES = 3
    THREAD_INDEX = 4
    TEXT = 5
    SUBJECT = 6
    MODERATOR = 7

    @property
    def is_weak(self) -> bool:
        """Whether a name that stands there counts only if it is that of a post."""
        return self in (How.THREAD_INDEX, How.TEXT)

    @property
    def label(self) -> str:
        """As people read it: `in-reply-to`; "" for none."""
        return self.name.lower().replace("_", "-") if self else ""


class RouteRole(StrEnum):
    """What an address of ours is for (docs/addresses.md)."""

    POST = "post"
    JOIN = "join"
    LEAVE = "leave"
    CONFIRM = "confirm"
    REQUEST = "request"
    HELP = "help"
    INFO = "info"
    OWNER = "owner"
    BOUNCES = "bounces"
    REPLY = "reply"
    SITE = "site"
    POSTMASTER = "postmaster"


@dataclass(frozen=True, slots=True)
class MailingList:
    """A list. `address` is name@domain, in lower case."""

    id: int
    address: str
    title: str
    settings: ListSettings
    created_at: float

    @property
    def name(self) -> str:
        """The local part of the address."""
        return self.address.rpartition("@")[0]

    @property
    def domain(self) -> str:
        """The domain of the address."""
        return self.address.rpartition("@")[2]

    @property
    def list_id(self) -> str:
        """The List-Id of RFC 2919 without its angle brackets: name.domain."""
        return f"{self.name}.{self.domain}"

    def sub(self, role: str, detail: str = "") -> str:
        """Return the sub-address for `role`: `pmo-join@…`, or with a detail `pmo-confirm+TOKEN@…`."""
        return f"{self.name}-{role}{'+' if detail else ''}{detail}@{self.domain}"


@dataclass(frozen=True, slots=True)
class Member:
    """One address on one list. `key` is the address as it is compared; `address` as it is written to."""

    id: int
    list_id: int
    address: str
    key: str
    name: str
    role: Role
    mode: Mode
    status: MemberStatus
    own_posts: bool
    joined_at: float


@dataclass(frozen=True, slots=True)
class Post:
    """A post as it is listed; its bytes are fetched apart.

    `label` is the post's public id, `48.3`: the thread it arrived in and its number there. It never
    changes, even when threads merge later. `thread` is the number of the thread it is in now.
    `parent_id` is the nearest known ancestor, and `how` says how it was found. `date` is what the author's
    clock said (kept sane), `received_at` what ours said.
    """

    id: int
    list_id: int
    thread: int
    label: str
    parent_id: int | None
    parent: str | None
    message_id: str
    from_address: str
    from_name: str
    subject: str
    date: float
    received_at: float
    size: int
    how: How = How.NONE


@dataclass(frozen=True, slots=True)
class Selection:
    """Some posts of a list: those in the threads with these ids (none: in any), and dated in a period."""

    threads: tuple[int, ...] = ()
    during: Period = EVER


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread of a list. `number` is its public id within the list, `#48`.

    `begun_at` is the date of its first post; `last_at` is when it was active last (forum/order.py).
    """

    id: int
    list_id: int
    number: int
    subject: str
    posts: int
    begun_at: float
    last_at: float


@dataclass(frozen=True, slots=True)
class Route:
    """What an address of ours leads to. `mlist` is None only for the site's own addresses.

    `detail` is what stood behind the role: a token, a thread, an encoded address, `digest`.
    """

    rcpt: str
    role: RouteRole
    mlist: MailingList | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What SMTP said about a mail, apart from the mail itself. `mail_from` is empty for the null sender.

    `lmtp` says that each recipient gets a reply of its own (RFC 2033); SMTP has one for all. `id` is
    the mail's name here (ids.py).
    """

    mail_from: str
    routes: tuple[Route, ...]
    peer: str = ""
    helo: str = ""
    smtputf8: bool = False
    lmtp: bool = False
    id: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What policy says about a post: `accept`, `hold`, `refuse` or `drop`, and why.

    `text` is one sentence for the sender; `reason` a short name for the log (`non-member`).
    """

    action: Literal["accept", "hold", "refuse", "drop"]
    reason: str = ""
    text: str = ""
    code: int = 550
    enhanced: str = "5.7.1"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mail for one of its recipients; `code` is the SMTP or LMTP reply."""

    rcpt: str
    code: int
    enhanced: str
    text: str
    what: str = ""


class Status(NamedTuple):
    """How an attempt to deliver ended: RFC 3463 code and the server's own words."""

    state: State
    enhanced: str
    reply: str


@dataclass(frozen=True, slots=True)
class Mailing:
    """One thing to be sent to many: a post's fan-out, a digest issue, a notice or a forward.

    `template` and `values` make a notice; `ref_id` is the post or digest issue otherwise. Nothing in
    the mail made from it depends on when it is sent, so a repeated send is byte-identical. `mail` is the
    id of the mail that was the cause.
    """

    id: int
    list_id: int | None
    kind: Kind
    ref_id: int | None
    template: str
    values: dict[str, object] = field(hash=False)
    reply_to: str
    mail_from: str
    created_at: float
    mail: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A post that waits for a moderator; its bytes are fetched apart."""

    id: int
    list_id: int
    mail_from: str
    from_address: str
    subject: str
    message_id: str
    reason: str
    under: str
    received_at: float
    size: int
    mail: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """A question mailed to `address` that waits for a reply. `action` is join, leave, set or return."""

    id: int
    list_id: int
    action: str
    address: str
    name: str
    mode: str
    created_at: float
    expires_at: float
    done_at: float | None


@dataclass(frozen=True, slots=True)
class Failing:
    """How it stands with a member whose mail has come back.

    `points` as they were at `step_at`, when a failure counted last; `hard` and `soft` are the days on
    which mail failed, since `first_at`, and `step` is what the last of them was. `at`, `enhanced` and
    `reply` tell of the last failure. `state` is counting, probing, returned (the probe) or suspended;
    the clock looks at it at `due_at`. `probe` is the mailing that tests the address, sent at `probed_at`.
    """

    member_id: int
    list_id: int
    state: str = "counting"
    points: int = 0
    hard: int = 0
    soft: int = 0
    first_at: float = 0.0
    step_at: float = 0.0
    step: str = "none"
    at: float = 0.0
    enhanced: str = ""
    reply: str = ""
    cause: str = ""
    storm_at: float = 0.0
    due_at: float | None = None
    probe: int = 0
    probed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Shunted:
    """A mail that a fault of ours kept from being handled, or an import could not take; its bytes are fetched apart.

    One of an import has no recipients.
    """

    id: int
    mail_from: str
    rcpts: tuple[str, ...]
    reason: str
    times: int
    at: float
    size: int
    mail: str = ""


@dataclass(frozen=True, slots=True)
class Issue:
    """A digest issue: the posts of a list with `after_post` < id <= `last_post`."""

    id: int
    list_id: int
    number: int
    after_post: int
    last_post: int
    posts: int
    created_at: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """One mailing to one recipient. `attempts` counts those already made."""

    id: int
    mailing_id: int
    list_id: int | None
    member_id: int | None
    rcpt: str
    state: State
    attempts: int
    created_at: float
    due_at: float
    enhanced: str
    reply: str
    mail: str = ""


class Due(NamedTuple):
    """A delivery as a worker takes it in hand: made in thousands, so a tuple."""

    id: int
    mailing_id: int
    member_id: int | None
    rcpt: str
    attempts: int
    created_at: float
    due_at: float
