"""What a member's client wrote goes out byte for byte, except for what the list adds or replaces."""

import re
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import Message
from pathlib import Path

import dkim
import pytest

from mailforum.chores import send_due_digests
from mailforum.delivery.sign import load_key, new_key
from tests.support.author import sign, sign_every_way, verdicts
from tests.support.mails import AUTHOR, mail, ordinary
from tests.support.sink import Mail, Sink
from tests.support.site import DOMAIN, Site, running_site

STORES = ["sqlite"]

PMO = f"pmo@{DOMAIN}"
READER = "bob@example.com"
SEALED = {"s-mime-signed", "s-mime-opaque", "pgp-signed", "pgp-encrypted", "pgp-inline"}
FOOTER = b"________________________________________"


async def a_list(site: Site, *options: str, readers: tuple[str, ...] = (READER,), mode: str = "each") -> None:
    await site.cli("list", "create", "pmo", "--title", "Project Office")
    if options:
        await site.cli("list", "set", "pmo", *options)
    await site.cli("member", "add", "pmo", AUTHOR, "--no-welcome", "--mode", "none")
    await site.cli("member", "add", "pmo", *readers, "--no-welcome", "--mode", mode)


async def through(site: Site, *mails: bytes) -> list[bytes]:
    """Post the mails; return what the reader got for each."""
    before = len(site.sink.to(READER))
    for one in mails:
        assert (await site.send(AUTHOR, [PMO], one)).startswith("250")
    await site.quiet()
    got = sorted(site.sink.to(READER)[before:], key=lambda sent: sent.data.rpartition(b"X-Mailforum-Id: #")[2])
    assert len(got) == len(mails)
    by_id = {_field(sent.data, b"Message-ID"): sent.data for sent in got}
    return [by_id[_field(one, b"Message-ID")] for one in mails]


def _field(data: bytes, name: bytes) -> bytes:
    found = re.search(rb"(?im)^%s:((?:[^\r\n]|\r\n[ \t])*)\r\n" % name, data.partition(b"\r\n\r\n")[0] + b"\r\n")
    return found[1].strip() if found else b""


def _leaves(data: bytes) -> list[Message]:
    parsed = message_from_bytes(data, policy=policy.compat32)
    return [leaf for leaf in parsed.walk() if not leaf.is_multipart()]


async def test_every_byte_an_author_wrote_and_their_signatures_come_through(site: Site) -> None:
    await a_list(site)
    sent = {name: sign_every_way(one) for name, one in ordinary().items()}
    for (name, one), got in zip(sent.items(), await through(site, *sent.values()), strict=True):
        complete = one if one.endswith(b"\r\n") else one + b"\r\n"
        assert got.endswith(b"\r\n" + complete), name
        assert b"\r\n\r\n" not in got.removesuffix(complete), name
        assert verdicts(got) == [True] * 4, name


async def test_an_altered_body_is_found_by_the_judge_of_this_test(site: Site) -> None:
    signed = sign_every_way(mail(b"Hello.\r\n"))
    assert verdicts(signed) == [True] * 4
    assert verdicts(signed.replace(b"Hello.", b"Hallo.")) == [False] * 4


async def test_with_keys_of_its_own_the_list_signs_beside_the_author(tmp_path: Path) -> None:
    keys = []
    for kind in ("rsa", "ed25519"):
        pem, _ = new_key(kind)
        (tmp_path / f"{kind}.pem").write_bytes(pem)
        keys.append(load_key(pem, DOMAIN, f"our-{kind}"))
    options = {
        "dkim_key_file": '"rsa.pem"',
        "dkim_selector": '"our-rsa"',
        "dkim_extra_key_file": '"ed25519.pem"',
        "dkim_extra_selector": '"our-ed25519"',
        "web_url": f'"https://{DOMAIN}"',
    }
    async with running_site(tmp_path, **options) as site:
        await a_list(site)
        sent = [sign(one, "ed25519", b"simple/simple") for one in ordinary().values()]
        for one, got in zip(sent, await through(site, *sent), strict=True):
            assert verdicts(got, keys) == [True] * 3, one[:200]
            assert got.endswith(one if one.endswith(b"\r\n") else one + b"\r\n")
            for signature in dkim.DKIM(got).headers[:2]:
                names = re.sub(rb"\s", b"", re.search(rb"h=([^;]*)", signature[1])[1]).lower().split(b":")
                assert {b"from", b"subject", b"list-id", b"list-unsubscribe", b"list-unsubscribe-post"} <= set(names)
                assert names.count(b"from") == 2


