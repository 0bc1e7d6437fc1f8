"""What the clock does about mail that comes back: tests addresses, stops mail, tells the owners.

counting -> the limit is reached, and it is no storm -> a test is mailed: probing
probing  -> the test has not come back in a week -> all is forgotten
returned -> the test has come back -> the member gets no more, and a mail that says how to return
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from mailforum.forum import members, notices
from mailforum.forum.bounces import STORM
from mailforum.forum.site import Site
from mailforum.mail import address
from mailforum.model import Failing, MailingList, Member, MemberStatus
from mailforum.store import bounces, lists
from mailforum.store.bounces import Storm
from mailforum.store.database import Tx

BATCH = 100  # members, or lists, in one transaction
PROBE = 7 * 86400.0  # seconds: longer than a mail server tries
AGAIN = 7 * 86400.0  # after which the owners hear once more of a storm that goes on
SHOWN = 20  # members named in a summary
PART = 3  # one in so many of a domain's members, and it is the domain, not they


@dataclass(frozen=True, slots=True)
class Done:
    """One thing the clock has done: suspended, probed, cleared, storm or summary, and about whom."""

    what: str
    list_address: str
    about: str


def is_due(tx: Tx, site: Site, now: float) -> bool:
    """Say whether there is something to do, without writing: most times there is nothing."""
    return bool(bounces.due(tx, now, 1) or bounces.to_tell(tx, now, 1) or _untold(tx, site, now))


def keep(tx: Tx, site: Site, now: float) -> list[Done]:
    """Do what is due, a bounded part of it in one unit; return what was done."""
    return [*_members(tx, site, now), *_storms(tx, site, now), *_summaries(tx, site, now)]


def _members(tx: Tx, site: Site, now: float) -> Iterator[Done]:
    for failing in bounces.due(tx, now, BATCH):
        member, mlist = lists.member_by_id(tx, failing.member_id), lists.by_id(tx, failing.list_id)
        assert member is not None
        assert mlist is not None
        yield Done(_act(tx, site, mlist, member, failing, now), mlist.address, member.address)


def _act(tx: Tx, site: Site, mlist: MailingList, member: Member, failing: Failing, now: float) -> str:
    if member.status is not MemberStatus.ACTIVE or failing.state == "probing":
        bounces.clear(tx, member.id)
        return "cleared"
    if failing.state == "counting" and _in_storm(tx, site, failing, member, now):
        bounces.keep(tx, replace(failing, points=0, hard=0, soft=0, due_at=None))
        return "spared"
    if failing.state == "counting" and mlist.settings.bounce_probe:
        return _probe(tx, site, mlist, member, failing, now)
    lists.change_member(tx, replace(member, status=MemberStatus.BOUNCING))
    bounces.keep(tx, replace(failing, state="suspended", due_at=None))
    members.way_back(tx, site, mlist, member, now, reply=failing.reply)
    return "suspended"


def _probe(tx: Tx, site: Site, mlist: MailingList, member: Member, failing: Failing, now: float) -> str:
    """Mail a test. Its return path is its own, so that nothing else passes for its failure."""
    token = site.signer.make("probe", member.id, mlist.address, str(int(now)))
    mailing = notices.send(
        tx,
        "notice/probe",
        member.address,
        now,
        mlist=mlist,
        mail_from=mlist.sub("bounces", token),
        member_id=member.id,
        values={"reply": failing.reply},
    )
    bounces.keep(tx, replace(failing, state="probing", due_at=now + PROBE, probe=mailing, probed_at=now))
    return "probed"


def _in_storm(tx: Tx, site: Site, failing: Failing, member: Member, now: float) -> bool:
    domain = address.domain_of(member.key)
    storm = bounces.storm(tx, failing.list_id, domain, failing.cause, now - STORM - 3600)
    return storm is not None and storm.members >= site.storm and _is_of_domain(tx, storm)


def _is_of_domain(tx: Tx, storm: Storm) -> bool:
    """Say whether so many of a domain's members fail that it is not their own doing."""
    return storm.members * PART >= bounces.members_at(tx, storm.list_id, storm.domain)


def _storms(tx: Tx, site: Site, now: float) -> Iterator[Done]:
    """Tell owners, once, that many were turned away in the same words, and why."""
    for storm in _untold(tx, site, now):
        mlist = lists.by_id(tx, storm.list_id)
        assert mlist is not None
        bounces.told_storm(tx, storm, now)
        if storm.domain and not _is_of_domain(tx, storm):
            continue
        domains = bounces.storm_domains(tx, storm)
        notices.tell_owners(
            tx,
            site,
            mlist,
            "owner/storm",
            now,
            members=storm.members,
            domains=domains,
            posts=bounces.storm_posts(tx, storm),
            reply=storm.reply,
            policy=not storm.domain,
        )
        yield Done("storm", mlist.address, ",".join(name for name, _ in domains))


def _untold(tx: Tx, site: Site, now: float) -> list[Storm]:
    return bounces.untold_storms(tx, begin=now - STORM, size=site.storm, before=now - AGAIN)


def _summaries(tx: Tx, site: Site, now: float) -> Iterator[Done]:
    """Tell owners once a day whose mail came back, where there is something to tell."""
    for list_id, since in bounces.to_tell(tx, now, BATCH):
        mlist = lists.by_id(tx, list_id)
        assert mlist is not None
        bounces.told(tx, list_id, now)
        found = [(to, failing) for to, failing in bounces.of_list(tx, list_id) if failing.at > since]
        counts = bounces.counts(tx, list_id, since, now)
        rows = [(to, failing.state, failing.points, failing.reply) for to, failing in found[:SHOWN]]
        notices.tell_owners(
            tx,
            site,
            mlist,
            "owner/bounces",
            now,
            rows=rows,
            more=len(found) - len(rows),
            counts={kind: reports for kind, (reports, _) in counts.items()},
        )
        yield Done("summary", mlist.address, str(len(found)))
