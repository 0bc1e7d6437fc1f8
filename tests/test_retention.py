"""Posts whose text is no longer kept: they stay listed, and all that shows or sends them copes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.site import Site, running_site

DAY = 86400.0


def mail(number: int, answers: int = 0, sender: str = "Zoë Müller <zoe@example.org>") -> bytes:
    reply = f"In-Reply-To: <{answers}@example.org>\r\n" if answers else ""
    text = f"From: {sender}\r\nSubject: Plans, «{number}»\r\nMessage-ID: <{number}@example.org>\r\n{reply}\r\n"
    return (text + f"Secret number {number}.\r\n").encode()


async def forget(site: Site, days: float) -> None:
    site.clock.shift += days * DAY
    await site.service.chores.clean()


@pytest.fixture
def options() -> dict[str, str]:
    return {"store_keep_bodies": '"10d"'}


async def test_a_text_that_is_no_longer_kept_leaves_a_note_in_its_place(
    tmp_path: Path, options: dict[str, str]
) -> None:
    async with running_site(tmp_path, **options) as site:
        await site.cli("list", "create", "pmo")
        await site.cli("list", "set", "pmo", "posting=anyone")
        await site.cli("member", "add", "pmo", "--no-welcome", "ada@example.org", "bob@example.com")
        await site.cli("member", "set", "pmo", "bob@example.com", "mode=digest")
        to = ["pmo@lists.example.test"]
        assert (await site.send("zoe@example.org", to, mail(1))).startswith("250")
        await forget(site, 11)
        assert (await site.send("zoe@example.org", to, mail(2, answers=1))).startswith("250")
        await forget(site, 0)
        shown = (await site.cli("thread", "show", "pmo", "1")).out
        assert "1.1" in shown
        assert "1.2" in shown
        assert "The text of this post is no longer kept." in (await site.cli("post", "show", "pmo", "1.1")).out
        assert "Secret number 2." in (await site.cli("post", "show", "pmo", "1.2")).out
        await site.cli("digest", "send", "pmo")
        await site.quiet()
        (digest,) = site.sink.to("bob@example.com")
        assert b"Secret number 1." not in digest.data
        assert b"no longer kept" in digest.data
        await forget(site, 11)
        assert "no longer kept" in (await site.cli("post", "show", "pmo", "1.2")).out
        assert "error" not in (await site.cli("check")).out
        archive = tmp_path / "pmo.mbox"
        await site.cli("export", "pmo", str(archive))
        await site.cli("list", "create", "again")
        await site.cli("import", "again", str(archive))
        again = (await site.cli("thread", "show", "again", "1")).out
        assert ("1.1" in again, "1.2" in again, "Zoë Müller" in again) == (True, True, True)
    assert b"Secret number" not in (tmp_path / "pmo.mbox").read_bytes()


async def test_without_being_asked_nothing_is_forgotten(site: Site) -> None:
    await site.cli("list", "create", "pmo")
    await site.cli("list", "set", "pmo", "posting=anyone")
    await site.send("zoe@example.org", ["pmo@lists.example.test"], mail(1))
    await forget(site, 10_000)
    assert "Secret number 1." in (await site.cli("post", "show", "pmo", "1.1")).out


def test_texts_are_kept_at_least_as_long_as_they_may_have_to_be_sent(tmp_path: Path) -> None:
    from mailforum import config
    from mailforum.errors import ConfigError

    (tmp_path / "mailforum.toml").write_text('[store]\nkeep_bodies = "1d"\n')
    with pytest.raises(ConfigError, match=r"mailforum.toml:2: \[store\] keep_bodies: expected 0, or at least"):
        config.load(tmp_path / "mailforum.toml", {})