async def test_with_prefix_and_footer_every_part_still_decodes_to_the_same_bytes(site: Site) -> None:
    await a_list(site, "prefix=[pmo]", "footer=on")
    mails = ordinary()
    for (name, one), got in zip(mails.items(), await through(site, *mails.values()), strict=True):
        complete = one if one.endswith(b"\r\n") else one + b"\r\n"
        assert (FOOTER in got) == (name not in SEALED), name
        assert _field(got, b"Subject") == b"[pmo] " + _field(one, b"Subject"), name
        assert complete.partition(b"\r\n\r\n")[2][:60] in got, name
        before = [leaf.get_payload(decode=True) for leaf in _leaves(complete)]
        after = [leaf.get_payload(decode=True) for leaf in _leaves(got)]
        assert all(a.startswith(b) for a, b in zip(after, before, strict=False)), name
        changed = [a for a, b in zip(after, before, strict=False) if a != b]
        assert len(after) - len(before) + len(changed) == (name not in SEALED), name


async def test_a_sealed_mail_is_not_touched_at_all_when_the_list_has_only_a_footer(site: Site) -> None:
    await a_list(site, "footer=on")
    sent = [sign_every_way(one) for name, one in ordinary().items() if name in SEALED]
    for one, got in zip(sent, await through(site, *sent), strict=True):
        assert got.endswith(b"\r\n" + one)
        assert verdicts(got) == [True] * 4


