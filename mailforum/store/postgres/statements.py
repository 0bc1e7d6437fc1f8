"""Prepared statements, and values on their way to the server and back.

This is psycopg's libpq without its cursors: a mail takes some thirty statements, and what a cursor does
for each takes longer than the server needs for its answer. Values go in five types, which are all that we
keep: int8, float8, text, bytea and bool. A type is that of the Python value, so a statement means the same
whatever number it is called with. Where that is None the server says what it takes there, and another
statement is prepared when a later value is of another type.
"""

from __future__ import annotations

import re
import select
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from struct import Struct
from typing import Any, NamedTuple, cast

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result

from mailforum.store.database import kept

Result = pq.abc.PGresult
Row = dict[str, Any]
Encoder = Callable[[Any], bytes]
Decoder = Callable[[bytes], Any]

DONE = (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK)
TEXT, BINARY = 0, 1
AT_ONCE = 500  # statements under way at the same time: their results wait in memory
# Bytes of them. libpq begins to send at 8 KB; of who is stopped before the end (`settle`) the server would wait for
# more without end, as nothing but the end makes it idle in a transaction.
TOGETHER = 8000
ROOM = 150  # bytes of a statement besides its values, at most
LARGE = 4 * 1024**2  # bytes
BYTES = 17
NUMERIC = 1700  # what sum() makes of whole numbers

_INT2, _INT4, _INT8, _FLOAT8 = Struct("!h"), Struct("!i"), Struct("!q"), Struct("!d")
_PARAMETER = re.compile(r"%%|%\((\w+)\)s")


def _text(value: str) -> bytes:
    try:
        data = value.encode()
    except UnicodeEncodeError:
        return kept(value).encode()
    return kept(value).encode() if b"\0" in data else data


class Sent(NamedTuple):
    """How a Python type is sent: the number of PostgreSQL's type (0: text, as what is needed there), and the bytes."""

    oid: int
    format: int
    encode: Encoder


_SENT = {
    bool: Sent(16, BINARY, lambda value: b"\x01" if value else b"\x00"),
    int: Sent(20, BINARY, _INT8.pack),
    float: Sent(701, BINARY, _FLOAT8.pack),
    str: Sent(0, TEXT, _text),
    bytes: Sent(17, BINARY, bytes),
    type(None): Sent(0, TEXT, bytes),
}

# How a column is read, by the number of its type; psycopg knows the others.
_READ: dict[int, Decoder] = {
    16: b"\x01".__eq__,
    20: lambda data: _INT8.unpack(data)[0],
    21: lambda data: _INT2.unpack(data)[0],
    23: lambda data: _INT4.unpack(data)[0],
    25: bytes.decode,
    114: bytes.decode,  # JSON is read as text
    701: lambda data: _FLOAT8.unpack(data)[0],
}


@lru_cache(maxsize=4096)
def parsed(query: str) -> tuple[bytes, tuple[str, ...]]:
    """Return a statement with `$1` for the first `%(name)s`, and the names in the order of their numbers."""
    names: dict[str, int] = {}

    def number(found: re.Match[str]) -> str:
        return f"${names.setdefault(found[1], len(names) + 1)}" if found[1] else "%"

    text = _PARAMETER.sub(number, query)
    return text.encode(), tuple(names)


def sent(kind: type) -> Sent:
    """Return how values of a type are sent: an IntEnum as what it is made of. Raises TypeError for what is not kept."""
    for known, how in _SENT.items():
        if issubclass(kind, known):
            return how
    raise TypeError(f"a {kind.__name__} cannot be kept")


class Prepared(NamedTuple):
    """A statement as the server has it: its name there, and the types that it takes."""

    name: bytes
    oids: tuple[int, ...]

    def takes(self, wanted: Sequence[Sent]) -> bool:
        """Say whether it can be called with these."""
        return all(not how.oid or how.oid == oid for how, oid in zip(wanted, self.oids, strict=True))


