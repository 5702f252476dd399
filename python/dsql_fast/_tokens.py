"""Tokens: signed once, handed out many times, renewed before they end.

A `TokenSource` holds one token. Its native base class decides at each call whether the token is fresh (the
same string is returned, and no Python code runs), whether this caller shall renew it (it gets a *lease*), or
whether another caller does so already. What is done with a lease stands here: fetching credentials, signing,
waking those who wait.

- Credentials that cannot block (a value, the environment) are signed with on the caller's thread: it takes
  microseconds.
- Sources that may block run on a daemon thread of their own, for synchronous callers too: so everybody can stop
  waiting when a source hangs. There is no permanent thread.
- `async def` sources run as a task on the loop of the caller that got the lease.

Who waits for a first token shares one future. While a token is renewed, everybody goes on with the old one.
"""

from __future__ import annotations

import os
from _thread import RLock
from contextvars import ContextVar

from . import _telemetry
from ._credentials import Credentials, credentials_provider, profile_region
from ._credentials._environment import unchanged_credentials
from ._endpoint import Endpoint, resolve_endpoint
from ._errors import ConfigError, CredentialsError, CredentialsTimeout, Error, linked, without_frames
from ._native import Lease, TokenCache, sign_plain, sign_token
from ._token_request import DEFAULT_LIFETIME, action_for, lifetime_from
from ._waiting import come_in, remember, wake

TYPE_CHECKING = False
if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from datetime import datetime
    from typing import Any

    from typing_extensions import Self

    from ._config import Config
    from ._credentials import CredentialsProvider
    from ._credentials._provider import CredentialsSource
    from ._waiting import TokenFuture

__all__ = ["TokenSource", "generate_token", "shared_source"]

DEFAULT_CREDENTIALS_TIMEOUT = 60.0

# A source that hangs is asked again by a new thread after the timeout; so many threads may hang at once.
_MOST_HANGING = 4
# Tokens kept for `connect` and the pools, least recently used thrown out first.
_MOST_SHARED = 256
# An expired token is dropped at most so often (seconds): one clock that is wrong must not flush without end.
_DROP_INTERVAL = 30.0

_renewing: ContextVar[tuple[TokenSource, ...]] = ContextVar("dsql_fast_renewing", default=())


def generate_token(
    host: str,
    region: str | None = None,
    *,
    user: str = "admin",
    expires_in: int = DEFAULT_LIFETIME,
    credentials: CredentialsSource | None = None,
    now: datetime | None = None,
) -> str:
    """Sign a token, to be used as the password of a connection. Nothing is cached, nothing is sent.

    Args:
        host: the cluster's host, or its id (then a Region is needed).
        region: the Region; default: the host's, else ``AWS_REGION``, ``AWS_DEFAULT_REGION``, the profile's.
        user: the database role; ``admin`` gets a token for DbConnectAdmin, all others for DbConnect.
        expires_in: lifetime in seconds, 1 to 604800. Less where the credentials end sooner.
        credentials: `Credentials`, `AssumeRole`, botocore's ReadOnlyCredentials, a boto3 or botocore session, or a
            callable. Default: the environment's keys, else botocore's chain.
        now: the time of signing, timezone-aware; default: now.

    Returns:
        The token, byte-equal to what botocore signs.

    Raises:
        ConfigError: an argument cannot be used.
        CredentialsError: no usable credentials.
    """
    keys = unchanged_credentials() if credentials is None else credentials
    plain = sign_plain(host, region, user, expires_in, keys, now)
    if plain is not None:
        return plain
    # Something is to be looked up, or is wrong: then it is said here what.
    try:
        lifetime = lifetime_from(expires_in, "expires_in")
        action = action_for(user)
        endpoint = resolve_endpoint(host, region, environ=os.environ, profile_region=lambda: profile_region(None))
        provider = credentials_provider(credentials, None, os.environ, environment_by_value=False)
        provider = provider.in_region(endpoint.region)
        return sign_token(_loaded(provider), endpoint.host, endpoint.region, action, lifetime, now)[0]
    except BaseException as error:  # noqa: BLE001 (raised again below)
        failure = error
    # Frames on the way here hold what the caller passed, and error reporters show locals.
    without_frames(failure)
    del host, credentials, keys
    try:
        raise failure
    finally:
        del failure  # it refers to this frame: no cycle


