"""What the next hop refuses counts for the member, in the very unit that marks the delivery."""

from pathlib import Path

from tests.support.sink import Sink
from tests.support.site import running_site

POST = b"From: ada@example.org\r\nSubject: Day %d\r\nMessage-ID: <%d@example.org>\r\n\r\nThe post of day %d.\r\n"


async def test_an_address_that_the_next_hop_refuses_for_days_gets_no_more(tmp_path: Path) -> None:
    dead = {"bob@example.com": "550 5.1.1 no such user"}
    async with running_site(tmp_path, Sink(rcpt=dead.get)) as site:
        await site.cli("list", "create", "pmo")
        await site.cli("member", "add", "pmo", "ada@example.org", "bob@example.com", "--no-welcome")
        for day in range(3):
            await site.send("ada@example.org", ["pmo@lists.example.test"], POST % (day, day, day))
            await site.quiet()
            site.clock.shift += 4000
            await site.tick()
            site.clock.shift += 86400 - 4000
        await site.quiet()
        await site.tick()
        shown = (await site.cli("bounce", "show", "pmo", "bob@example.com")).out.split()
        assert "bouncing" in shown
        assert "550 5.1.1 no such user" in " ".join(shown)
