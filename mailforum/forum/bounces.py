"""Mail that did not arrive, told by a report or seen by ourselves: whose, why, and what it counts for.

    report    read in any form; whom it is about is proved by what only we can have made
    judge     the mailbox's fault for good or for now, the mail's own, or merely late
    count     points for the member (scoring.py), and one for a storm in the same words

Here it is only written down. The clock does what follows from it (suspension.py): by then it is known
whether one mailbox is gone or a whole provider turns our mail away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from mailforum.errors import Refused
from mailforum.forum import members, notices, route, scoring
from mailforum.forum.site import Incoming
from mailforum.mail import address, failure, headers, report, second_opinion, verp
from mailforum.mail.report import Report, ReportedRecipient
from mailforum.model import Failing, MailingList, Member, MemberStatus, Outcome, RouteRole, State, Status
from mailforum.store import bounces, intake, lists
from mailforum.store.database import Tx

UNPROVEN_PER_DAY = 100  # how many unproven reports a list writes down in a day
WAIT = 3600.0  # seconds before the clock acts on a limit that is reached: so long a storm has to show itself
STORM = 86400.0  # seconds within which the failures of a storm come
TELL = 86400.0  # how often the owners are told, at most
_TOKEN = re.compile(r"[a-z2-7]{26}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Said:
    """What one failure comes to."""

    kind: failure.Failure
    action: str
    enhanced: str
    reply: str


def note(tx: Tx, mail: Incoming) -> Outcome | None:
    """Take in what comes to a bounce address; None if it is a person's mail."""
    done = complain(tx, mail)
    if done:
        return done
    found = report.find(mail.msg, mail.envelope.mail_from) or _second_opinion(mail)
    if found is None:
        robot = headers.robot(mail.msg, mail.envelope.mail_from)
        if not robot and headers.via_list(mail.msg):
            robot = "came through another list"
        return mail.done(f"no report: {robot}") if robot else None
    if found.kind == "other":
        return mail.done("feedback, no complaint")
    proof = _proof(tx, mail, found)
    if proof is None or proof[0].id != mail.mlist.id:
        return mail.done(_unproven(tx, mail, found))
    mlist, member, probe = proof
    said = _said(found, member.key)
    if said.kind in ("none", "delayed"):
        return mail.done(f"{found.kind}: {member.address}")
    _fail(tx, mlist, member, said, mail.now, probe=probe, about=found.returned.message_id if found.returned else "")
    return mail.done(f"bounce for {member.address}: {said.kind}")


def _second_opinion(mail: Incoming) -> Report | None:
    return second_opinion.find(mail.msg, mail.raw, mail.envelope.mail_from)


def failed(tx: Tx, member_id: int | None, mailing_id: int, status: Status, now: float) -> None:
    """Count a delivery to a member that has failed for good, in the unit that marks it.

    Deliveries to nobody in particular, and such as are sent or tried again, mean nothing here. Not to be
    called where a whole mail was refused for all its recipients, or a provider turns everything away.
    """
    if status.state is not State.FAILED or member_id is None:
        return
    member = lists.member_by_id(tx, member_id)
    mlist = lists.by_id(tx, member.list_id) if member else None
    if member is None or mlist is None:
        return
    kind = failure.judge("failed", status.enhanced, status.reply)
    known = bounces.failing(tx, member.id)
    probe = known is not None and known.state == "probing" and known.probe == mailing_id
    said = _Said(kind, "failed", status.enhanced, status.reply[: report.MAX_DIAGNOSTIC])
    about = bounces.post_of(tx, mailing_id) if kind == "policy" else ""
    _fail(tx, mlist, member, said, now, probe=probe, about=about)


def complain(tx: Tx, mail: Incoming) -> Outcome | None:
    """Take off its list whoever called a mail of ours spam (RFC 5965); None if this is no proven complaint."""
    found = report.complaint(mail.msg)
    if found is None:
        return None
    proof = _proof(tx, mail, found)
    if proof is None:
        return mail.done(_unproven(tx, mail, found)) if mail.route.role is RouteRole.BOUNCES else None
    mlist, member, _ = proof
    said = _Said("none", "abuse", "", mail.msg.text("Subject"))
    _write(tx, mlist, member, said, mail.now, kind="complaint")
    lists.remove_member(tx, member.id)
    notices.tell_owners(
        tx, mail.site, mlist, "owner/complaint", mail.now, address=member.address, role=member.role.value
    )
    return mail.done(f"complaint: {member.address} has left")


def _proof(tx: Tx, mail: Incoming, found: Report) -> tuple[MailingList, Member, bool] | None:
    """Find the member by what only we can have made: the return path, or else the way out of the list.

    The third value says whether it is the address that tests theirs.
    """
    returned = found.returned
    paths = [mail.route.rcpt if mail.route.role is RouteRole.BOUNCES else "", found.return_path]
    paths += [value.strip("<> ") for value in returned.get_all("Return-Path")] if returned else []
    for path in filter(None, paths):
        proof = _by_path(tx, mail, path)
        if proof:
            return proof
    ways_out = " ".join(returned.get_all("List-Unsubscribe"))[:5000] if returned else ""
    for token in _TOKEN.findall(ways_out)[:5]:
        left = members.named_by(tx, mail.site.signer, token)
        if left:
            return *left, False
    return None


