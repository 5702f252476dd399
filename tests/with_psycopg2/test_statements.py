"""Statements with ``$1`` as psycopg2 takes them: no name, text or percent sign is mistaken for a parameter."""

from __future__ import annotations

import pytest

from dsql_fast.psycopg2._execute import translated


@pytest.mark.parametrize(
    ("sql", "expected", "places"),
    [
        ("SELECT 1", "SELECT 1", ()),
        ("SELECT $1, $2", "SELECT %s, %s", (0, 1)),
        ("SELECT $2,$1 , $2", "SELECT %s,%s , %s", (1, 0, 1)),
        ("($1,$10,$11)", "(%s,%s,%s)", (0, 9, 10)),
        ("SELECT 5 % $1 || '%s'", "SELECT 5 %% %s || '%%s'", (0,)),
        ("SELECT '$1', \"$2\", $1", "SELECT '$1', \"$2\", %s", (0,)),
        ("SELECT 'it''s $1', $1", "SELECT 'it''s $1', %s", (0,)),
        ('SELECT "a""$1", $1', 'SELECT "a""$1", %s', (0,)),
        ("SELECT '\"', $1, '\"'", "SELECT '\"', %s, '\"'", (0,)),
        ('SELECT $1 AS "it\'s", $2', 'SELECT %s AS "it\'s", %s', (0, 1)),
        ("", "", ()),
    ],
)
def test_parameters_are_found_outside_of_quotes(sql: str, expected: str, places: tuple[int, ...]) -> None:
    assert translated(sql) == (expected, places)
