"""The promise after a 250, with real processes and real kills (all stages, and longer: `make chaos`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import ledger
from tests.chaos.game import play
from tests.chaos.ledger import Ledger, List, judge

OWN = List("own2", 2)
BODY = b"mail1ofa\r\nHello.\r\n"
MAIL = b"Subject: x\r\nMessage-ID: <mail1ofa@example.com>\r\n\r\n" + BODY
MSGID = "<mail1ofa@example.com>"
ADA, BOB = OWN.readers
MAILINGS = {("own2", MSGID): 7}


@pytest.mark.timeout(180)
async def test_nothing_that_was_answered_with_250_is_lost_or_torn_when_the_server_is_killed(tmp_path: Path) -> None:
    result = await play(tmp_path, kills=8, seconds=20, seed=7)
    assert result.posts > 20
    assert result.kills.total() > 3
    assert not result.bad, result.bad[:20]


# -- the books can say no


def books(*kept: tuple[int, str], mail: bytes = MAIL) -> Ledger:
    """Return books with one post accepted and these copies: (life, recipient)."""
    made = Ledger()
    made.accept(made.post(MSGID, (OWN,), BODY))
    for number, (life, rcpt) in enumerate(kept):
        made.keep(life, (number, 1), "own2-bounces@lists.example.test", [rcpt], mail)
    return made


def test_a_post_that_all_got_once_is_fine() -> None:
    verdict = judge(books((1, ADA), (1, BOB)), MAILINGS)
    assert not any((verdict.lost, verdict.torn, verdict.damaged, verdict.avoidable, verdict.untold, verdict.repeated))


def test_a_post_that_one_did_not_get_is_lost_and_torn() -> None:
    verdict = judge(books((1, ADA)), MAILINGS)
    assert verdict.lost == [(BOB, MSGID)]
    assert verdict.torn == [MSGID]


def test_a_post_that_was_never_accepted_may_reach_nobody_but_not_some() -> None:
    made = books()
    made.posts[MSGID].accepted = False
    assert not judge(made, MAILINGS).lost
    made.keep(1, (1, 1), "", [ADA], MAIL)
    assert judge(made, MAILINGS).torn == [MSGID]


def test_other_bytes_than_were_posted_are_damage() -> None:
    assert len(judge(books((1, ADA), (1, BOB), mail=MAIL[:-4]), MAILINGS).damaged) == 2


def test_other_bytes_the_second_time_are_damage() -> None:
    made = books((1, ADA), (1, BOB))
    made.keep(2, (9, 1), "own2-bounces@lists.example.test", [ADA], b"X-New: 1\r\n" + MAIL)
    assert judge(made, MAILINGS).damaged == [f"{MSGID} to {ADA}: other bytes the second time"]


def test_a_second_copy_is_excused_by_a_kill_between_and_by_the_log_that_names_it() -> None:
    made = books((1, ADA), (1, BOB), (3, ADA))
    verdict = judge(made, MAILINGS)
    assert (verdict.repeated, verdict.avoidable, verdict.untold) == ({1: 1}, [], [(ADA, MSGID)])
    made.uncertain[1] = {(7, ADA)}  # what was uncertain before the first copy is no excuse
    assert judge(made, MAILINGS).untold == [(ADA, MSGID)]
    made.uncertain[2] = {(7, ADA)}
    assert not judge(made, MAILINGS).untold


def test_a_second_copy_in_the_same_life_has_no_excuse() -> None:
    assert judge(books((1, ADA), (1, BOB), (1, ADA)), MAILINGS).avoidable == [(ADA, MSGID)]


def test_a_post_belongs_into_one_digest_and_numbers_follow_each_other() -> None:
    daily = List("daily", 1, digest=True)
    (reader,) = daily.readers
    made = Ledger()
    made.accept(made.post(MSGID, (daily,), BODY))
    assert judge(made, {}).lost == [(reader, MSGID)]
    for number in (1, 3):
        head = f"Message-ID: <digest.{number}.5.daily@lists.example.test>\r\n\r\n".encode()
        made.keep(1, (1, number), "", [reader], head + BODY)
    verdict = judge(made, {})
    assert not verdict.lost
    assert verdict.damaged == [f"{MSGID} to {reader}: in 2 digests", f"digests to {reader}: numbers [1, 3]"]
    assert ledger.TOKEN.fullmatch("mail1ofa")
