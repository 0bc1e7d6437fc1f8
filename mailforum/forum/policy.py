"""May this mail be posted? An ordered table of checks; the first that has something to say decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mailforum.forum.site import Incoming
from mailforum.mail import headers
from mailforum.model import Member, MemberStatus, Role, Verdict

ACCEPT = Verdict("accept")


@dataclass(frozen=True, slots=True)
class Question:
    """A mail that wants to be a post, and the member its From names, if it is one."""

    mail: Incoming
    member: Member | None


def decide(question: Question) -> Verdict:
    """Return what to do with the mail: accept, hold, refuse or drop."""
    return next(filter(None, (check(question) for check in CHECKS)), ACCEPT)


def automatic(mail: Incoming, *, command: bool = False) -> Verdict | None:
    """Loops are refused and robots put away: neither is ever answered, posted or obeyed.

    A mail that came through another list may be a post, but is never a `command` (RFC 3834).
    """
    lists = (mail.mlist.list_id,) if mail.route.mlist else ()
    loop = headers.looping(mail.msg, lists)
    if loop:
        return Verdict("refuse", f"loop: {loop}", "This mail has been here before.", 550, "5.4.6")
    robot = headers.robot(mail.msg, mail.envelope.mail_from)
    if not robot and command and headers.via_list(mail.msg):
        robot = "came through another list"
    return Verdict("drop", f"robot: {robot}") if robot else None


def _no_author(question: Question) -> Verdict | None:
    if question.mail.msg.author:
        return None
    text = "A post needs one sender in From; this mail has none or several."
    return Verdict("refuse", "no single author", text, 550, "5.6.0")


def _too_big(question: Question) -> Verdict | None:
    limit = question.mail.mlist.settings.max_size
    if not limit or len(question.mail.raw) <= limit:
        return None
    text = f"This list takes mail of up to {limit // 1024} KiB; yours has {len(question.mail.raw) // 1024} KiB."
    return Verdict("refuse", "too big", text, 552, "5.3.4")


def _moderators_only(question: Question) -> Verdict | None:
    if question.mail.mlist.settings.posting != "moderators" or _in_charge(question.member):
        return None
    text = f"Only the moderators post to this list; write to {question.mail.mlist.sub('owner')} to reach them."
    return Verdict("refuse", "not a moderator", text)


def _not_a_member(question: Question) -> Verdict | None:
    settings = question.mail.mlist.settings
    if question.member or settings.posting != "members":
        return None
    if settings.nonmembers == "hold":
        return Verdict("hold", "not a member", "Posts from people who are not members are read first.")
    join = question.mail.mlist.sub("join")
    return Verdict("refuse", "not a member", f"Only members post to this list; write to {join} to join.")


def _suspended(question: Question) -> Verdict | None:
    if question.member and question.member.status is MemberStatus.SUSPENDED:
        return Verdict("hold", "suspended member", "Your membership is suspended, so a moderator reads this first.")
    return None


def _moderated(question: Question) -> Verdict | None:
    if question.mail.mlist.settings.moderated and not _in_charge(question.member):
        return Verdict("hold", "moderated list", "Every post to this list is read by a moderator first.")
    return None


def _in_charge(member: Member | None) -> bool:
    return member is not None and member.role in (Role.OWNER, Role.MODERATOR)


CHECKS: tuple[Callable[[Question], Verdict | None], ...] = (
    _no_author,
    _too_big,
    _moderators_only,
    _not_a_member,
    _suspended,
    _moderated,
)
