"""What the demo moves money between: accounts, a ledger of what was moved, and a transfer in its two forms."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

OPENING_BALANCE = 200
# So much that some transfers find too little, and so few accounts that concurrent ones often meet.
_LARGEST_AMOUNT = 100

# DSQL takes one DDL statement a transaction, hence autocommit for these. Nothing keeps a balance from going below
# zero, or a transfer from being recorded twice: only that transactions are whole does.
_TABLES = (
    "create table accounts (id int primary key, balance bigint not null)",
    (
        "create table ledger (id uuid primary key default gen_random_uuid(), transfer int not null,"
        " source int not null, target int not null, amount bigint not null)"
    ),
)
_BALANCE = "select balance from accounts where id = %s"
_WITHDRAW = "update accounts set balance = %s where id = %s"
_DEPOSIT = "update accounts set balance = balance + %s where id = %s"
_RECORD = "insert into ledger (transfer, source, target, amount) values (%s, %s, %s, %s)"
_UNEXPLAINED = """
    select count(*) from accounts a
    where balance <> %s
        - (select coalesce(sum(amount), 0) from ledger where source = a.id)
        + (select coalesce(sum(amount), 0) from ledger where target = a.id)
"""


class Transfer(NamedTuple):
    """Money to be moved.

    Attributes:
        number: which transfer it is; in the ledger, too.
        source: the account that it comes from.
        target: the account that it goes to.
        amount: how much.
    """

    number: int
    source: int
    target: int
    amount: int


class Overdrawn(Exception):  # noqa: N818 (it says what would be)
    """The account has too little."""


class Books(NamedTuple):
    """What the database says in the end.

    Attributes:
        total: the sum of all balances.
        lowest: the least of them.
        unexplained: accounts whose balance is not what the ledger makes it.
        transfers: numbers of the transfers in the ledger, in order, as often as they are there.
    """

    total: int
    lowest: int
    unexplained: int
    transfers: list[int]


def open_accounts(connection: psycopg.Connection[Any], accounts: Sequence[int]) -> None:
    """Make the tables, and the accounts with `OPENING_BALANCE` each. The connection is in autocommit mode."""
    for table in _TABLES:
        connection.execute(table)
    rows = [(account, OPENING_BALANCE) for account in accounts]
    connection.cursor().executemany("insert into accounts values (%s, %s)", rows)


def draw(numbers: range, accounts: Sequence[int]) -> list[Transfer]:
    """Draw transfers with these numbers. The same ones each time."""
    random = Random(numbers.start)  # noqa: S311 (an example, no secret)
    orders = []
    for number in numbers:
        source, target = random.sample(accounts, 2)
        orders.append(Transfer(number, source, target, random.randint(1, _LARGEST_AMOUNT)))
    return orders


def transfer(connection: psycopg.Connection[Any], order: Transfer) -> int:
    """Move money, in the transaction that the connection is in.

    What is written depends on what was read: were another one's COMMIT overlooked, its money would be gone.

    Returns:
        The balance that the source had.

    Raises:
        Overdrawn: it had too little. Nothing was written.
    """
    found = _enough(connection.execute(_BALANCE, (order.source,)).fetchone(), order)
    connection.execute(_WITHDRAW, (found - order.amount, order.source))
    connection.execute(_DEPOSIT, (order.amount, order.target))
    connection.execute(_RECORD, order)
    return found


async def transfer_async(connection: psycopg.AsyncConnection[Any], order: Transfer) -> int:
    """As `transfer`."""
    cursor = await connection.execute(_BALANCE, (order.source,))
    found = _enough(await cursor.fetchone(), order)
    await connection.execute(_WITHDRAW, (found - order.amount, order.source))
    await connection.execute(_DEPOSIT, (order.amount, order.target))
    await connection.execute(_RECORD, order)
    return found


def audit(connection: psycopg.Connection[Any]) -> Books:
    """Read the books."""
    ((total, lowest),) = connection.execute("select sum(balance), min(balance) from accounts").fetchall()
    ((unexplained,),) = connection.execute(_UNEXPLAINED, (OPENING_BALANCE,)).fetchall()
    recorded = connection.execute("select transfer from ledger order by transfer").fetchall()
    return Books(int(total), lowest, unexplained, [number for (number,) in recorded])


def _enough(row: tuple[Any, ...] | None, order: Transfer) -> int:
    if row is None:
        raise LookupError(f"there is no account {order.source}")
    balance: int = row[0]
    if balance < order.amount:
        raise Overdrawn(f"account {order.source} has {balance}, and {order.amount} were wanted")
    return balance
