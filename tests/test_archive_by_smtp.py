"""A whole archive, as it is, posted over SMTP and imported from an mbox: nothing lost, the same threads."""

import asyncio
import json
from pathlib import Path

from tests.support import archive
from tests.support.site import Site

STORES = ["sqlite"]

COUNT = 250


async def post_all(site: Site, letters: list[archive.Letter]) -> list[str]:
    """Send every letter over one connection; return the answers to the dots."""
    reader, writer = await asyncio.open_connection(*site.smtp)
    answers = []

    async def say(line: bytes) -> str:
        writer.write(line + b"\r\n")
        while (answer := (await reader.readline()).decode())[3:4] == "-":
            pass
        return answer

    await reader.readline()
    await say(b"EHLO archive.example.org")
    for letter in letters:
        await say(b"MAIL FROM:<author@example.org> BODY=8BITMIME")
        await say(b"RCPT TO:<live@lists.example.test>")
        await say(b"DATA")
        stuffed = (b"\r\n" + letter.raw).replace(b"\r\n.", b"\r\n..")[2:]
        answers.append(await say(stuffed.removesuffix(b"\r\n") + b"\r\n."))
    writer.close()
    return answers


async def tree(site: Site, name: str) -> list[tuple[str, str, str]]:
    """Return Message-ID, parent and subject of each post: those without a date have another in an archive."""
    rows = [json.loads(line) for line in (await site.cli("post", "ls", name, "--json")).out.splitlines()]
    return sorted((row["message_id"], row["parent"] or "", row["subject"]) for row in rows)


async def test_an_archive_posted_over_smtp_is_the_archive_that_was_imported(site: Site, tmp_path: Path) -> None:
    # What has no id gets one from its bytes, and in an mbox `From ` lines are not what they were.
    letters = [letter for letter in archive.letters(COUNT, seed=11) if b"\r\nMessage-ID:" in letter.raw]
    await site.cli("list", "create", "live")
    await site.cli("list", "set", "live", "posting=anyone")
    await site.cli("member", "add", "live", "reader@example.com", "--no-welcome")
    await site.cli("list", "create", "old")
    answers = await post_all(site, letters)
    taken = [letter for letter, answer in zip(letters, answers, strict=True) if answer.startswith("250")]
    (tmp_path / "old.mbox").write_bytes(archive.mbox(taken))
    await site.cli("import", "old", str(tmp_path / "old.mbox"))

    refused = [answer for answer in answers if not answer.startswith("250")]
    assert {answer for answer in refused if not answer.startswith("550 5.6.0 A post needs one sender")} == set()
    live, old = await tree(site, "live"), await tree(site, "old")
    assert len(live) > COUNT * 0.8
    assert live == old
    assert (await site.cli("shunt", "ls", "--json")).out == ""
    await site.quiet()
    assert len(site.sink.to("reader@example.com")) == len(live)
