"""Statements on their way to a PostgreSQL server, many at once."""

from __future__ import annotations

import os
import socket

import pytest

from mailforum.store.postgres.session import connect
from tests.support.postgres import emptied_url


@pytest.mark.timeout(20)
def test_what_is_larger_than_the_socket_takes_at_once_arrives_whole() -> None:
    with emptied_url() as url:
        session = connect(url)
        with socket.socket(fileno=os.dup(session.pgconn.socket)) as line:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # as small as can be
        session.simple("CREATE TEMPORARY TABLE kept (raw BYTEA)")
        for _ in range(3):
            session.statements.put("INSERT INTO kept VALUES (%(raw)s)", {"raw": bytes(2_000_000)})
        session.statements.settle()
        found = session.simple("SELECT sum(octet_length(raw)) FROM kept")
        assert found.get_value(0, 0) == b"6000000"
        session.close()
