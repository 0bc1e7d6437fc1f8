"""When a digest is due."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from mailforum.forum.digests import next_time
from mailforum.model import ListSettings, MailingList

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