def _by_path(tx: Tx, mail: Incoming, path: str) -> tuple[MailingList, Member, bool] | None:
    try:
        way = route.find(tx, path, mail.site.domain)
    except Refused:
        return None
    if way.mlist is None or way.role is not RouteRole.BOUNCES or not way.detail:
        return None
    signer, own = mail.site.signer, way.mlist.sub("bounces")
    key = verp.proven(signer, own, way.detail, mail.now)
    member = lists.member(tx, way.mlist.id, key) if key else lists.member_by_id(tx, signer.peek(way.detail) or 0)
    if member is None:
        return None
    if key or verp.proves(signer, own, way.detail, member.id, member.key, mail.now):
        return way.mlist, member, False
    known = bounces.failing(tx, member.id)
    if known and signer.check(way.detail, "probe", member.id, way.mlist.address, str(int(known.probed_at))):
        return way.mlist, member, known.state == "probing"
    return None


def _said(found: Report, key: str) -> _Said:
    """Say what a report comes to for the member with this key, whose return path outweighs all names in it."""
    named = [one for one in found.recipients if address.key(one.address) == key]
    failed = [one for one in found.recipients if one.action == "failed"]
    nobody = ReportedRecipient("", "failed" if found.kind == "delivery" else found.kind, "", "")
    one = next(iter(named or failed or found.recipients), nobody)
    return _Said(failure.judge(one.action, one.status, one.diagnostic), one.action, one.status, one.diagnostic)


def _unproven(tx: Tx, mail: Incoming, found: Report) -> str:
    """Write down a report that anybody may have written. It counts for nothing."""
    mlist, first = mail.mlist, next(iter(found.recipients), None)
    claimed = address.unverp(mail.route.detail)
    about = first.address if first and first.address else claimed.address if claimed else ""
    if intake.count_answer(tx, mlist.id, "unproven bounces", mail.now) <= UNPROVEN_PER_DAY:
        action, status = (first.action, first.status) if first else (found.kind, "")
        reply = first.diagnostic if first else mail.msg.text("Subject")
        said = _Said("none", action, status, reply[: report.MAX_DIAGNOSTIC])
        _write(tx, mlist, about, said, mail.now, kind="unproven")
        bounces.tell(tx, mlist.id, mail.now + TELL)
    return f"unproven bounce for {about or 'nobody'}"


def _write(
    tx: Tx, mlist: MailingList, whose: Member | str, said: _Said, now: float, *, kind: str, about: str = ""
) -> None:
    to = whose if isinstance(whose, str) else whose.address
    bounces.add(
        tx,
        mlist.id,
        None if isinstance(whose, str) else whose.id,
        to,
        kind=kind,
        action=said.action,
        enhanced=said.enhanced,
        diagnostic=said.reply,
        domain=address.domain_of(address.key(to)),
        cause=failure.cause(said.reply),
        about=about,
        now=now,
    )


def _fail(tx: Tx, mlist: MailingList, member: Member, said: _Said, now: float, *, probe: bool, about: str) -> None:
    """Count one failure of a member's mail; `about` is the Message-ID of that mail, if it is known."""
    _write(tx, mlist, member, said, now, kind=said.kind, about=about)
    before = bounces.failing(tx, member.id) or Failing(member.id, mlist.id)
    cause = failure.cause(said.reply)
    after = replace(before, at=now, enhanced=said.enhanced, reply=said.reply, cause=cause)
    if before.cause != cause or max(0.0, now - before.storm_at) >= scoring.DAY:
        domain = "" if said.kind == "policy" else address.domain_of(member.key)
        bounces.count_storm(tx, mlist.id, domain, cause, reply=said.reply, now=now, begin=now - STORM)
        after = replace(after, storm_at=now)
    if said.kind != "policy":
        after = scoring.step(after, said.kind, now, mlist.settings)
        after = _next(after, member, mlist, now, probe=probe)
    if said.kind != "soft":
        bounces.tell(tx, mlist.id, now + TELL)
    bounces.keep(tx, after)


def _next(after: Failing, member: Member, mlist: MailingList, now: float, *, probe: bool) -> Failing:
    """Say what the clock has to do: nothing yet, look whether it is too much, or act on a probe come back."""
    if probe:
        return replace(after, state="returned", due_at=now)
    counting = member.status is MemberStatus.ACTIVE and after.state == "counting"
    if counting and after.due_at is None and scoring.too_many(after, now, mlist.settings):
        return replace(after, due_at=now + WAIT)
    return after
