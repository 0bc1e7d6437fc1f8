"""One mail for one of our addresses: who deals with it.

Everything here runs inside the transaction that ends before the sender is told 250.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from mailforum.errors import Refused
from mailforum.forum import bounces, commands, members, moderation, owners, policy, posts, storms
from mailforum.forum.site import Incoming
from mailforum.mail import address, report
from mailforum.mail.message import Message
from mailforum.model import MemberStatus, Outcome, Route, RouteRole, Verdict
from mailforum.store import intake, lists
from mailforum.store.database import Tx

_FOR_POSTS = {RouteRole.POST, RouteRole.REPLY}
# These are written to by machines, and must hear them.
_FOR_MACHINES = {RouteRole.BOUNCES, RouteRole.OWNER, RouteRole.POSTMASTER}
_FOR_ANY = {RouteRole.REQUEST, RouteRole.SITE, RouteRole.POSTMASTER}


def decides_about(routes: Sequence[Route], msg: Message) -> Collection[int] | None:
    """Return the lists (ids) that a mail to `routes` decides about; None if they cannot be told from these.

    A command may name any list, and what a complaint is about, the mail that came back with it has to prove.
    """
    complaint = report.may_complain(msg)
    if any(way.mlist is None or way.role in _FOR_ANY or (complaint and way.role in _FOR_MACHINES) for way in routes):
        return None
    return {way.mlist.id for way in routes if way.mlist}


def handle(tx: Tx, mail: Incoming) -> Outcome:
    """Act on the mail and say what became of it. Raises Refused when it may not be sent here.

    A handler raises Refused before it writes anything: what it has written would stay.
    The same mail again, after a lost reply or through a second MX, is taken and not acted on twice.
    """
    if mail.route.role not in _FOR_MACHINES:
        verdict = policy.automatic(mail, command=mail.route.role not in _FOR_POSTS)
        if verdict:
            return _not_accepted(mail, verdict)
    key, fingerprint = _key(mail.route), mail.msg.fingerprint
    if mail.route.role in _FOR_POSTS and mail.msg.author:
        lists.member_ahead(tx, mail.mlist.id, address.key(mail.msg.author.address))
    if not intake.see(tx, key, fingerprint, mail.now):
        return mail.done("duplicate", "This mail is here already.")
    try:
        return HANDLERS[mail.route.role](tx, mail)
    except Refused:
        # Who is refused may join, and send the very same mail again.
        intake.unsee(tx, key, fingerprint)
        raise


def _key(route: Route) -> str:
    """What a repeated mail is recognised under: the list and role, however the address was spelt."""
    list_address = route.mlist.address if route.mlist else ""
    if route.role in _FOR_POSTS:
        return f"{RouteRole.POST} {list_address}"
    return f"{route.role} {list_address} {route.detail}"


def _post(tx: Tx, mail: Incoming) -> Outcome:
    author = mail.msg.author
    member = lists.member(tx, mail.mlist.id, address.key(author.address)) if author else None
    words = commands.bare(mail.msg)
    if words and (words[0] in commands.JOIN_WORDS) == (member is None):
        return commands.obey_bare(tx, mail, words)
    under = ""
    if mail.route.role is RouteRole.REPLY:
        under = posts.name_of(tx, posts.named_by(tx, mail.site.signer, mail.mlist, mail.route.detail))
    verdict = policy.decide(policy.Question(mail, member))
    newcomer = None
    if verdict.action == "accept":
        newcomer = posts.ahead(tx, mail.mlist, mail.msg, mail.raw, mail.now, under)
        verdict = storms.judge(tx, mail) or verdict
    if verdict.action == "hold":
        once = member is None or verdict.reason == storms.TOO_MANY
        return moderation.hold(tx, mail, verdict, under, once=once)
    if verdict.action != "accept":
        return _not_accepted(mail, verdict)
    post = posts.accept(tx, mail.mlist, mail.msg, mail.raw, mail.now, under, newcomer)
    if member and member.status is MemberStatus.BOUNCING:
        members.offer_return(tx, mail.site, mail.mlist, member, mail.now)
    return mail.done(f"post {post.label}", f"Taken as #{post.label}.")


def _for_owners(tx: Tx, mail: Incoming) -> Outcome:
    return bounces.complain(tx, mail) or owners.forward(tx, mail)


def _at_bounces(tx: Tx, mail: Incoming) -> Outcome:
    """A person who writes to the return path means the people behind it."""
    return bounces.note(tx, mail) or owners.forward(tx, mail)


def _not_accepted(mail: Incoming, verdict: Verdict) -> Outcome:
    if verdict.action == "drop":
        return mail.done(f"dropped: {verdict.reason}")
    raise Refused(verdict.text, verdict.reason, code=verdict.code, enhanced=verdict.enhanced)


HANDLERS: dict[RouteRole, Callable[[Tx, Incoming], Outcome]] = {
    RouteRole.POST: _post,
    RouteRole.REPLY: _post,
    RouteRole.JOIN: members.ask_to_join,
    RouteRole.LEAVE: members.ask_to_leave,
    RouteRole.CONFIRM: members.confirm,
    RouteRole.REQUEST: commands.obey,
    RouteRole.SITE: commands.obey,
    RouteRole.HELP: commands.send_help,
    RouteRole.INFO: commands.send_info,
    RouteRole.OWNER: _for_owners,
    RouteRole.POSTMASTER: _for_owners,
    RouteRole.BOUNCES: _at_bounces,
}