def _parts_of(config: object, changes: dict[str, Any]) -> tuple[Endpoint, str, int, CredentialsProvider]:
    """Return what a `TokenSource` is made of, from a `Config`."""
    # Only here: it is no light import, and a first token from the environment's keys needs none of it.
    from ._config import Config

    if not isinstance(config, Config):
        raise ConfigError(
            f"host must be text, not {type(config).__name__}"
            if config is not None
            else "no host: pass the cluster's endpoint (<id>.dsql.<region>.on.aws), or its id with region=",
        )
    given = {name: value for name, value in changes.items() if value is not None}
    one = config.replace(**given) if given else config
    if one.alternatives:
        raise ConfigError("a TokenSource is for one endpoint: make one of each of the Config's alternatives")
    if one.password is not None:
        one.provider.load()  # refuses, with the reason
    return one.endpoint, one.action, one.lifetime, one.provider


def _loaded(provider: CredentialsProvider) -> Credentials:
    try:
        return provider.load()
    except Exception as error:  # noqa: BLE001 (whatever a source raises is its failure)
        failure = error
    raise _credentials_failure(failure)


class TokenSource(TokenCache):
    """Tokens for one cluster and user: a fresh one at each call, signed as seldom as possible.

    Safe for threads, tasks, several event loops and forked processes. A token is renewed at 80 % of its life
    and never handed out in the last tenth of it (5 seconds at most). A token never outlives the credentials
    that signed it.

    Args:
        host: the cluster's host, or its id (then a Region is needed). Or a `Config` of one endpoint.
        region: the Region; default: the host's, else ``AWS_REGION``, ``AWS_DEFAULT_REGION``, the profile's.
        user: the database role; default the `Config`'s, else ``admin``.
        token_duration_secs: lifetime of a token in seconds, 1 to 604800; default the `Config`'s, else 900.
        credentials: `Credentials`, `AssumeRole`, botocore's ReadOnlyCredentials, a boto3 or botocore session, or a
            callable (an `async def` for `token_async` only). Default: the environment's keys, read at each
            renewal, else botocore's chain.
        profile: an AWS profile; beats the environment's keys. It is the source of an `AssumeRole` without one.
        credentials_timeout: seconds to wait for a source of credentials; default 60.
        clock: gives the time in seconds since 1970, for tests; default: the system's.

    Raises:
        ConfigError: an argument cannot be used.
        CredentialsError: the environment holds half a pair of keys. (Whether a profile exists is seen when its
            credentials, or its Region, are first needed.)
    """

    __module__ = "dsql_fast"

    _endpoint: Endpoint
    _action: str
    _lifetime: int
    _provider: CredentialsProvider
    _clock: Callable[[], float] | None
    _timeout: float
    _renewals_of: tuple[int, set[Lease]]
    _dropped_at: float
    # When the credentials end that signed the last token, in Unix seconds; None where they do not tell.
    _credentials_end: float | None

    def __new__(
        cls,
        host: str | Config,
        region: str | None = None,
        *,
        user: str | None = None,
        token_duration_secs: int | str | None = None,
        credentials: CredentialsSource | None = None,
        profile: str | None = None,
        credentials_timeout: float = DEFAULT_CREDENTIALS_TIMEOUT,
        clock: Callable[[], float] | None = None,
    ) -> Self:
        """Check the arguments; nothing is fetched or signed yet."""
        try:
            if not isinstance(host, str):
                said = {"region": region, "user": user, "token_duration_secs": token_duration_secs}
                parts = _parts_of(host, {**said, "credentials": credentials, "profile": profile})
                return cls._of(*parts, credentials_timeout=credentials_timeout, clock=clock)
            lifetime = lifetime_from(DEFAULT_LIFETIME if token_duration_secs is None else token_duration_secs)
            action = action_for("admin" if user is None else user)
            provider = credentials_provider(credentials, profile, os.environ, environment_by_value=False)
            endpoint = resolve_endpoint(
                host, region, environ=os.environ, profile_region=lambda: profile_region(profile)
            )
            return cls._of(
                endpoint,
                action,
                lifetime,
                provider.in_region(endpoint.region),
                credentials_timeout=credentials_timeout,
                clock=clock,
            )
        except BaseException as error:  # noqa: BLE001 (raised again below)
            failure = error
        # Frames on the way here hold what the caller passed, and error reporters show locals.
        without_frames(failure)
        del host, credentials
        try:
            raise failure
        finally:
            del failure  # it refers to this frame: no cycle

    @classmethod
    def _of(
        cls,
        endpoint: Endpoint,
        action: str,
        lifetime: int,
        provider: CredentialsProvider,
        *,
        credentials_timeout: float = DEFAULT_CREDENTIALS_TIMEOUT,
        clock: Callable[[], float] | None = None,
    ) -> Self:
        is_number = isinstance(credentials_timeout, (int, float)) and not isinstance(credentials_timeout, bool)
        if not is_number or not credentials_timeout > 0:
            raise ConfigError("credentials_timeout must be a positive number of seconds")
        self = TokenCache.__new__(
            cls, clock=clock, lease_timeout=credentials_timeout, async_only=provider.is_async
        )
        self._endpoint = endpoint
        self._action = action
        self._lifetime = lifetime
        self._provider = provider
        self._clock = clock
        self._timeout = credentials_timeout
        self._renewals_of = (os.getpid(), set())
        self._dropped_at = float("-inf")
        self._credentials_end = None
        return self

    def __repr__(self) -> str:
        return f"<TokenSource {self._endpoint.host} {self._action}>"

    # token(), invalidate() and stats() are native: see _native.pyi.

    async def token_async(self) -> str:
        """Return a fresh token, never blocking the event loop.

        Raises:
            CredentialsError: no usable credentials, and no token that still holds.
        """
        while True:
            token, lease = self._get()
            if lease is not None or token is None:
                begun = self._begin(token, lease)
                token = begun if isinstance(begun, str) else await self._wait_async(begun)
            if token is not None:
                return token

    def _on_miss(self, token: str | None, lease: Lease | None) -> str:
        """Go on where the native `token` has no fresh token to return.

        Args:
            token: the one that is still good enough, with a lease to renew it.
            lease: the right and duty to renew; None: somebody else has it.
        """
        if self._provider.is_async:
            self._provider.load()  # refuses, with the reason
        come_in()
        while True:
            if lease is not None or token is None:
                begun = self._begin(token, lease)
                token = begun if isinstance(begun, str) else self._wait(begun)
            if token is not None:
                return token
            token, lease = self._get()

    def _begin(self, token: str | None, lease: Lease | None) -> str | TokenFuture | None:
        """Start the renewal that a lease is for, or join the one under way.

        Returns:
            A token to go on with, a future to wait on, or None: look again.
        """
        if lease is None:
            self._refuse_recursion()
            _bury_tasks()
            return self._joined()
        provider = self._provider
        if not provider.may_block and not provider.is_async:
            return self._renew_inline(lease, token)
        if self in _renewing.get():
            # Its own credentials ask for its token: the old one is all there is.
            wake(lease.abandon(), None)
            if token is None:
                self._refuse_recursion()
            return token
        # Joined before the renewal starts: a failure that came first would find nobody to tell.
        waiting = self._joined() if token is None else None
        if len(self._renewals()) >= _MOST_HANGING:
            self._failed(lease, self._timed_out())
        elif provider.is_async:
            _start_task(self._renew_async(lease))
        else:
            self._start_thread(lease)
        return token if waiting is None else waiting

    def _joined(self) -> TokenFuture | None:
        from concurrent.futures import Future

        offered: TokenFuture = Future()
        waiting = self._join(offered)
        if waiting is offered:
            remember(offered)
        return waiting  # type: ignore[return-value]  # native: the object that was offered

    def _refuse_recursion(self) -> None:
        if self in _renewing.get():
            raise CredentialsError(
                "the source of the credentials asked for a token that is to be signed with them: "
                "give it credentials of its own",
            )

    def _wait(self, waiting: TokenFuture | None) -> str | None:
        if waiting is None:
            return None
        from concurrent.futures import CancelledError
        from concurrent.futures import TimeoutError as FutureTimeoutError

        try:
            return waiting.result(self._timeout)
        except CancelledError:
            return None  # the lease was lost
        except FutureTimeoutError:
            failure: Error = self._timed_out()
        except Error as error:
            failure = _anew(error)
        raise failure

    async def _wait_async(self, waiting: TokenFuture | None) -> str | None:
        if waiting is None:
            return None
        import asyncio

        outcome = asyncio.wrap_future(waiting)
        # Read in any case, or asyncio complains of an error that nobody asked for.
        outcome.add_done_callback(lambda done: done.cancelled() or done.exception())
        # Unlike wait_for, this cancels nothing: a caller that is cancelled must not cancel what the others wait
        # for. And a future that was cancelled is told from a caller that was.
        await asyncio.wait((outcome,), timeout=self._timeout)
        if not outcome.done():
            raise self._timed_out()
        if outcome.cancelled():
            return None  # the lease was lost
        failure = outcome.exception()
        if isinstance(failure, Error):
            raise _anew(failure)
        return outcome.result()

    # Renewals. Each ends its lease in every case, also when it is torn off by a BaseException.

    def _renew_inline(self, lease: Lease, token: str | None) -> str:
        before = _renewing.set((*_renewing.get(), self))  # a log handler that connects must not wait for itself
        try:
            outcome = self._renew(lease)
        finally:
            _renewing.reset(before)
        if isinstance(outcome, str):
            return outcome
        if token is None:
            raise outcome
        return token

    def _start_thread(self, lease: Lease) -> None:
        from contextvars import copy_context
        from threading import Thread

        # Daemon: a source that hangs must not keep the interpreter from ending.
        # The context tells a source that calls back who it is renewing for.
        thread = Thread(
            target=copy_context().run,
            args=(self._renew_in_thread, lease),
            name="dsql-fast-credentials",
            daemon=True,
        )
        renewals = self._renewals()
        renewals.add(lease)
        try:
            thread.start()
        except RuntimeError as error:  # the interpreter is ending, or no thread is to be had
            renewals.discard(lease)
            self._failed(lease, _credentials_failure(error))

    def _renew_in_thread(self, lease: Lease) -> None:
        _renewing.set((*_renewing.get(), self))
        try:
            self._renew(lease)
        finally:
            self._renewals().discard(lease)

    def _renew(self, lease: Lease) -> str | Error:
        try:
            keys = self._provider.load()
            token, signed_at, expires_at = self._sign(keys)
        except Exception as error:  # noqa: BLE001 (whatever a source raises is its failure)
            return self._failed(lease, _credentials_failure(error))
        except BaseException:
            wake(lease.abandon(), None)
            raise
        wake(lease.fulfil(token, signed_at, expires_at), token)
        return token

    async def _renew_async(self, lease: Lease) -> None:
        _renewing.set((*_renewing.get(), self))  # the task has a context of its own
        self._renewals().add(lease)
        try:
            keys = await self._provider.load_async()
            token, signed_at, expires_at = self._sign(keys)
        except Exception as error:  # noqa: BLE001
            self._failed(lease, _credentials_failure(error))
        except BaseException:
            # Cancelled, or its loop has gone: who waits shall look again and take the lease.
            wake(lease.abandon(), None)
            raise
        else:
            wake(lease.fulfil(token, signed_at, expires_at), token)
        finally:
            self._renewals().discard(lease)

    def _renewals(self) -> set[Lease]:
        """Return the renewals under way off the callers' threads, this process's only."""
        pid = os.getpid()
        if self._renewals_of[0] != pid:
            self._renewals_of = (pid, set())  # forked: the parent's threads do not run here
        return self._renewals_of[1]

    def _sign(self, keys: Credentials) -> tuple[str, float, float]:
        now = self._clock() if self._clock is not None else None
        endpoint = self._endpoint
        self._credentials_end = None if keys.expires_at is None else keys.expires_at.timestamp()
        return sign_token(keys, endpoint.host, endpoint.region, self._action, self._lifetime, now)

    def _failed(self, lease: Lease, failure: Error) -> Error:
        from logging import WARNING
        from random import random

        _telemetry.record("token_renewal_failed", WARNING, "no token for %s: %s", self._endpoint.host, failure)
        wake(lease.fail(random()), failure)  # noqa: S311 (jitter, no secret)
        return failure

    def _timed_out(self) -> Error:
        return CredentialsTimeout(
            f"the source of the AWS credentials did not answer within {self._timeout:g} s: check it "
            "(network, credential_process, instance metadata), or pass credentials=",
        )

    def _drop_expired(self, now: float) -> bool:
        """Throw the token away because the cluster said that it had expired.

        Args:
            now: monotonic time in seconds.

        Returns:
            Whether it was: once in 30 seconds, so that a wrong clock does not flush without end.
        """
        if now - self._dropped_at < _DROP_INTERVAL:
            return False
        self._dropped_at = now
        self.invalidate()
        return True


