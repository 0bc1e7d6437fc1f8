"""When a digest is due."""

from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mailforum.chores import send_due_digests
from mailforum.forum import digests
from mailforum.forum.digests import next_time
from mailforum.model import MailingList
from mailforum.settings import ListSettings
from tests.support.mails import mail
from tests.support.site import running_site

VIENNA = ZoneInfo("Europe/Vienna")


def at(text: str, zone: ZoneInfo = VIENNA) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("after", "due"),
    [
        ("2026-11-22 06:59", "2026-11-22 07:00"),
        ("2026-11-22 07:00", "2026-11-23 07:00"),
        ("2026-11-22 23:59", "2026-11-23 07:00"),
        ("2026-03-28 12:00", "2026-03-29 07:00"),  # the night that summer time begins
        ("2026-10-24 12:00", "2026-10-25 07:00"),  # and the one it ends
    ],
)
def test_it_is_due_at_the_lists_hour_in_the_lists_zone(after: str, due: str) -> None:
    settings = ListSettings(digest_hour=7, timezone="Europe/Vienna")
    mlist = MailingList(1, "pmo@lists.example.test", "PMO", settings, 0.0)
    assert next_time(mlist, at(after)) == at(due)


@pytest.mark.parametrize("hour", range(24))
def test_there_is_one_digest_a_day_all_through_the_year(hour: int) -> None:
    settings = ListSettings(digest_hour=hour, timezone="Europe/Vienna")
    mlist = MailingList(1, "pmo@lists.example.test", "PMO", settings, 0.0)
    moment, days = at("2026-01-01 00:00") - 1, []
    while moment < at("2027-01-01 00:00") - 1:
        moment = next_time(mlist, moment)
        days.append(datetime.fromtimestamp(moment, VIENNA).date())
    assert len(days) == len(set(days)) == 366


async def test_a_list_that_was_quiet_for_days_sends_its_digest_at_its_next_hour_and_not_at_once(tmp_path: Path) -> None:
    async with running_site(tmp_path) as site:
        core = site.service.core
        await site.cli("list", "create", "pmo")
        await site.cli("list", "create", "lab")
        await site.cli("list", "set", "pmo", "posting=anyone")
        await site.cli("member", "add", "pmo", "bob@example.com", "--mode", "digest", "--no-welcome")
        # Nine in the morning, five days later; the hour of the digest is seven.
        site.clock.shift += 5 * 86400 + (9 * 3600 - core.clock.now()) % 86400
        await site.send("ada@example.org", ["pmo@lists.example.test"], mail(name="one"))
        await send_due_digests(core, core.clock.now())
        assert await core.db.read(lambda tx: digests.due(tx, core.clock.now())) == []
        site.clock.shift += 21 * 3600
        await send_due_digests(core, core.clock.now())
        await site.quiet()
        assert site.sink.to("bob@example.com") == []
        site.clock.shift += 2 * 3600
        due = await core.db.read(lambda tx: digests.due(tx, core.clock.now()))
        assert [mlist.name for mlist in due] == ["pmo"]
        await send_due_digests(core, core.clock.now())
        await site.quiet()
        assert len(site.sink.to("bob@example.com")) == 1
