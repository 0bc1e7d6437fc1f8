"""Joining, leaving and changing how one reads, each asked for by mail and confirmed by a reply.

From can be forged by anyone, so what a mail asks for is done only when the address it names has
answered a question mailed there. The answer is an empty reply; its address carries the proof.
An unsubscribe address out of a mail of ours is such a proof already, for that one thing.
"""

from __future__ import annotations

from dataclasses import replace

from mailforum.errors import Refused
from mailforum.forum import notices, route
from mailforum.forum.site import Incoming, Site
from mailforum.mail import address
from mailforum.mail.token import Signer
from mailforum.model import MailingList, Member, MemberStatus, Mode, Outcome, Request, Role
from mailforum.store import bounces, intake, lists
from mailforum.store.database import Tx

LEFT = "left"
RETURN = 365 * 86400.0  # seconds in which whose mail came back may answer and get mail again
_NOT_VALID = "This confirmation is not valid (any more); please ask again."
# Beside the modes, what a member can ask to have set.
OWN_POSTS, NO_OWN_POSTS = "myposts-on", "myposts-off"


def ask_to_join(tx: Tx, mail: Incoming) -> Outcome:
    """Answer a mail to the join address: a question to the address it came from."""
    mode = Mode.DIGEST if mail.route.detail == "digest" else Mode.EACH
    return mail.done(join(tx, mail, mail.mlist, mode))


def join(tx: Tx, mail: Incoming, mlist: MailingList, mode: Mode) -> str:
    """Ask the sender to confirm that they want to join; return what was done, for the log.

    Raises Refused when the list takes nobody by mail, or the address cannot be a member.
    """
    sender = subscriber(tx, mail.sender, mail.site)
    member = lists.member(tx, mlist.id, address.key(sender))
    if member and member.status is MemberStatus.BOUNCING:
        return offer_return(tx, mail.site, mlist, member, mail.now)
    if member:
        notices.answer(tx, mail, "notice/already-member", about=mlist)
        return "already a member"
    if mlist.settings.joining == "closed":
        raise Refused("This list takes no new members by mail.", "joining is closed")
    name = mail.msg.author.name if mail.msg.author else ""
    if not mlist.settings.digest:
        mode = Mode.EACH
    return _ask(tx, mail, mlist, "join", sender, setting=mode, name=name)


def ask_to_leave(tx: Tx, mail: Incoming) -> Outcome:
    """Answer a mail to the leave address: done at once with a token of ours, else asked back."""
    named = named_by(tx, mail.site.signer, mail.route.detail)
    if named and named[0].id == mail.mlist.id:
        return mail.done(_left(tx, *named, mail.now))
    return mail.done(leave(tx, mail, mail.mlist))


def leave(tx: Tx, mail: Incoming, mlist: MailingList) -> str:
    """Ask the sender to confirm that they want to leave; return what was done, for the log."""
    if lists.member(tx, mlist.id, address.key(mail.sender)) is None:
        notices.answer(tx, mail, "notice/not-member", about=mlist)
        return "not a member"
    return _ask(tx, mail, mlist, "leave", mail.sender)


def change(tx: Tx, mail: Incoming, mlist: MailingList, setting: str) -> str:
    """Ask the sender to confirm a mode or `myposts-on|off`; return what was done, for the log."""
    if lists.member(tx, mlist.id, address.key(mail.sender)) is None:
        notices.answer(tx, mail, "notice/not-member", about=mlist)
        return "not a member"
    return _ask(tx, mail, mlist, "set", mail.sender, setting=setting)


def _ask(
    tx: Tx,
    mail: Incoming,
    mlist: MailingList,
    action: str,
    to: str,
    *,
    setting: str = Mode.EACH,
    name: str = "",
) -> str:
    """Mail a question to `to`, unless that address has been asked too often today: a stranger, once."""
    once = "" if notices.is_known(tx, mlist, to, mail.now) else "notice/confirm"
    if not notices.may_answer(tx, mail, mlist, to, once=once):
        return "not asked: too many answers today"
    expires_at = mail.now + mail.site.confirm_seconds
    request_id = intake.ask(tx, mlist.id, action, to, name=name, mode=setting, now=mail.now, expires_at=expires_at)
    notices.send(
        tx,
        "notice/confirm",
        to,
        mail.now,
        mlist=mlist,
        reply_to=_answer_to(mail.site, mlist, request_id, action, to),
        values={"action": action, "mode": setting, "days": round(mail.site.confirm_seconds / 86400)},
    )
    return f"asked to confirm: {action}"


def _answer_to(site: Site, mlist: MailingList, request_id: int, action: str, to: str) -> str:
    """Return the address whose use proves that the question was read where it was mailed to."""
    return mlist.sub("confirm", site.signer.make("confirm", request_id, action, mlist.address, address.key(to)))


def offer_return(tx: Tx, site: Site, mlist: MailingList, member: Member, now: float) -> str:
    """Mail somebody who writes, but gets no mail because it came back, how to return; once a day."""
    if intake.count_answer(tx, mlist.id, f"return {member.key}", now) > 1:
        return "gets no mail: told before"
    failing = bounces.failing(tx, member.id)
    way_back(tx, site, mlist, member, now, reply=failing.reply if failing else "")
    return "gets no mail: told how to return"


def way_back(tx: Tx, site: Site, mlist: MailingList, member: Member, now: float, *, reply: str) -> None:
    """Mail a member that they get no more because mail came back, with the words `reply`, and how to return."""
    to = member.address
    request_id = intake.ask(tx, mlist.id, "return", to, name="", mode=member.mode, now=now, expires_at=now + RETURN)
    answer_to = _answer_to(site, mlist, request_id, "return", to)
    notices.send(tx, "notice/suspended", to, now, mlist=mlist, reply_to=answer_to, values={"reply": reply})