class Call:
    """A prepared statement for values of certain types, and how its rows are read."""

    __slots__ = ("_meet", "columns", "decoders", "encoders", "formats", "name")

    def __init__(self, name: bytes, wanted: Sequence[Sent], meet: Callable[[bytes], bytes]) -> None:
        """`meet` is shown all bytes that are read, and returns them."""
        self.name = name
        self._meet = meet
        self.encoders = [how.encode for how in wanted]
        self.formats = [how.format for how in wanted]
        self.columns: list[str] = []
        self.decoders: list[Decoder] = []

    def values(self, values: Sequence[Any]) -> list[bytes | None]:
        """Return the values as they are sent."""
        return [None if value is None else encode(value) for encode, value in zip(self.encoders, values, strict=True)]

    def rows(self, result: Result) -> Iterator[Row]:
        """Yield the rows of a result."""
        if not self.decoders:
            columns = range(result.nfields)
            self.columns = [(result.fname(column) or b"").decode() for column in columns]
            self.decoders = [self._decoder(result.ftype(column)) for column in columns]
        get, decoders = result.get_value, list(enumerate(self.decoders))
        for row in range(result.ntuples):
            values = [None if (data := get(row, column)) is None else decode(data) for column, decode in decoders]
            yield dict(zip(self.columns, values, strict=True))

    def _decoder(self, oid: int) -> Decoder:
        return self._meet if oid == BYTES else _decoder(oid)


def _decoder(oid: int) -> Decoder:
    load: Decoder = Transformer().get_loader(oid, pq.Format.BINARY).load
    if oid == NUMERIC:
        return lambda data: _number(load(data))
    return _READ.get(oid, load)


