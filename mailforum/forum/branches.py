"""Posts with all that hangs below them: taken from the database, put where the rule says, written back.

Only the posts whose places may change are looked at, and what lies between them is asked for one by one. Where
a circle is at stake, which people do not write, all posts of the threads concerned are.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from mailforum.forum import regroup
from mailforum.forum.regroup import Claim, Node, Tie
from mailforum.mail import subject
from mailforum.model import How
from mailforum.store.database import Row, Tx


def around(tx: Tx, list_id: int, posts: Collection[int], ghosts: Iterable[int], now: float) -> set[int]:
    """Find the places anew of `posts`, of which something has become known, and of the orphans tied to `ghosts`.

    Returns the ids of the threads that have lost or got posts by it.
    """
    ties = tx.all("thread.concerned", ghosts=json.dumps(list(ghosts)))
    orphans = {row["post_id"] for row in ties if row["under"] is None}
    board = _Board(tx, list_id, tx.all("thread.some", posts=json.dumps(list(orphans.union(posts)))), ties)
    if board.is_simple():
        return board.write(now)
    return whole(tx, list_id, board.threads, now)


def whole(tx: Tx, list_id: int, threads: Collection[int], now: float) -> set[int]:
    """Find the places anew of all posts in `threads`; returns as `around`."""
    wanted, found = set[int](), set(threads)
    while not found <= wanted:
        wanted |= found
        ids = json.dumps(list(wanted))
        ghosts = [row["ghost"] for row in tx.all("thread.ghosts_in", threads=ids)]
        ties = tx.all("thread.concerned", ghosts=json.dumps(ghosts))
        found = {row["thread_id"] for row in ties if row["under"] is None}
    board = _Board(tx, list_id, tx.all("thread.members", threads=ids), ties, whole=True)
    board.solve()
    return board.write(now)


def hang(tx: Tx, post_id: int, parent_id: int | None, how: How, now: float) -> set[int]:
    """Put a post, with all that hangs below it, under `parent_id`, or into a thread of its own if that is None.

    Returns the ids of the threads whose posts are others now: the one that it was in, and the one that it is in.
    """
    rows = tx.all("thread.some", posts=json.dumps([post_id]))
    board = _Board(tx, rows[0]["list_id"], rows, ())
    if parent_id is not None and board.leads_to(parent_id, post_id):
        return set()  # nobody hangs below itself
    board.nodes[post_id].hang(parent_id, how)
    return board.write(now)


def next_label(tx: Tx, thread_id: int) -> str:
    """Return a label for one more post in a thread."""
    row = tx.one("thread.next_label", id=thread_id)
    assert row is not None
    return f"{row['number']}.{row['label']}"


def begin(tx: Tx, list_id: int, now: float, title: str = "", label: int = 0) -> tuple[int, str]:
    """Begin a thread in which `label` posts have their label; return its id and the last label."""
    row = tx.one("thread.next_number", list_id=list_id)
    assert row is not None
    number, title = row["number"], subject.base(title, row["prefix"])
    thread_id = tx.insert("thread.add", list_id=list_id, number=number, subject=title, label=label, now=now)
    return thread_id, f"{number}.{label}"


def entitle(tx: Tx, thread_id: int) -> None:
    """Give a thread the subject of its first post, the earliest of those without a parent, if no moderator has."""
    row = tx.one("thread.first", id=thread_id)
    if row:
        tx.run("thread.entitle", id=thread_id, subject=subject.base(row["subject"], row["prefix"]))


class _Home(NamedTuple):
    """What a post ends up in: the tree of the group (or of the post) `id`, or, `outside` of what is looked at,
    the thread with that id."""

    outside: bool
    id: int


class _Thread(NamedTuple):
    number: int
    id: int


class _Board:
    """Some posts, as they are stored (`rows`) and as they are to be (`nodes`).

    `ties` are all those to the ghosts of the orphans among them. `whole`: these are all posts of their threads.
    """

    def __init__(self, tx: Tx, list_id: int, rows: Sequence[Row], ties: Sequence[Row], *, whole: bool = False) -> None:
        self._tx, self._list_id, self._whole = tx, list_id, whole
        self._rows: dict[int, Row] = {row["id"]: row for row in rows}
        self._ids = json.dumps(list(self._rows))
        self._above: dict[int, tuple[int | None, _Thread]] = {}
        self.threads = {row["thread_id"] for row in rows}
        self.nodes = {row["id"]: _node(row) for row in rows}
        self._claims: dict[int, set[Claim]] = defaultdict(set)
        tied: dict[int, list[Tie]] = defaultdict(list)
        for row in ties:
            if row["under"] is None:
                tied[row["post_id"]].append(Tie(row["ghost"], How(row["how"])))
            else:
                self._claims[row["ghost"]].add(Claim(row["message_id"], row["post_id"], row["under"]))
        for post_id, its_ties in tied.items():
            self.nodes[post_id].ties = its_ties

    def is_simple(self) -> bool:
        """Find the places of all, and say whether that is good: not where circles are, or have been."""
        if self._tx.one("thread.knot", threads=json.dumps(list(self.threads))):
            return False
        self.solve()
        return not any(node.knot for node in self.nodes.values())

    def solve(self) -> None:
        """Find the places of all."""
        regroup.solve(self.nodes, self._claims, self._up)

    def leads_to(self, post_id: int, above: int) -> bool:
        """Whether one of our posts is the nearest of these on the way up from another post."""
        return self._up(post_id) == above

    def _up(self, post_id: int) -> int | None:
        return post_id if post_id in self.nodes else self._look_up(post_id)[0]

    def _look_up(self, post_id: int) -> tuple[int | None, _Thread]:
        """Return the nearest of our posts above one that is not ours, and the thread that this one is in."""
        if post_id not in self._above:
            row = self._tx.one("thread.of_post", id=post_id)
            assert row is not None
            ours = row["thread_id"] in self.threads and not self._whole
            above = self._tx.one("thread.above", id=post_id, posts=self._ids) if ours else None
            self._above[post_id] = above["id"] if above else None, _Thread(row["number"], row["thread_id"])
        return self._above[post_id]

    def write(self, now: float) -> set[int]:
        """Write down what has changed; return the ids of the threads that have lost or got posts by it, and of those in
        which posts may hang below another lonely reply than before."""
        different = [node for node in self.nodes.values() if self._differs(node)]
        self._tx.many("thread.hang", [_values(node) for node in different])
        homes = self._homes()
        posts: dict[_Home, list[int]] = defaultdict(list)
        for post_id, home in homes.items():
            posts[home].append(post_id)
        changed: set[int] = set()
        wanted = self._wanted(homes)
        taken = {home: min(threads).id if threads else self._begin(home.id, now) for home, threads in wanted.items()}
        for home, thread_id in taken.items():
            changed |= self._bring(posts[home], thread_id)
        for home, thread_id in taken.items():
            for other in {thread.id for thread in wanted[home]} - {thread_id}:
                changed |= {other, thread_id}
                self._merge(other, thread_id)
            entitle(self._tx, thread_id)
        return changed | self._with_lonely(different)

    def _with_lonely(self, nodes: Iterable[Node]) -> set[int]:
        """Return the threads with lonely replies that nodes are in."""
        rows = self._tx.all("subject.with_lonely", posts=json.dumps([node.id for node in nodes]))
        return {row["thread_id"] for row in rows}

    def _differs(self, node: Node) -> bool:
        row = self._rows[node.id]
        stored = row["parent_id"], row["how"], row["claim_id"], bool(row["knot"])
        return stored != (node.parent, node.how, node.claim, node.knot)

    def _homes(self) -> dict[int, _Home]:
        """Return for each post what it ends up in."""
        homes: dict[int, _Home] = {}
        for post_id in self.nodes:
            path: list[int] = []
            at: int | None = post_id
            while at is not None and at not in homes:
                path.append(at)
                parent = self.nodes[at].parent
                at = None if parent is None else self._up(parent)
            homes.update(dict.fromkeys(path, homes[at] if at is not None else self._home(path[-1])))
        return homes

    def _home(self, post_id: int) -> _Home:
        """Return what the topmost of our posts on the way up ends up in."""
        node = self.nodes[post_id]
        return _Home(False, node.group) if node.parent is None else _Home(True, self._look_up(node.parent)[1].id)

    def _wanted(self, homes: dict[int, _Home]) -> dict[_Home, set[_Thread]]:
        """Return the threads that each home may have: one that is outside its own, and those which began with one
        of its posts. Where the beginnings of a thread have parted, the first of them keeps it."""
        wanted: dict[_Home, set[_Thread]] = {home: set() for home in homes.values()}
        for thread in {thread for _, thread in self._above.values()}:
            if _Home(True, thread.id) in wanted:
                wanted[_Home(True, thread.id)].add(thread)
        for row in self._beginnings():
            wanted[homes[row["id"]]].add(_Thread(row["number"], row["thread_id"]))
        return wanted

    def _beginnings(self) -> Iterable[Row]:
        first: dict[int, Row] = {}
        for row in self._rows.values():
            if self._whole or row["parent_id"] is None:
                other = first.setdefault(row["thread_id"], row)
                first[row["thread_id"]] = min(
                    row, other, key=lambda row: (bool(row["parent_id"]), row["cut"], row["id"])
                )
        return first.values()

    def _begin(self, post_id: int, now: float) -> int:
        """Return a thread for the tree of a post: the one that it came in if that went into another, or a new one."""
        number = int(self._rows[post_id]["label"].partition(".")[0])
        row = self._tx.one("thread.reopen", list_id=self._list_id, number=number)
        return row["id"] if row else begin(self._tx, self._list_id, now)[0]

    def _bring(self, posts: Iterable[int], thread_id: int) -> set[int]:
        """Bring posts and what hangs below them into a thread; return the threads that have changed by it."""
        elsewhere = [post_id for post_id in posts if self._rows[post_id]["thread_id"] != thread_id]
        if not elsewhere:
            return set()
        self._tx.run("thread.move", posts=json.dumps(elsewhere), thread_id=thread_id)
        return {thread_id, *(self._rows[post_id]["thread_id"] for post_id in elsewhere)}

    def _merge(self, thread_id: int, into: int) -> None:
        """Bring what is left of a thread into another, to which it leads from now on."""
        self._tx.run("thread.move_all", id=thread_id, into=into)
        self._tx.run("thread.inherit_name", id=into, of=thread_id)
        self._tx.run("thread.merge", id=thread_id, into=into)


def _node(row: Row) -> Node:
    by_subject = row["how"] == How.SUBJECT and row["under"] is None and not row["cut"]
    return Node(
        row["id"],
        row["message_id"],
        row["under"],
        How(row["under_how"]),
        subject_of=row["parent_id"] if by_subject else None,
        parent=row["parent_id"],
        how=How(row["how"]),
        group=row["id"],
    )


def _values(node: Node) -> dict[str, object]:
    return {"id": node.id, "parent_id": node.parent, "how": node.how, "claim_id": node.claim, "knot": node.knot}
