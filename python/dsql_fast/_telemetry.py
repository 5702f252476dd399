"""What happened, for people and programs: log records and counters.

The logger is ``dsql_fast``. `logging` is imported with the first event, so that a process in which nothing
happens does not pay for it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Event = Literal[
        "token_renewal_failed",
        "token_dropped",
        "role_renewal_failed",
        "system_trust_used",
        "endpoint_failed_over",
        "endpoint_returned",
        "connect_put_off",
        "connect_given_up",
        "connection_replaced",
        "connection_discarded",
        "replacement_failed",
        "conflict_data",
        "conflict_schema",
        "transaction_lost",
        "transaction_unavailable",
        "commit_outcome_unknown",
        "transaction_retried",
        "retries_exhausted",
    ]

_counters: dict[str, int] = {}


def counters() -> dict[str, int]:
    """Return how often each event happened in this process.

    Returns:
        A copy. The keys are those that occurred: ``token_renewal_failed``, ``token_dropped`` (the cluster said
        that it had expired), ``role_renewal_failed`` (STS did not give an `AssumeRole` new credentials, and the
        old ones still held), ``system_trust_used`` (the certificate was not signed by an Amazon root, but by one
        that the system trusts), ``endpoint_failed_over`` (one of several endpoints could not be reached, and
        the next was tried), ``endpoint_returned`` (the first could, again), ``connect_put_off`` (a try that
        waits: DSQL refused the last one for now, or this process or its fleet keeps to the rate),
        ``connect_given_up`` (the deadline came first), ``connection_replaced`` and ``connection_discarded`` (by
        a pool, for age), ``replacement_failed`` (an asyncpg pool could not open a successor); of
        `run_transaction`, why an attempt failed: ``conflict_data`` (OC000), ``conflict_schema`` (OC001),
        ``transaction_lost`` (the connection went before COMMIT), ``transaction_unavailable`` (XX000 before
        COMMIT), ``commit_outcome_unknown``; and what followed: ``transaction_retried``, ``retries_exhausted``
        (by attempts or by deadline).
    """
    return dict(_counters)


def record(event: Event, level: int, message: str, *arguments: object) -> None:
    """Count an event and log it.

    Args:
        event: the name of its counter.
        level: as in `logging`.
        message: the record's text, with ``%`` placeholders. Never anything secret.
        *arguments: what fills the placeholders.
    """
    import logging

    # A plain dict: two threads may lose a count between them, and no caller pays for a lock.
    _counters[event] = _counters.get(event, 0) + 1
    logging.getLogger("dsql_fast").log(level, message, *arguments)
