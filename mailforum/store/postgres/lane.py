"""A thread with a connection of its own, which it opens when it is needed and again when it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import psycopg

from mailforum.store.postgres.session import Met, Session

T = TypeVar("T")
Job = Callable[[Session], T]


class Connect(Protocol):
    """Opens a connection (see `session.connect`)."""

    def __call__(self, *, met: Met) -> Session: ...


class Lane:
    """Does one job after the other on its connection."""

    def __init__(self, connect: Connect, name: str) -> None:
        self._connect = connect
        self._session: Session | None = None
        self._torn = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"mailforum-{name}")

    async def work(self, job: Job[T]) -> T:
        """Run `job` on the lane's thread and return its result. Raises what it raises.

        When the connection turns out to have failed, the job is begun anew on another, but not when it may have
        come to its end before.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, job)

    def _run(self, job: Job[T]) -> T:
        new = self._session is None
        session = self._session or self._opened()
        try:
            return job(session)
        except psycopg.Error as error:
            if not session.failed(error) or session.ending or new or self._torn:
                raise
        finally:
            self._look_after(session)
        return self._run(job)

    def _opened(self) -> Session:
        try:
            return self._connect(met=self._meet)
        except BaseException:
            self._let_go()
            raise

    def _meet(self, session: Session) -> None:
        self._session = session
        if self._torn:
            session.tear()

    def _look_after(self, session: Session) -> None:
        if session.lost or session.ending or session.spent or session.statements.large:
            self._session = None
            session.close()
        else:
            session.rollback()

    def tear(self) -> None:
        """Have what is under way fail now, and not be begun anew: its server may never answer."""
        self._torn = True
        if session := self._session:
            session.tear()

    async def close(self) -> None:
        """Let go of the connection and the thread."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._let_go)
        self._thread.shutdown(wait=False)

    def _let_go(self) -> None:
        if self._session:
            self._session.close()
            self._session = None
