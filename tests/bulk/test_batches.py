"""How rows are cut into batches, and the books that are kept of them: without any database."""

from __future__ import annotations

import datetime as dt
import pickle
import subprocess
import sys
import uuid
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from dsql_fast import BulkResult, ConfigError
from dsql_fast.bulk._account import Account, RowRange, covers, merged
from dsql_fast.bulk._batches import MOST_PARAMETERS, BadRow, Batch, Cutter, OtherRows, measured
from dsql_fast.bulk._writing import insert_sql, quoted


def cut(rows: Any, most_rows: int = 3, most_bytes: int = 10**9, **more: Any) -> list[Batch]:
    cutter = Cutter(more.pop("columns", None), most_rows=most_rows, most_bytes=most_bytes, **more)
    return [batch for row in rows for batch in cutter.add(row)] + cutter.end()


def bounds(batches: list[Batch]) -> list[tuple[int, int]]:
    return [(batch.start, batch.stop) for batch in batches]


def test_by_rows() -> None:
    assert cut([]) == []
    assert bounds(cut([(n,) for n in range(7)])) == [(0, 3), (3, 6), (6, 7)]
    assert bounds(cut([(n,) for n in range(6)])) == [(0, 3), (3, 6)]
    # A full batch does not wait for the row behind it.
    cutter = Cutter(None, most_rows=1, most_bytes=10**9)
    assert bounds(cutter.add((1,))) == [(0, 1)]
    assert cutter.end() == []


def test_by_bytes() -> None:
    wide, narrow = ("x" * 1000,), ("x",)
    assert bounds(cut([narrow, wide, wide, narrow], most_rows=100, most_bytes=1030)) == [
        (0, 1),
        (1, 2),
        (2, 3),
        (3, 4),
    ]
    # Too wide for any: alone.
    assert bounds(cut([narrow, ("x" * 9999,), narrow], most_rows=100, most_bytes=1100)) == [(0, 1), (1, 2), (2, 3)]


def test_a_row_that_is_too_large_for_a_transaction_goes_alone() -> None:
    rows = [("x",), ("x" * 3 * 2**20,), ("x",)]
    assert bounds(cut(rows)) == [(0, 1), (1, 2), (2, 3)]


def test_by_parameters() -> None:
    (first, *_) = cut([tuple(range(100))] * 700, most_rows=3000)
    assert len(first.rows) == MOST_PARAMETERS // 100 == 655


@given(st.lists(st.integers(0, 500), max_size=60), st.integers(1, 9), st.integers(1, 2000))
def test_nothing_is_lost_and_nothing_is_too_large(sizes: list[int], most_rows: int, most_bytes: int) -> None:
    rows = [(at, "x" * size) for at, size in enumerate(sizes)]
    batches = cut(rows, most_rows, most_bytes)
    assert [row for batch in batches for row in batch.rows] == rows
    assert bounds(batches) == [(batch.rows[0][0], batch.rows[-1][0] + 1) for batch in batches]
    for batch in batches:
        assert len(batch.rows) <= most_rows
        taken = sum(measured(row, batch.start + at)[0] for at, row in enumerate(batch.rows))
        assert taken <= most_bytes or len(batch.rows) == 1


def test_mappings() -> None:
    rows = [{"a": 1, "b": 2}, {"b": 4, "a": 3}]
    assert cut(rows)[0].rows == [(1, 2), (3, 4)]
    assert cut(rows, columns=("b", "a"))[0].rows == [(2, 1), (4, 3)]
    cutter = Cutter(None, most_rows=3, most_bytes=10**9)
    cutter.add(rows[0])
    assert cutter.columns == ("a", "b")


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([(1, 2), (1,)], "row 1 has 1 values, not 2"),
        ([()], "row 0 has 0 values, not one or more"),
        (["ab"], "row 0 is a str"),
        ([b"ab"], "row 0 is a bytes"),
        ([(1,), 7], "row 1 is a int"),
        ([{"a": 1}, {"b": 1}], "row 1 has other columns"),
        ([{"a": 1}, {"a": 1, "b": 1}], "row 1 has other columns"),
        ([(1,), {"a": 1}], "row 1 is a mapping"),
    ],
)
def test_rows_that_cannot_be_sent(rows: list[Any], why: str) -> None:
    with pytest.raises(BadRow, match=why) as caught:
        cut(rows)
    assert caught.value.index == len(rows) - 1


# --- the estimate and the sum ---------------------------------------------------------------------

PLAIN = (
    1,
    True,
    None,
    1.5,
    "é",
    Decimal("1.20"),
    dt.date(2026, 1, 1),
    dt.datetime(2026, 1, 1, 2, 3, tzinfo=dt.timezone.utc),
    uuid.UUID(int=7),
)


def test_the_estimate_is_not_below_what_is_sent() -> None:
    for value, size in [("x" * 1000, 1000), ("é" * 1000, 2000), (b"\0" * 1000, 1000), (10**30, 31)]:
        assert size <= measured((value,), 0)[0] <= size + 40
    assert measured(({"a": "x" * 1000},), 0)[0] >= 1000
    assert measured((Jsonb({"a": "x" * 1000}),), 0)[0] >= 1000
    assert measured((memoryview(b"x" * 1000), bytearray(1000)), 0)[0] >= 2000


