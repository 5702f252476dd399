"""A conflict that is certain: two transactions write one account, in an order that is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..._retry import RetryPolicy
from ._accounts import transfer, transfer_async

if TYPE_CHECKING:
    import psycopg

    from ..._retry import RetryState
    from ...psycopg import AsyncConnectionPool, ConnectionPool
    from ._accounts import Transfer


@dataclass
class Collision:
    """Two transfers from one account, and what became of the one that lost.

    Attributes:
        winner: is committed while the other one is under way.
        loser: has read and written by then, and is not committed.
        found: the balances that the loser found, one for each time that it was run.
        conflicts: what its runs failed with, in the database's words.
    """

    winner: Transfer
    loser: Transfer
    found: list[int] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)

    def retry(self, state: RetryState) -> None:
        """The loser is run again: the policy's hook."""
        self.conflicts.append(str(state.error))

    @property
    def as_it_must_be(self) -> bool:
        """The loser was run twice, and the second time it saw what the winner had left."""
        return len(self.conflicts) == 1 and self.found == [self.found[0], self.found[0] - self.winner.amount]

    def __str__(self) -> str:
        """Tell it in a sentence."""
        return (
            f"both read {self.found[0]}; the first to COMMIT took {self.winner.amount}; the other's COMMIT was "
            f"refused: {', '.join(self.conflicts)}; "
            f"run again, it read {self.found[-1]} and took {self.loser.amount}"
        )


def collide(pool: ConnectionPool[Any], winner: Transfer, loser: Transfer) -> Collision:
    """Let one transfer be committed between another one's writes and its COMMIT. Takes two connections."""
    seen = Collision(winner, loser)

    def lose(connection: psycopg.Connection[Any]) -> None:
        seen.found.append(transfer(connection, loser))
        if len(seen.found) == 1:
            pool.run_transaction(lambda other: transfer(other, winner))

    pool.run_transaction(lose, policy=RetryPolicy(before_retry=seen.retry))
    return seen


async def collide_async(pool: AsyncConnectionPool[Any], winner: Transfer, loser: Transfer) -> Collision:
    """As `collide`."""
    seen = Collision(winner, loser)

    async def lose(connection: psycopg.AsyncConnection[Any]) -> None:
        seen.found.append(await transfer_async(connection, loser))
        if len(seen.found) == 1:
            await pool.run_transaction(lambda other: transfer_async(other, winner))

    await pool.run_transaction(lose, policy=RetryPolicy(before_retry=seen.retry))
    return seen