def reactivate(tx: Tx, member: Member) -> Member:
    """Forget that a member's mail came back, and send them mail again if that was why they got none."""
    bounces.clear(tx, member.id)
    if member.status is MemberStatus.BOUNCING:
        member = replace(member, status=MemberStatus.ACTIVE)
        lists.change_member(tx, member)
    return member


def confirm(tx: Tx, mail: Incoming) -> Outcome:
    """Do what the reply to a question confirms. Raises Refused for a token that is not good."""
    return mail.done(confirm_by_token(tx, mail.site, mail.route.detail, mail.now, of=mail.mlist))


def confirm_by_token(tx: Tx, site: Site, token: str, now: float, of: MailingList | None = None) -> str:
    """Do what `token` stands for, once; return what was done, for the log. `of`: the list that it has to be of."""
    request, mlist = _request(tx, site, token)
    if of and mlist.id != of.id:
        raise Refused(_NOT_VALID, "the token of another list")
    if request.done_at is None and request.expires_at < now:
        raise Refused("This confirmation has expired; please ask again.", "expired token")
    if not intake.answered(tx, request.id, now):
        return f"confirmed before: {request.action}"
    notices.remember_proof(tx, request.address, now)
    if request.action == "join":
        return _joined(tx, site, mlist, request, now)
    member = lists.member(tx, mlist.id, address.key(request.address))
    if member is None:
        return f"{request.action}: no longer a member"
    if request.action == "leave":
        return _left(tx, mlist, member, now)
    member = reactivate(tx, member)  # who answers our mail gets it
    if request.action == "return":
        notices.send(tx, "notice/returned", member.address, now, mlist=mlist)
        return "returned"
    lists.change_member(tx, _changed(member, request.mode))
    notices.send(tx, "notice/changed", member.address, now, mlist=mlist, values={"mode": request.mode})
    return f"set {request.mode}"


def _changed(member: Member, setting: str) -> Member:
    if setting in (OWN_POSTS, NO_OWN_POSTS):
        return replace(member, own_posts=setting == OWN_POSTS)
    return replace(member, mode=Mode(setting))


def _request(tx: Tx, site: Site, token: str) -> tuple[Request, MailingList]:
    """Find the question a token answers. Raises Refused 550 when it is none of ours."""
    request = intake.request(tx, site.signer.peek(token) or 0)
    mlist = lists.by_id(tx, request.list_id) if request else None
    if (
        request is None
        or mlist is None
        or not site.signer.check(
            token, "confirm", request.id, request.action, mlist.address, address.key(request.address)
        )
    ):
        raise Refused(_NOT_VALID, "bad token")
    return request, mlist


def _joined(tx: Tx, site: Site, mlist: MailingList, request: Request, now: float) -> str:
    if mlist.settings.joining == "closed":
        notices.send(tx, "notice/join-refused", request.address, now, mlist=mlist)
        return "join: closed meanwhile"
    if mlist.settings.joining == "moderated":
        notices.send(tx, "notice/join-pending", request.address, now, mlist=mlist)
        notices.tell_owners(tx, site, mlist, "owner/join-request", now, address=request.address, name=request.name)
        return "join: a moderator decides"
    add(tx, mlist, request.address, now, name=request.name, mode=Mode(request.mode))
    return "joined"


def add(
    tx: Tx,
    mlist: MailingList,
    to: str,
    now: float,
    *,
    name: str = "",
    role: Role = Role.MEMBER,
    mode: Mode = Mode.EACH,
    welcome: bool = True,
) -> Member | None:
    """Make `to` a member and welcome them; None if they are one already.

    `to` must have passed `subscriber`.
    """
    member = lists.add_member(tx, mlist.id, to, address.key(to), name, role, mode, now)
    if member and welcome and mlist.settings.welcome:
        notices.send(tx, "notice/welcome", to, now, mlist=mlist, values={"mode": mode})
    return member


def subscriber(tx: Tx, text: str, site: Site) -> str:
    """Return the address to write to. Raises Refused 553 when it can be no member.

    No address of ours may be one: a list that is a member of a list is a loop (RFC 5321 section 6.3).
    """
    to = address.subscriber(text, special_domains=site.special_domains)
    try:
        route.find(tx, to, site.domain)
    except Refused:
        return to
    raise Refused("This address belongs to a list and cannot join one.", "our own address", code=553)


def leave_token(signer: Signer, mlist: MailingList, member_id: int, key: str) -> str:
    """Return the token that takes this member, and only them, off this list. It does not expire."""
    return signer.make("leave", member_id, mlist.address, key)


def leave_by_token(tx: Tx, site: Site, token: str, now: float) -> str:
    """Take off its list whoever `token` was mailed to; return `left`, `gone` or `bad token`.

    `gone` is somebody who has left before; a `bad token` may have been cut off on its way.
    """
    named = named_by(tx, site.signer, token)
    if named:
        return _left(tx, *named, now)
    row_id = site.signer.peek(token)
    return "gone" if row_id and lists.member_by_id(tx, row_id) is None else "bad token"


def named_by(tx: Tx, signer: Signer, token: str) -> tuple[MailingList, Member] | None:
    """Return list and member whose `leave_token` this is; None if it is nobody's (any more)."""
    member = lists.member_by_id(tx, signer.peek(token) or 0)
    mlist = lists.by_id(tx, member.list_id) if member else None
    if member and mlist and signer.check(token, "leave", member.id, mlist.address, member.key):
        return mlist, member
    return None


def _left(tx: Tx, mlist: MailingList, member: Member, now: float) -> str:
    lists.remove_member(tx, member.id)
    if mlist.settings.goodbye:
        notices.send(tx, "notice/goodbye", member.address, now, mlist=mlist)
    return LEFT
