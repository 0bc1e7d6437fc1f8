"""What two clocks, and two who send, may do at the same moment (see games.py)."""

from __future__ import annotations

from functools import partial
from unittest.mock import patch

from mailforum.chores import Chores, keep_bounces, send_due_digests, tell_what_waits
from mailforum.core import Core
from mailforum.forum import search
from mailforum.model import MailingList, Mode
from mailforum.store import bounces, intake, queue, upkeep
from tests.races.acts import DAY, held, letter, taken, texts
from tests.races.hosts import Hosts, take


async def digest(hosts: Hosts) -> None:
    """Two clocks find that a digest is due."""
    mlist = await hosts.new_list("ada", mode=Mode.DIGEST)
    taken([await take(hosts.one, "ada@example.org", mlist.address, letter("news"))])
    for result in await hosts.at_once(*[send_due_digests(core, hosts.now + 2 * DAY) for core in hosts.cores]):
        assert result is None, result
    assert await _issues(hosts, mlist) == (1, 1)
    sent = (
        "SELECT count(*) FROM delivery JOIN mailing ON mailing.id = mailing_id WHERE list_id = %s AND kind = 'digest'"
    )
    assert await hosts.count(sent, mlist.id) == 1


async def _issues(hosts: Hosts, mlist: MailingList) -> tuple[int, int]:
    """How many issues a list has, and how many posts are in them."""
    issues = await hosts.count("SELECT count(*) FROM issue WHERE list_id = %s", mlist.id)
    return issues, await hosts.count("SELECT coalesce(sum(posts), 0) FROM issue WHERE list_id = %s", mlist.id)


async def digest_beside_a_post(hosts: Hosts) -> None:
    """A post is about to be stored while a later one is, and goes into a digest."""
    mlist = await hosts.new_list("ada", mode=Mode.DIGEST)
    taken([await take(hosts.one, "ada@example.org", mlist.address, letter("first"))])

    async def later() -> None:
        taken([await take(hosts.cores[1], "ada@example.org", mlist.address, letter("later"))])
        await send_due_digests(hosts.cores[1], hosts.now + 2 * DAY)

    results = await hosts.while_it_ends(
        take(hosts.one, "ada@example.org", mlist.address, letter("slow", "first")), later()
    )
    taken(results[:1])
    assert results[1] is None, results
    await send_due_digests(hosts.one, hosts.now + 4 * DAY)
    assert (await _issues(hosts, mlist))[1] == 3


async def owners_told(hosts: Hosts) -> None:
    """Two clocks find that the owners have not heard of held posts, or of mail that comes back."""
    mlist = await hosts.new_list("owner")
    await held(hosts, mlist, age=7200.0)
    await hosts.one.db.write(lambda tx: bounces.tell(tx, mlist.id, hosts.now - 1))

    async def tick(core: Core) -> None:
        await tell_what_waits(core, hosts.now)
        await keep_bounces(core, hosts.now)

    for result in await hosts.at_once(*map(tick, hosts.cores)):
        assert result is None, result
    assert (await texts(hosts, mlist, "owner/held-more"), await texts(hosts, mlist, "owner/bounces")) == (1, 1)


# -- the queue, and what is old


async def fan_out(hosts: Hosts) -> None:
    """A long fan-out is gone on with by both."""
    mlist = await hosts.new_list("ada", "bob", "cleo", "dan", "eve", "fay", "gil", "hal")
    with patch.object(queue, "STEP", 2):
        taken([await take(hosts.one, "ada@example.org", mlist.address, letter("long"))])
        for result in await hosts.at_once(*map(_goes_on, hosts.cores)):
            assert result is None, result
        await _goes_on(hosts.one)
    sent = (
        "SELECT count(*), count(DISTINCT rcpt) FROM delivery JOIN mailing ON mailing.id = mailing_id WHERE list_id = %s"
    )
    assert await hosts.row(sent, mlist.id) == (8, 8)


async def _goes_on(core: Core) -> None:
    while await core.db.write(queue.go_on_fanning_out, ()):  # as delivery/fanning.py has it
        pass


async def seen_again(hosts: Hosts) -> None:
    """A mark of long ago is set anew while it is too old to be kept."""
    mark, now = hosts.random.randbytes(8), hosts.now
    await hosts.one.db.write(lambda tx: intake.see_again(tx, "race", mark, now - 30 * DAY, within=0), ())
    (drop,) = [step for name, step, _ in upkeep.steps(hosts.one.config.store, 14 * DAY, now) if name == "seen"]
    see = hosts.one.db.write(lambda tx: intake.see_again(tx, "race", mark, now, within=DAY), ())
    results = await hosts.at_once(see, hosts.cores[1].db.write(partial(drop, 0), ()))
    assert results[0] is True, results
    assert await hosts.one.db.read(lambda tx: intake.seen_at(tx, "race", mark)) == now


async def pruned(hosts: Hosts) -> None:
    """Two clocks clear away what is old."""
    some = "SELECT 'pruned', convert_to(n::text, 'UTF8'), 1 FROM generate_series(1, 700) AS n"
    await hosts.change(f"INSERT INTO seen (rcpt, digest, at) {some}")
    for result in await hosts.at_once(*[Chores(core).clean() for core in hosts.cores]):
        assert result is None, result
    assert await hosts.count("SELECT count(*) FROM seen WHERE rcpt = 'pruned'") == 0


async def indexing(hosts: Hosts) -> None:
    """Both put the same posts into the index."""
    mlist = await hosts.new_list("ada")
    for name in ("one", "two"):
        taken([await take(hosts.one, "ada@example.org", mlist.address, letter(name))])
    for result in await hosts.at_once(*[search.index_some(core.db) for core in hosts.cores]):
        assert isinstance(result, int), result
    entries = "FROM indexed JOIN post ON post.id = post_id JOIN full_text USING (entry) WHERE list_id = %s"
    assert await hosts.row(f"SELECT count(*), count(DISTINCT entry) {entries}", mlist.id) == (2, 2)


async def answers_counted(hosts: Hosts) -> None:
    """A stranger asks two lists, through two hosts, for more than anybody's share of answers."""
    who, both = f"stranger{hosts.random.randrange(10**9)}", [await hosts.new_list(), await hosts.new_list()]

    async def asks(core: Core, mlist: MailingList) -> None:
        for number in range(4):
            to = mlist.sub("help")
            taken([await take(core, f"{who}@example.org", to, letter(f"{who}.{number}", to=to, sender=who))])

    for result in await hosts.at_once(*map(asks, hosts.cores, both)):
        assert result is None, result
    got = "SELECT count(*) FROM delivery WHERE rcpt = %s"
    assert await hosts.count(got, f"{who}@example.org") == hosts.one.site.answers_to_strangers
