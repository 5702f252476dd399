"""The official connector's settings of a retry, and what they are as a `RetryPolicy`."""

from __future__ import annotations

from dataclasses import dataclass

from .._errors import ConfigError
from .._retry import RetryPolicy

_MOST_RETRIES = 100
_ONCE = RetryPolicy(max_attempts=1)


@dataclass(frozen=True)
class OCCRetryConfig:
    """How often a transaction is run again after a conflict, and how long is waited before.

    Before the n-th retry: ``base_delay_ms`` doubled n - 1 times, at most `max_delay_ms`, and on top of that up to
    the `jitter_factor` of it, by chance. After a schema's conflict (OC001), which one retry clears, the first
    retry is made at once.

    Attributes:
        max_retries: 0 to 100; default 3, the first attempt not counted.
        base_delay_ms: milliseconds, more than 0; default 1.
        max_delay_ms: milliseconds, `base_delay_ms` or more; default 100.
        jitter_factor: 0 to 1; default 0.25.

    Raises:
        ConfigError: a value is out of its range; also a ``ValueError``.
    """

    max_retries: int = 3
    base_delay_ms: int = 1
    max_delay_ms: int = 100
    jitter_factor: float = 0.25

    def __post_init__(self) -> None:
        if not isinstance(self.max_retries, int) or not 0 <= self.max_retries <= _MOST_RETRIES:
            raise ConfigError(f"max_retries must be a whole number from 0 to {_MOST_RETRIES}")
        for name in ("base_delay_ms", "max_delay_ms", "jitter_factor"):
            if not isinstance(getattr(self, name), (int, float)):
                raise ConfigError(f"{name} must be a number")
        if not self.base_delay_ms > 0:
            raise ConfigError(f"base_delay_ms must be more than 0, not {self.base_delay_ms!r}")
        if not self.max_delay_ms >= self.base_delay_ms:
            raise ConfigError(f"max_delay_ms ({self.max_delay_ms!r}) must not be less than base_delay_ms")
        if not 0 <= self.jitter_factor <= 1:
            raise ConfigError(f"jitter_factor must be from 0 to 1, not {self.jitter_factor!r}")


def policy_of(config: OCCRetryConfig) -> RetryPolicy:
    """Return the same as a policy.

    Jitter goes on top of the delay there and is taken off the bound here. So the bound is the delay with all of
    its jitter: from d * (1 + j), d * j * chance is taken, which is d * (1 + j * chance) with the chance turned
    round.

    Raises:
        ConfigError: a delay is endless.
    """
    most = 1.0 + config.jitter_factor
    return RetryPolicy(
        max_attempts=config.max_retries + 1,
        base_delay=config.base_delay_ms / 1000.0 * most,
        max_delay=config.max_delay_ms / 1000.0 * most,
        jitter=config.jitter_factor / most,
    )


def checked_retry(retry: object) -> OCCRetryConfig | bool | None:
    """Return a ``retry=`` argument.

    Raises:
        ConfigError: it is none.
    """
    if retry is None or isinstance(retry, (bool, OCCRetryConfig)):
        return retry
    raise ConfigError(f"retry must be an OCCRetryConfig, True, False or None, not {type(retry).__name__}")


def policy_for(of_pool: OCCRetryConfig | bool | None, of_call: object) -> RetryPolicy:
    """Return the policy of one ``run_transaction``.

    Args:
        of_pool: the pool's ``retry=``; None and False: one attempt.
        of_call: the call's; None: the pool's. True: as the pool says, else the default.

    Raises:
        ConfigError: the call's cannot be used.
    """
    retry = checked_retry(of_call)
    if retry is None or (retry is True and isinstance(of_pool, OCCRetryConfig)):
        retry = of_pool
    if retry is True:
        retry = OCCRetryConfig()
    return policy_of(retry) if retry else _ONCE