def _number(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


class Statements:
    """What one connection has prepared, and what is under way on it (libpq's pipeline mode)."""

    def __init__(self, pgconn: pq.abc.PGconn) -> None:
        self._pgconn = pgconn
        self._prepared: dict[str, list[Prepared]] = {}
        self._calls: dict[tuple[object, ...], Call] = {}
        self._count = 0
        self._under_way = 0
        self.beginning = False  # a transaction was begun of which the server has said nothing yet
        self._bytes = 0  # of what is under way
        self._ahead: dict[tuple[object, ...], int] = {}  # what was asked ahead, and which of the results it will be
        self._answers: dict[tuple[object, ...], Result] = {}
        self.large = False  # a large value has passed, and libpq keeps the room for it as long as the connection
        self._line = select.poll()
        self._line.register(pgconn.socket, select.POLLIN)

    def begin(self, text: str) -> None:
        """Send what begins a transaction and go on; what is wrong with it is raised by a later call."""
        if self._under_way:
            self.settle()
        self._pgconn.enter_pipeline_mode()
        self._pgconn.send_query_params(text.encode(), None)
        self._under_way, self.beginning = 1, True

    def run(self, query: str, params: Mapping[str, Any]) -> tuple[Call, Result]:
        """Run a statement with `%(name)s` in it. Raises psycopg.Error, also for what was `put` before."""
        call, values = self._call(query, params)
        if self._ahead or self._answers:
            answer = self._answer((call.name, *values))
            if answer:
                return call, answer
        self._make_room(values)
        if self._under_way:
            self._send(call, values)
            return call, self.settle()
        return call, checked(self._pgconn.exec_prepared(call.name, cast(Any, values), call.formats, BINARY))

    def put(self, query: str, params: Mapping[str, Any]) -> None:
        """Send a statement and go on; what is wrong with it is raised by a later call."""
        call, values = self._call(query, params)
        self._make_room(values)
        self._put(call, values)

    def ask(self, query: str, params: Mapping[str, Any]) -> None:
        """Send a query of which `run` will want the answer soon, with the same values."""
        call, values = self._call(query, params)
        self._make_room(values)
        self._ahead[call.name, *values] = self._under_way
        self._put(call, values)

    def forget(self) -> None:
        """Forget what was asked ahead."""
        self._ahead.clear()
        self._answers.clear()

    def _answer(self, key: tuple[object, ...]) -> Result | None:
        if key in self._ahead:
            self.settle()
        return self._answers.pop(key, None)

    def _make_room(self, values: list[bytes | None]) -> None:
        size = ROOM + sum([len(value) for value in values if value])
        if self._under_way and self._bytes + size > TOGETHER:
            self.settle()
        self._bytes = size + self._bytes * self.under_way

    def _put(self, call: Call, values: list[bytes | None]) -> None:
        if not self._under_way:
            self._pgconn.enter_pipeline_mode()
        self._send(call, values)
        if self._under_way >= AT_ONCE:
            self.settle()

    def _send(self, call: Call, values: list[bytes | None]) -> None:
        self._pgconn.send_query_prepared(call.name, values, call.formats, BINARY)
        self._under_way += 1

    def settle(self) -> Result:
        """Wait for all that is under way; return the last result. Raises the first psycopg.Error."""
        self._pgconn.pipeline_sync()
        results = self._results()
        self._pgconn.exit_pipeline_mode()
        self.beginning = False
        for result in results:
            checked(result)
        self._answers.update((key, results[number]) for key, number in self._ahead.items())
        self._ahead.clear()
        return results[-1]

    def commit(self) -> Result:
        """Commit all, along with what is under way; return the result. Raises psycopg.Error, for all of it."""
        if not self._under_way:
            return checked(self._pgconn.exec_(b"COMMIT"))
        self._pgconn.send_query_params(b"COMMIT", None)
        self._under_way += 1
        return self.settle()

    @property
    def under_way(self) -> bool:
        """Say whether there is something to settle."""
        return self._under_way > 0

    def _results(self) -> list[Result]:
        self._under_way = 0
        results: list[Result] = []
        while self._pgconn.status == pq.ConnStatus.OK:
            result = self._result()
            if result is not None and result.status == pq.ExecStatus.PIPELINE_SYNC:
                return results
            results += [result] if result else []
        raise psycopg.OperationalError("the connection was lost")

    def _result(self) -> Result | None:
        """Return the next result. psycopg's own `get_result` and `describe_prepared` would wait for it with all other
        threads standing still."""
        while self._pgconn.is_busy():
            # What the socket does not take at once waits in libpq, and goes on its way when that is asked to send it.
            self._line.modify(self._pgconn.socket, select.POLLIN | select.POLLOUT * self._pgconn.flush())
            self._line.poll()
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    def _call(self, query: str, params: Mapping[str, Any]) -> tuple[Call, list[bytes | None]]:
        values = [params[name] for name in parsed(query)[1]]
        key = (query, *map(type, values))
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = self._prepare(query, [sent(type(value)) for value in values])
        return call, call.values(values)

    def _prepare(self, query: str, wanted: list[Sent]) -> Call:
        if self._under_way:
            self.settle()
        there = self._prepared.setdefault(query, [])
        fit = next((one for one in there if one.takes(wanted)), None)
        if fit is None:
            self._count += 1
            fit = self._prepared_as(b"s%d" % self._count, parsed(query)[0], wanted)
            there.append(fit)
        return Call(fit.name, wanted, self.meet)

    def meet(self, data: bytes) -> bytes:
        """Notice how large a value is that has come or will go."""
        self.large |= len(data) > LARGE
        return data

    def _prepared_as(self, name: bytes, text: bytes, wanted: Sequence[Sent]) -> Prepared:
        checked(self._pgconn.prepare(name, text, [how.oid for how in wanted]))
        self._pgconn.send_describe_prepared(name)
        result, _ = self._result(), self._result()
        if result is None:
            raise psycopg.OperationalError("the connection was lost")
        described = checked(result)
        return Prepared(name, tuple(described.param_type(number) for number in range(described.nparams)))


def checked(result: Result) -> Result:
    """Return a result, or raise the psycopg.Error that it is."""
    if result.status not in DONE:
        raise error_from_result(result) if known(result) else psycopg.OperationalError(result.get_error_message())
    return result


def known(result: Result) -> bool:
    """Say whether it was the server that has said what a result is, and not libpq that has lost it."""
    return result.status in DONE or result.error_field(pq.DiagnosticField.SQLSTATE) is not None