SUBJECTS = [
    (b"Subject: Budget", "[pmo] Budget"),
    (b"Subject: Re: Budget", "Re: [pmo] Budget"),
    (b"Subject: AW: Budget", "AW: [pmo] Budget"),
    (b"Subject: RE: [pmo] Budget", "RE: [pmo] Budget"),
    (b"Subject: [PMO] Budget", "[PMO] Budget"),
    (b"Subject: Re[2]: Budget", "Re[2]: [pmo] Budget"),
    (b"Subject: Fwd: Budget", "[pmo] Fwd: Budget"),
    (b"Subject:", "[pmo]"),
    (b"", "[pmo]"),
    (b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= an alle", "[pmo] Grüße an alle"),
    (b"Subject: =?iso-8859-1?Q?AW:_Gr=FC=DFe?=", "AW: [pmo] Grüße"),
    (b"Subject: =?utf-8?b?UmU6IFtwbW9dIEdyw7zDn2U=?=", "Re: [pmo] Grüße"),
    ("Subject: 回复：预算".encode(), "回复： [pmo] 预算"),
    (b"Subject: =?gb2312?B?u9i4tDog1KTL4w==?=", "回复: [pmo] 预算"),
    ("Subject: Grüße".encode(), "[pmo] Grüße"),
    (b"Subject: Gr\xfc\xdfe", "[pmo] Grüße"),
    (b"Subject: a long subject that its author's client\r\n has folded in two", None),
    (b"Subject: " + b"x" * 900, "[pmo] " + "x" * 900),
]


async def test_the_prefix_stands_in_a_subject_once_however_it_is_written(site: Site) -> None:
    await a_list(site, "prefix=[pmo]")
    mails = [mail(name=f"s{number}", subject=raw) for number, (raw, _) in enumerate(SUBJECTS)]
    got = await through(site, *mails)
    for (raw, expected), one in zip(SUBJECTS, got, strict=True):
        assert _shown(one) == (expected or "[pmo] a long subject that its author's client has folded in two"), raw
        assert max(map(len, one.partition(b"\r\n\r\n")[0].split(b"\r\n"))) <= 998
    replies = [
        mail(name=f"r{number}", subject=b"Subject: Re: " + _field(one, b"Subject")) for number, one in enumerate(got)
    ]
    for reply in await through(site, *replies):
        assert _shown(reply).lower().count("[pmo]") == 1


def _shown(data: bytes) -> str:
    return " ".join(str(make_header(decode_header(_field(data, b"Subject").decode()))).split())


async def test_each_reader_of_a_personal_list_has_a_return_path_and_a_way_out_of_their_own(tmp_path: Path) -> None:
    async with running_site(tmp_path, web_url=f'"https://{DOMAIN}"') as site:
        readers = ("bob@example.com", "carol@example.com")
        await a_list(site, readers=readers)
        await through(site, mail())
        bob, carol = (site.sink.to(reader)[0] for reader in readers)
        assert re.fullmatch(rf"pmo-bounces\+bob=example\.com=[0-9a-f]{{8}}@{DOMAIN}", bob.mail_from)
        assert re.fullmatch(rf"pmo-bounces\+carol=example\.com=[0-9a-f]{{8}}@{DOMAIN}", carol.mail_from)
        ways_out = {_field(one.data, b"List-Unsubscribe") for one in (bob, carol)}
        assert len(ways_out) == 2
        assert all(way.startswith(b"<https://") and b"<mailto:pmo-leave+" in way for way in ways_out)
        assert _field(bob.data, b"List-Unsubscribe-Post") == b"List-Unsubscribe=One-Click"
        assert _without(bob) == _without(carol)


def _without(one: Mail) -> bytes:
    return re.sub(rb"List-Unsubscribe: (?:[^\r\n]|\r\n[ \t])*\r\n", b"", one.data)


async def test_a_list_that_is_not_personal_sends_one_mail_to_a_hundred_readers_at_a_time(site: Site) -> None:
    readers = tuple(f"reader{number}@example.com" for number in range(250))
    await a_list(site, "personal=off", readers=readers)
    assert (await site.send(AUTHOR, [PMO], mail())).startswith("250")
    await site.quiet()
    assert sorted(len(one.rcpts) for one in site.sink.mails) == [50, 100, 100]
    assert {rcpt for one in site.sink.mails for rcpt in one.rcpts} == set(readers)
    assert {one.mail_from for one in site.sink.mails} == {f"pmo-bounces@{DOMAIN}"}
    data = {one.data for one in site.sink.mails}
    assert len(data) == 1
    assert _field(data.pop(), b"List-Unsubscribe") == f"<mailto:pmo-leave@{DOMAIN}>".encode()


@pytest.mark.parametrize("personal", ["on", "off"])
async def test_what_is_sent_again_after_a_lost_answer_is_the_same_to_the_byte(tmp_path: Path, personal: str) -> None:
    (tmp_path / "key.pem").write_bytes(new_key("rsa")[0])
    options = {"dkim_key_file": '"key.pem"', "dkim_selector": '"one"', "web_url": f'"https://{DOMAIN}"'}
    deaf = Sink(dot=lambda _: "drop")
    async with running_site(tmp_path, deaf, **options) as site:
        await a_list(site, "prefix=[pmo]", "footer=on", f"personal={personal}")
        await site.cli("member", "add", "pmo", "dora@example.com", "--mode", "digest")
        assert (await site.send(AUTHOR, [PMO], mail())).startswith("250")
        site.clock.shift += 86400
        await send_due_digests(site.service.core, site.clock.now())
        await site.quiet()
    async with running_site(tmp_path, **options) as site:  # another process, another day
        site.clock.shift += 3 * 86400
        await site.sink.wait(3)
    first = {(one.rcpts, one.mail_from): one.data for one in deaf.seen}
    again = {(one.rcpts, one.mail_from): one.data for one in site.sink.mails}
    assert {rcpt for (rcpt,), _ in first} >= {READER, "dora@example.com"}
    same = first.keys() & again.keys()
    assert len(same) >= 2
    for envelope in same:
        assert again[envelope] == first[envelope], envelope
