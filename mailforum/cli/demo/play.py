"""The show: a list, its members, a week of discussion, the digest, and whether it all arrived.

Everything goes the real ways: mail in over SMTP, out through the worker into the Maildir. What is
done on the server itself is only what an admin would do, to make the list and to cut the digest.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from datetime import UTC

from mailforum.app import Service
from mailforum.cli.common import safe
from mailforum.cli.demo import check, story
from mailforum.cli.demo.check import Due
from mailforum.cli.demo.post_office import LOOK, PATIENCE, Letter, NotArrived, Outbox, Reply, answer, compose, send
from mailforum.cli.demo.screen import Screen
from mailforum.cli.demo.story import Chooses, Person, Sends
from mailforum.delivery.views import date_text
from mailforum.forum import digests, order
from mailforum.model import MailingList, Mode, Post, State
from mailforum.settings import ListSettings
from mailforum.store import lists, stats
from mailforum.store import posts as post_rows
from mailforum.store.database import Tx

_ID, _NAME, _HOW = 5, 22, 30  # columns
_TAKEN_AS = re.compile(r"#\d+\.\d+")


class Play:
    """One show on a running service; `run` says whether everything was as it should be."""

    def __init__(self, service: Service, outbox: Outbox, screen: Screen) -> None:
        self._core = service.core
        self._server = service.addresses["smtp"][0]
        self._outbox = outbox
        self._screen = screen
        self._mlist: MailingList
        self._reading: dict[Person, Mode] = {}
        self._due = Due()

    async def run(self) -> bool:
        """Play everything. Raises NotArrived when a mail that the story waits for does not come."""
        started = time.monotonic()
        await self._make_list()
        await self._all_join()
        await self._discuss()
        await self._queue_is_empty()
        posts = await self._core.db.read(lambda tx: post_rows.of_list(tx, self._mlist.id))
        self._show_tree(posts)
        await self._send_digest()
        self._show_post()
        return self._check(posts, started)

    async def _make_list(self) -> None:
        self._screen.heading("The admin makes a list")
        now = self._core.clock.now()
        # Half a day from now, so that the clock does not cut the digest while the demo is checking it.
        hour = (time.gmtime(now).tm_hour + 12) % 24
        settings = ListSettings(prefix=story.PREFIX, footer=True, digest_hour=hour)

        def make(tx: Tx) -> MailingList | None:
            list_id = lists.add(tx, story.LIST, story.TITLE, settings, now)
            return lists.by_id(tx, list_id or 0)

        mlist = await self._core.db.write(make)
        assert mlist is not None
        self._mlist = mlist
        self._screen.line(f"   {mlist.address}   {mlist.title}")

    # -- joining and choosing, by mail

    async def _all_join(self) -> None:
        self._screen.heading("Five people join, by mail alone")
        for person in story.PEOPLE:
            to = self._mlist.sub("join-digest" if person.digest else "join")
            await self._ask_and_confirm(person, to, "")
            self._reading[person] = Mode.DIGEST if person.digest else Mode.EACH
            how = f"mails {to.partition('@')[0]}@"
            gets = "gets a digest" if person.digest else "gets every post"
            self._screen.row((person.name, _NAME), (how, _HOW), ("and confirms", 12), (gets, 0))
        self._screen.remark("From can be forged, so each is asked back by mail; an empty reply is a yes.")

    async def _ask_and_confirm(self, person: Person, to: str, command: str) -> None:
        """Mail a wish, wait for the question it is answered with, and answer that with a plain reply."""
        self._due.add("notice", [person, person])  # the question, and what came of it
        before = {letter.path for letter in self._outbox.letters()}

        def is_question(letter: Letter) -> bool:
            asks = f"{self._mlist.name}-confirm+" in letter.msg.get("Reply-To")
            return asks and letter.to == person.address and letter.path not in before

        reply = await self._send(person.address, to, compose(person.name, person.address, to, command), 250)
        if reply.code == 250:
            question = await self._outbox.wait_for(f"the question to {person.name}", is_question)
            confirm_to, raw = answer(person.name, question)
            await self._send(person.address, confirm_to, raw, 250)

    async def _send(self, mail_from: str, to: str, raw: bytes, code: int) -> Reply:
        """Send a mail and return the answer; one with another code than `code` is noted."""
        reply = await send(self._server, mail_from, to, raw)
        if reply.code != code:
            self._due.odd.append(f"{mail_from} to {to}: {reply.code} {safe(reply.text)}")
        return reply

    # -- the discussion

    async def _discuss(self) -> None:
        self._screen.heading("They discuss: each line is a mail over SMTP")
        for scene in story.STORY:
            if isinstance(scene, Sends):
                await self._play_mail(scene)
            else:
                await self._play_choice(scene)

    async def _play_mail(self, scene: Sends) -> None:
        raw = scene.raw()
        msg = check.parse(raw)
        assert msg.author is not None
        reply = await self._send(msg.author.address, story.LIST, raw, 550 if scene.fate == "refused" else 250)
        label, end = str(reply.code), str(scene.fate)
        if scene.fate == "posted":
            readers = [person for person, mode in self._reading.items() if mode is Mode.EACH]
            self._due.add(msg.message_id, readers)
            self._due.posts[msg.message_id] = msg
            self._due.parents[msg.message_id] = _message_id(scene.answers)
            found = _TAKEN_AS.search(reply.text)
            label, end = found[0] if found else label, f"to {len(readers)} readers"
        self._line(label, msg.author.name, scene.how, end)
        if reply.code != 250:
            self._screen.remark(f"{'':{_ID}}  {safe(reply.text)}")

    async def _play_choice(self, scene: Chooses) -> None:
        await self._ask_and_confirm(scene.who, self._mlist.sub("request"), scene.command)
        self._reading[scene.who] = Mode.DIGEST
        self._line("", scene.who.name, f"mails “{scene.command}”", "and confirms")

    def _line(self, label: str, name: str, how: str, end: str) -> None:
        self._screen.row((label, _ID), (safe(name), _NAME), (how, _HOW), (end, 0))

    async def _queue_is_empty(self) -> None:
        """Wait until everything has gone out."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            states = await self._core.db.read(stats.states)
            if not states[State.QUEUED][0] and not states[State.DEFERRED][0]:
                return
            await asyncio.sleep(LOOK)
        raise NotArrived(f"there is still mail in the queue after {PATIENCE:.0f} seconds")

    # -- what has come of it

    def _show_tree(self, posts: Sequence[Post]) -> None:
        self._screen.heading("Who answers whom")
        for number in sorted({post.thread for post in posts}):
            group = [post for post in posts if post.thread == number]
            for depth, post in order.tree(group):
                if depth == 0:
                    self._screen.line(f"   #{number}  {safe(post.subject)}  ({len(group)} posts)")
                self._show_in_tree(depth, post)
        arrived = {post.message_id: post for post in posts}
        for post in posts:
            parent = arrived.get(post.parent or "")
            if parent and parent.id > post.id:
                self._screen.remark(
                    f"#{post.label} came before #{parent.label}, which it answers, and found its place."
                )

    def _show_in_tree(self, depth: int, post: Post) -> None:
        label = f"{'   ' * depth}#{post.label}"
        when = date_text(post.date, UTC)
        self._screen.row(("", 1), (label, 22), (safe(post.from_name or post.from_address), _NAME), (when, 0))

    async def _send_digest(self) -> None:
        self._screen.heading("The daily digest, cut now")
        now = self._core.clock.now()
        await self._core.db.write(lambda tx: digests.cut(tx, self._mlist, now))
        readers = [person for person, mode in self._reading.items() if mode is Mode.DIGEST]
        self._due.add("digest", readers)
        await self._queue_is_empty()
        letter = await self._outbox.wait_for("the digest", lambda letter: letter.kind == "digest")
        self._screen.remark(
            f"To {len(readers)} readers, as text and as HTML. “Answer:” puts a reply below the right post."
        )
        lines = [f"Subject: {letter.msg.subject}", "", *check.digest_text(letter).splitlines()]
        self._screen.quote(lines, 40, _whole(letter))

    def _show_post(self) -> None:
        self._screen.heading("A post as it went out to one of its readers")
        shown = _message_id(story.SHOWN)
        letter = next((letter for letter in self._outbox.letters() if letter.msg.message_id == shown), None)
        if letter:
            self._screen.quote(letter.path.read_text("utf-8", "replace").splitlines(), 60, _whole(letter))

    def _check(self, posts: Sequence[Post], started: float) -> bool:
        self._screen.heading("Has everything arrived as it should?")
        letters = self._outbox.letters()
        found = list(check.findings(self._due, letters, posts))
        for finding in found:
            self._screen.finding(finding.good, finding.text)
        good = all(finding.good for finding in found)
        self._screen.remark(
            f"{'All is as it should be' if good else 'Something went WRONG, as said above'}: "
            f"{len(letters)} mails went out; the show took {time.monotonic() - started:.1f} seconds."
        )
        return good


def _message_id(mail: str) -> str | None:
    return check.parse(Sends(mail, "").raw()).message_id if mail else None


def _whole(letter: Letter) -> str:
    return f"the whole mail: {letter.path}"