def _credentials_failure(error: BaseException) -> Error:
    """Give the error that a failed renewal is reported with.

    The cause stays if it holds no more than its words, and without its traceback: locals in the frames of a source
    may hold secrets, and error reporters show locals. Where it was raised is told in words.
    """
    if isinstance(error, Error):
        return _anew(error)
    frame, where = error.__traceback__, ""
    while frame is not None:
        where = f" ({frame.tb_frame.f_code.co_filename}, line {frame.tb_lineno})"
        frame = frame.tb_next
    failure = CredentialsError(f"the source of the AWS credentials failed: {type(error).__name__}: {error}{where}")
    without_frames(error)
    # Errors of parsing keep what was parsed, which may be an answer with keys in it.
    if not any(isinstance(link, UnicodeError) or hasattr(link, "doc") for link in linked(error)):
        failure.__cause__ = error
    return failure


def _anew(error: Error) -> Error:
    """Copy an error: threads that raise one object between them would mix their tracebacks in it."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__ and without_frames(error.__cause__)
    return copy


# The renewals that run as tasks: the loops hold theirs weakly.
_tasks: set[asyncio.Task[None]] = set()


def _start_task(coroutine: Any) -> None:
    import asyncio

    task = asyncio.get_running_loop().create_task(coroutine)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def _bury_tasks() -> None:
    """End the renewals whose loop was closed under them: nobody else will, and others wait for them."""
    if not _tasks:
        return
    from contextlib import suppress

    for task in list(_tasks):
        if task.get_loop().is_closed():
            _tasks.discard(task)
            # Not if the source's own `finally` awaits, or another thread was first.
            with suppress(RuntimeError):
                task.get_coro().close()  # `_renew_async`, which abandons the lease


# The tokens that `connect` and the pools share. The lock belongs to a process: one that another thread held
# during a fork is never released in the child. Re-entrant: comparing keys runs the callers' own `__eq__`.

_shared: dict[tuple[Endpoint, str, int, CredentialsProvider], TokenSource] = {}
_shared_locks = {os.getpid(): RLock()}


def _shared_lock() -> RLock:
    """Return this process's lock: the same to all threads that come first after a fork, with or without a GIL."""
    process = os.getpid()
    return _shared_locks.get(process) or _shared_locks.setdefault(process, RLock())


def shared_source(endpoint: Endpoint, action: str, lifetime: int, provider: CredentialsProvider) -> TokenSource:
    """Return the process's one source for these tokens; the 256 last used are kept."""
    key = (endpoint, action, lifetime, provider)
    with _shared_lock():
        # Taken out and put in again: a dict keeps the order, the last used comes last.
        source = _shared.pop(key, None)
        if source is None:
            source = TokenSource._of(endpoint, action, lifetime, provider)  # noqa: SLF001 (ours)
            if len(_shared) >= _MOST_SHARED:
                del _shared[next(iter(_shared))]
        _shared[key] = source
    return source
