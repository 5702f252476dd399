"""The owner's hand on a running cluster's faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dsql_fast.local._faults import Faults, PendingFault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class FaultControl:
    """Orders what is to go wrong.

    What is ordered is taken off first come, first served, by the sessions and connections that come to the place.
    Every order takes

    * `count`: how many times; by default once, or until `clear()` where a share is given,
    * `share`: how many of those that come by are hit, above 0 to 1; they are drawn,
    * `seed`: makes the draws the same in each run.

    Raises, from every method: ValueError if an argument is out of its range, TypeError if it is of another type,
    both before anything is sent; NotRunning if the cluster does not run.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def fail_commits(
        self,
        count: int | None = None,
        kind: str = "OC000",
        *,
        when: str = "before",
        share: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Answer COMMITs of transactions that wrote with an error; autocommit statements too.

        Args:
            count: How many.
            kind: "OC000" (a conflict) or "OC001" (a schema conflict), both 40001, or "XX000"
                (`server unavailable`).
            when: "before" it takes effect, or, for XX000, "after".
            share: Of all such COMMITs.
            seed: For the draws.
        """
        self._order("fail_commits", count=count, kind=kind, when=when, share=share, seed=seed)

    def cut_commits(
        self,
        count: int | None = None,
        *,
        when: str = "before",
        share: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Cut connections between COMMIT and its answer, "before" or "after" it takes effect."""
        self._order("cut_commits", count=count, when=when, share=share, seed=seed)

    def fail_statements(
        self,
        count: int | None = None,
        kind: str = "XX000",
        *,
        share: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Answer statements with "XX000" (`server unavailable`) or "OC001" (a schema conflict, 40001)."""
        self._order("fail_statements", count=count, kind=kind, share=share, seed=seed)

    def cut_transactions(
        self, count: int | None = None, *, share: float | None = None, seed: int | None = None
    ) -> None:
        """Cut connections at their next statement inside a transaction block."""
        self._order("cut_transactions", count=count, share=share, seed=seed)

    def refuse_connections(
        self,
        count: int | None = None,
        reason: str = "waking-up",
        *,
        share: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Refuse connections in DSQL's words for "waking-up", "rate" or "connections"."""
        self._order("refuse_connections", count=count, reason=reason, share=share, seed=seed)

    def silence_connections(
        self, count: int | None = None, *, share: float | None = None, seed: int | None = None
    ) -> None:
        """Accept connections and never say a word, until the client leaves or `handshake_seconds` are over."""
        self._order("silence_connections", count=count, share=share, seed=seed)

    def half_open_connections(
        self, count: int | None = None, *, share: float | None = None, seed: int | None = None
    ) -> None:
        """Let clients in and never answer a statement, as if the other end had lost its power."""
        self._order("half_open_connections", count=count, share=share, seed=seed)

    def slow_connections(
        self,
        bytes_per_second: float,
        count: int | None = None,
        *,
        share: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Let clients in and have what is sent to them arrive at so many bytes a second."""
        self._order("slow_connections", bytes_per_second=bytes_per_second, count=count, share=share, seed=seed)

    def slow_jobs(
        self,
        seconds: float,
        count: int | None = None,
        *,
        share: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Have jobs (`CREATE INDEX ASYNC`) be "processing" for so many seconds first, or until `clear()`."""
        self._order("slow_jobs", seconds=seconds, count=count, share=share, seed=seed)

    def fail_jobs(
        self,
        count: int | None = None,
        details: str = "internal error",
        *,
        seconds: float = 0.0,
        share: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Have jobs fail, which leaves an invalid index.

        Args:
            count: How many.
            details: What `sys.jobs` has in that column.
            seconds: How long they are "processing" first; `clear()` ends that.
            share: Of all jobs.
            seed: For the draws.
        """
        self._order("fail_jobs", count=count, details=details, seconds=seconds, share=share, seed=seed)

    def latency(
        self,
        *,
        connect: float | Sequence[float] | None = None,
        commit: float | Sequence[float] | None = None,
        seed: int | None = None,
    ) -> None:
        """Have connecting, and COMMIT of transactions that wrote, take longer, until `clear()`.

        DSQL's own: 0 to 0.3 s to connect, 0.005 to 0.03 s to commit (observed).

        Args:
            connect: Seconds, or the least and the most of them, drawn uniformly; None leaves it as it is, 0
                switches it off. It is spent once the token was judged, within `handshake_seconds`.
            commit: The same for COMMIT.
            seed: For the draws.
        """
        self._order("latency", connect=connect, commit=commit, seed=seed)

    def clear(self) -> None:
        """Forget every order and every latency."""
        self._order("clear")

    def pending(self) -> list[PendingFault]:
        """The orders that are not used up."""
        return [PendingFault(**each) for each in self._call("pending_faults")]

    def _order(self, order: str, **arguments: Any) -> None:
        # What is wrong with it shows on one's own side first.
        getattr(Faults(), order)(**arguments)
        self._call("order_fault", order=order, **arguments)
