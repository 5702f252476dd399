"""The limits of a cluster, as values that can be changed while it runs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace


@dataclass(frozen=True)
class Limits:
    """What the cluster allows; None switches a limit off.

    Args:
        session_seconds: A session older than this is cut without a word (documented by AWS: 1 h).
        connections: Connections open at once (documented by AWS: 10,000).
        rate: Connections admitted each second once the burst is used up (documented by AWS: 100).
        burst: Connections admitted at once after a quiet time (documented by AWS: 1,000). With
            `rate` off it means nothing.
        handshake_seconds: Time from the TCP connect to the end of authentication (assumed).
        message_bytes: Longest protocol message of a client; a longer one ends the connection
            without an error (documented by AWS: 10 MiB).
        transaction_seconds: A transaction older than this, on the session clock, fails at its next statement or
            COMMIT with 54000 (documented by AWS: 5 minutes; where it fails is observed).
        transaction_rows: Rows that one transaction may change; one more fails the statement with 54000
            (documented by AWS: 3,000).
        transaction_bytes: Bytes that one transaction may write; more fail at COMMIT with 54000 (documented by
            AWS: 10 MiB; where it fails is observed).
        row_bytes: The largest row (documented by AWS: 2 MiB).

    Raises:
        ValueError: If a limit is negative, not finite, or zero where zero has no meaning.
        TypeError: If a limit is not a number.
    """

    session_seconds: float | None = 3600.0
    connections: int | None = 10_000
    rate: float | None = 100.0
    burst: int | None = 1_000
    handshake_seconds: float | None = 10.0
    message_bytes: int | None = 10 * 1024 * 1024
    transaction_seconds: float | None = 300.0
    transaction_rows: int | None = 3_000
    transaction_bytes: int | None = 10 * 1024 * 1024
    row_bytes: int | None = 2 * 1024 * 1024

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            # bool is an int; `rate=True` is a slip of the hand.
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{field.name} must be a number or None, not {value!r}")
            if not math.isfinite(value) or value < 0:
                raise ValueError(f"{field.name} must be 0 or more, not {value!r}")
            if field.name in _WHOLE and value != int(value):
                raise ValueError(f"{field.name} must be a whole number, not {value!r}")

    def changed(self, **changes: float | None) -> Limits:
        """Return these limits with some of them replaced.

        Raises:
            TypeError: If a name is not a limit; the message lists those that are.
        """
        names = [field.name for field in fields(self)]
        for name in changes:
            if name not in names:
                raise TypeError(f"{name!r} is not a limit; the limits are {', '.join(names)}")
        return replace(self, **changes)  # type: ignore[arg-type]  # each is checked by __post_init__

    def as_dict(self) -> dict[str, float | None]:
        """Return the limits by name."""
        return asdict(self)


_WHOLE = {"connections", "burst", "message_bytes", "transaction_rows", "transaction_bytes", "row_bytes"}