def test_the_sum_is_the_same_in_every_process() -> None:
    here = [measured(PLAIN, 3)[1], measured((b"x", {"a"}, *PLAIN), 3)[1]]
    program = (
        "import datetime as dt, uuid; from decimal import Decimal; from dsql_fast.bulk._batches import measured\n"
        f"plain = {PLAIN!r}".replace("datetime.", "dt.").replace("UUID(", "uuid.UUID(")
        + "\nprint([measured(plain, 3)[1], measured((b'x', {'a'}, *plain), 3)[1]])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == str(here)


def test_the_sum_knows_values_and_places() -> None:
    sums = {measured(row, at)[1] for row in [(1, "a"), ("a", 1), (2, "a"), (b"a",), (b"b",)] for at in (0, 1)}
    assert len(sums) == 10


# --- what is left out -------------------------------------------------------------------------------


def ranges_of(rows: list[Any], *spans: tuple[int, int]) -> list[RowRange]:
    def digest(start: int, stop: int) -> int:
        return sum(measured(row, at)[1] for at, row in enumerate(rows) if start <= at < stop) % 2**63

    return [RowRange(start, stop, digest(start, stop)) for start, stop in spans]


def test_what_is_committed_is_left_out() -> None:
    rows = [(n,) for n in range(12)]
    done = ranges_of(rows, (0, 2), (5, 9))
    assert bounds(cut(rows, done=done)) == [(2, 5), (9, 12)]
    assert bounds(cut(rows, most_rows=2, done=done)) == [(2, 4), (4, 5), (9, 11), (11, 12)]
    assert cut(rows[:9], done=ranges_of(rows, (0, 9))) == []


def test_a_batch_that_is_unknown_is_the_same_again() -> None:
    rows = [(n,) for n in range(10)]
    assert bounds(cut(rows, most_rows=4, cuts={3, 5})) == [(0, 3), (3, 5), (5, 9), (9, 10)]


def test_other_rows_are_noticed() -> None:
    rows = [(n,) for n in range(10)]
    done = ranges_of(rows, (0, 4))
    with pytest.raises(OtherRows, match="rows 0 to 3 are not those"):
        cut([(9,), *rows[1:]], done=done)
    with pytest.raises(OtherRows, match="rows 0 to 3 are not those"):
        cut([rows[1], rows[0], *rows[2:]], done=done)
    with pytest.raises(OtherRows, match="there are 3 rows"):
        cut(rows[:3], done=done)


# --- the books --------------------------------------------------------------------------------------

RESULT = BulkResult(uuid.UUID(int=1), "t", "neither")


@given(st.permutations(range(12)))
def test_ranges_that_touch_are_one(order: list[int]) -> None:
    ranges: tuple[RowRange, ...] = ()
    for at in order:
        ranges = merged(ranges, RowRange(at * 2, at * 2 + 2, at))
        assert all(left.stop < right.start for left, right in pairwise(ranges))
    assert ranges == (RowRange(0, 24, 66),)
    assert ranges[0].digest == 66


def test_covering() -> None:
    ranges = [RowRange(0, 4, 0), RowRange(6, 8, 0)]
    assert [covers(ranges, RowRange(*span, 0)) for span in [(0, 4), (1, 3), (6, 8), (3, 5), (4, 6), (7, 9), (9, 10)]] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip


def test_the_books() -> None:
    account = Account(RESULT)
    one, two, three = cut([(n,) for n in range(9)])
    for batch in (one, two, three):
        account.begin(batch)
    account.commit(two, 3)
    account.commit(two, 3)  # told twice
    account.fail(three)
    account.lose_sight()
    result = account.result(9)
    assert (result.committed, result.unknown) == ((RowRange(3, 6, 0),), (RowRange(0, 3, 0),))
    assert (result.rows, result.inserted, result.drawn, result.complete) == (3, 3, 9, False)
    assert not result.resumable
    assert result.settled(0, committed=True).committed == (RowRange(0, 6, 0),)
    assert result.settled(0, committed=False).committed == result.committed
    assert result.settled(0, committed=False).resumable
    with pytest.raises(ConfigError, match="no range from row 3"):
        result.settled(3, committed=True)
    assert pickle.loads(pickle.dumps(result)) == result  # noqa: S301 - our own


# --- SQL --------------------------------------------------------------------------------------------


def test_the_insert() -> None:
    assert insert_sql('"t"', None, (), 2, 2) == 'INSERT INTO "t" VALUES ($1,$2),($3,$4)'
    assert (
        insert_sql('"t"', ("a", 'b"c'), ("a",), 1, 2)
        == 'INSERT INTO "t" ("a", "b""c") VALUES ($1,$2) ON CONFLICT ("a") DO NOTHING'
    )


def test_names_of_tables() -> None:
    assert quoted("Items") == '"Items"'
    assert quoted('s.a"b') == '"s"."a""b"'
    for wrong in ("", ".", "a.", "a.b.c", "a\0", 7):
        with pytest.raises(ConfigError, match="a table is named"):
            quoted(wrong)  # type: ignore[arg-type]
