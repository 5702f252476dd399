"""One connect: what a driver is given, and what is tried again after a failure. For every driver, sync and async.

A driver's own part is a `Driver`: how it takes its settings, and what its errors say.

Where several endpoints were named, or a name to dial instead of the host, an `Attempt` follows a `Route`: the
names are resolved here, so that each try is one address, and one deadline holds over all of them.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import time
from contextlib import suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol, cast

from . import _telemetry
from ._both import as_both
from ._config import READ_ENVIRONMENT, dialled, needs_profile_region, parse_config
from ._errors import noted
from ._failover import LEAST_TRY, NOT_NOW, Route, may_move_on, preference_of
from ._pacing import Course, Pace
from ._tokens import shared_source

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping
    from typing import Any, TypeVar

    from ._config import Config
    from ._diagnosis import Known
    from ._tokens import TokenSource

    E = TypeVar("E", bound=BaseException)

# Hosts whose certificate is not signed by an Amazon root but by one that the system trusts (a proxy of the
# company's, a local cluster): the bundled roots are not tried again for them in this process.
_system_trust: set[str] = set()

_EXPIRED = "Signature expired"  # the hint of DSQL's refusal (observed)
_NOT_VERIFIED = "certificate verify failed"  # OpenSSL's words
# By the message: no SQLSTATE reaches psycopg from a failed connect.
_NOT_NOW = tuple(f"accept connection, {words}" for words in NOT_NOW)

# Seconds for a connect whose `connect_timeout` nobody gave; as psycopg has it.
_PATIENCE = 130.0

# What this process knows of each cluster's rate, by host: one that does not answer keeps none from another.
_paces: dict[str, Pace] = {}

_held: ContextVar[Held | None] = ContextVar("dsql_fast_held", default=None)


# Equal calls are put together once: the parts of a plan cost 20 us in a tight loop, but ten times that between
# two real connects, when none of their code is in the processor's caches. At most so many plans are kept.
_MOST_PLANS = 64
# Of a plan's arguments, those for single addresses: a name server may give ever other ones.
_MOST_DIALLED = 32
_plans: dict[Hashable, Plan] = {}
_ENCODED = tuple(map(getattr(os.environ, "encodekey", str), READ_ENVIRONMENT))


class Driver(Protocol):
    """What a connect has to know of a database driver.

    Attributes:
        name: the package's.
    """

    name: str

    def arguments(self, config: Config, *, system_trust: bool) -> dict[str, Any]:
        """Write settings as arguments of its ``connect``, all but the password.

        Args:
            config: the settings.
            system_trust: trust the system's roots instead of the bundled ones.

        Raises:
            DriverError: it is too old.
        """

    def refusal(self, error: BaseException) -> str | None:
        """Return what the server, TLS or the network said, with the hint; None if the error is not of a connect.

        It may be empty, as a ``TimeoutError``'s is: the name of the error's class tells too.
        """

    def unreachable(self, text: str) -> Exception:
        """Return the error that the driver raises where there is no way to a server."""


class Plan:
    """What all connects of a driver with equal settings share.

    Attributes:
        driver: whom they are for.
        config: the settings.
        source: where their tokens come from, or the password of an ordinary PostgreSQL.
        trusts_only_amazon: whether the system's roots may be tried after the bundled ones.
        members: of several endpoints, the plan of each; empty for one endpoint.
        is_routed: whether a connect resolves names by itself.
        is_paced: whether a connect that is refused for now is tried again.
        is_spread: whether a first try may have to wait for its turn in the fleet.
        patience: seconds until a connect is given up, where nothing else bounds it.
    """

    __slots__ = (
        "_arguments",
        "config",
        "driver",
        "is_paced",
        "is_routed",
        "is_spread",
        "members",
        "patience",
        "preference",
        "source",
        "trusts_only_amazon",
    )

    def __init__(self, driver: Driver, config: Config) -> None:
        self.driver = driver
        self.config = config
        if config.password is None:
            self.source = shared_source(config.endpoint, config.action, config.lifetime, config.provider)
        else:
            # What a connect uses of a source, a password has too.
            self.source = cast("TokenSource", config.password)
        self.trusts_only_amazon = config.trusts_only_amazon
        self.members = tuple(Plan(driver, one) for one in config.alternatives)
        self.is_routed = bool(self.members) or config.connect_host is not None
        self.is_paced = config.pacing is not None and config.password is None
        self.is_spread = self.is_paced and config.pacing is not None and config.pacing.spread > 0
        self.patience = _PATIENCE if config.deadline is None else max(config.deadline, LEAST_TRY)
        places = ((one.endpoint, one.port, one.hostaddr, one.connect_host) for one in config.alternatives)
        self.preference = preference_of(tuple(places))
        self._arguments: dict[object, dict[str, Any]] = {}

    def arguments(self, *, system_trust: bool) -> dict[str, Any]:
        """Return what goes to the driver's ``connect``, all but the password."""
        found = self._arguments.get(system_trust)
        if found is None:
            found = self.driver.arguments(self.config, system_trust=system_trust)
            self._arguments[system_trust] = found
        return found

    def dialled(self, hostaddr: str | None, seconds: int | None, *, system_trust: bool) -> dict[str, Any]:
        """As `arguments`, for one address (None: as configured) and so many seconds."""
        key = (hostaddr, seconds, system_trust)
        found = self._arguments.get(key)
        if found is None:
            config = dialled(self.config, hostaddr, seconds)
            found = self.driver.arguments(config, system_trust=system_trust)
            if len(self._arguments) >= _MOST_DIALLED:
                self._arguments.clear()
            self._arguments[key] = found
        return found

    def route(self, now: float) -> Route:
        """Plan the way of one connect.

        Args:
            now: monotonic time in seconds.
        """
        count = len(self.members) or 1
        order = self.preference.order(count, now, self.config.return_to_first_secs)
        deadline = self.config.deadline
        return Route(order, None if deadline is None else now + deadline)


class PutOff(BaseException):
    """Not to be tried yet. It tells a pool that schedules (`Held`), and nobody else ever sees it.

    No failure: none of those on its way, the pool's loop or a user's class, is to take it for one.

    Attributes:
        seconds: from now on.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Held:
    """A connect whose waits a pool schedules: in a ``with`` block the next connect raises instead of waiting.

    It is used again for each try: what is known of the earlier ones stays with it.

    Args:
        spread: whether the first try waits for its turn in the fleet.
        deadline: monotonic seconds until which a caller waits; default none: the pool knows when to give up.
    """

    __slots__ = ("_token", "courses", "deadline", "refused", "spread")

    def __init__(self, *, spread: bool = True, deadline: float = math.inf) -> None:
        self.courses: dict[str, Course] = {}
        self.deadline = deadline
        self.refused: Course | None = None
        self.spread = spread

    def __enter__(self) -> None:
        self.refused = None
        self._token = _held.set(self)

    def __exit__(self, *_: object) -> None:
        _held.reset(self._token)

    def delay(self, now: float, by: float = math.inf) -> float | None:
        """Return the seconds until the pool is to come again, for the next try or to be put off once more.

        None if the last one was not refused for now.

        Args:
            now: monotonic seconds.
            by: when the pool gives up: a try that were to come later comes then, and is the last.
        """
        if self.refused is None:
            return None
        self.refused.end_by(by)
        return max(0.0, self.refused.look(now))


class Attempt:
    """The tries of one connect.

    To one address at most three: as configured, with the other roots, with a new token. Then, if the connect has a
    route, the next address or endpoint. At last, where the cluster refuses for now, later ones.

    A driver's loop is: `pause`, try with `token` and `arguments`, then `connected`, or `again`.

    Attributes:
        source: where the token for the next try comes from.
    """

    __slots__ = (
        "_began",
        "_course",
        "_deadline",
        "_failed",
        "_held",
        "_other_trust_tried",
        "_plan",
        "_route",
        "_system_trust",
        "_token",
        "_whole",
        "source",
    )

    def __init__(self, plan: Plan) -> None:
        self._whole = self._plan = plan
        self._held = _held.get()
        self._began = time.monotonic()
        if self._held is None:
            self._deadline = self._began + plan.patience
        else:
            _held.set(None)  # for this connect, not for others inside of it
            self._deadline = self._held.deadline
        self._course: Course | None = None
        self._failed: list[str] = []
        self._route: Route | None = None
        if plan.is_routed:
            self._route = plan.route(self._began)
            if plan.members:
                plan = plan.members[self._route.endpoint]
        self._turn_to(plan)

    def _turn_to(self, plan: Plan) -> None:
        host = plan.config.endpoint.host
        if plan is not self._plan:
            self._course = None
        if self._course is None and (plan.is_spread or host in _paces):
            # Else this process was never refused: there is nothing to wait for, and mostly never will be.
            self._course = self._course_of(plan)
        self._plan = plan
        self._other_trust_tried = False
        self._system_trust = plan.trusts_only_amazon and host in _system_trust
        self.source = plan.source
        self._token: str | None = None

    def _course_of(self, plan: Plan, *, was_free: bool = False) -> Course | None:
        """Return the course of the tries; None if there is one only.

        Args:
            plan: whose.
            was_free: it began when nobody had been refused: as it would have been made then.
        """
        pacing = plan.config.pacing
        if pacing is None or not plan.is_paced:
            return None
        host, held = plan.config.endpoint.host, self._held
        if held is not None and host in held.courses:
            return held.courses[host]
        pace = _paces.get(host) or _paces.setdefault(host, Pace())
        if was_free:
            course = Course(pace, self._began, self._began, self._deadline, in_turn=False)
        else:
            # A turn in the fleet is waited for once, not at each of several endpoints.
            spread = not self._failed and (held is None or held.spread)
            course = pace.course(time.monotonic(), pacing, self._deadline, spread=spread)
        if held is not None:
            held.courses[host] = course
        return course

    @property
    def host(self) -> str:
        """The cluster's."""
        return self._plan.config.endpoint.host

    def pause(self) -> None:
        """Wait until it is time to try. Mostly that is at once.

        Raises:
            PutOff: a pool schedules it.
        """
        if self._course is None:
            return
        while (seconds := self._seconds_to_wait()) > 0:
            time.sleep(seconds)

    async def pause_async(self) -> None:
        """As `pause`, on the event loop."""
        if self._course is None:
            return
        while (seconds := self._seconds_to_wait()) > 0:  # noqa: ASYNC110 (nobody knows when it is time)
            await asyncio.sleep(seconds)

    def _seconds_to_wait(self) -> float:
        """Return the seconds until it is time, or until the next look at whether it is."""
        course = self._course
        if course is None or not course.has_waited:
            return 0.0
        now = time.monotonic()
        seconds = course.look(now)
        if seconds <= 0:
            return 0.0
        if not course.is_announced:
            course.is_announced = True
            message = "%s: the first try comes in %.2f s"
            _telemetry.record("connect_put_off", logging.DEBUG, message, self.host, course.at - now)
        if self._held is not None:
            raise PutOff(seconds)
        return seconds

    def token(self) -> str:
        """Return the password for the next try.

        Raises:
            CredentialsError: no usable AWS credentials.
        """
        self._token = token = self.source.token()
        return token

    async def token_async(self) -> str:
        """As `token`, never blocking the event loop."""
        self._token = token = await self.source.token_async()
        return token

    @property
    def has_time(self) -> bool:
        """`arguments` have the time that is left for this one try: of a route's, or after a wait."""
        return self._route is not None or self._is_bounded_by_pace

    @property
    def _is_bounded_by_pace(self) -> bool:
        # A pool's own deadline is infinite: then each try has what was configured.
        return self._course is not None and self._course.has_waited and self._deadline < math.inf

    def end_within(self, seconds: float | None) -> None:
        """Bound tries and waits by a driver's own word for it. A ``connect_timeout`` that was given wins.

        To be called before the first try.

        Args:
            seconds: None for no bound but the one that there is.
        """
        if seconds is None or "connect_timeout" in self._whole.config.driver:
            return
        end = time.monotonic() + seconds
        if self._route is not None:
            self._route.end_by(end)
        if end < self._deadline:
            self._deadline = end
            if self._course is not None:
                self._course.leave()
                self._course = self._course_of(self._plan)  # with less time a turn comes sooner

    def arguments(self) -> dict[str, Any]:
        """Return what goes to the driver's ``connect``, all but the password. Not to be changed: it is shared.

        Raises:
            Exception: the driver's own error, where a name cannot be resolved.
        """
        route = self._route
        if route is None:
            return self._arguments()
        if route.address is None:
            route.found(self._known_address() or self._resolved())
        return self._dialled(route)

    async def arguments_async(self) -> dict[str, Any]:
        """As `arguments`; names are resolved off the loop."""
        route = self._route
        if route is None:
            return self._arguments()
        if route.address is None:
            route.found(self._known_address() or await self._resolved_async(route))
        return self._dialled(route)

    def _arguments(self) -> dict[str, Any]:
        plan = self._plan
        if self._course is None or not self._is_bounded_by_pace:
            return plan.arguments(system_trust=self._system_trust)
        # What was waited counts against `connect_timeout`.
        seconds = math.ceil(max(LEAST_TRY, self._deadline - time.monotonic()))
        return plan.dialled(plan.config.hostaddr, seconds, system_trust=self._system_trust)

    def _dialled(self, route: Route) -> dict[str, Any]:
        seconds = route.seconds(time.monotonic())
        return self._plan.dialled(str(route.address), seconds, system_trust=self._system_trust)

    def _known_address(self) -> list[str]:
        hostaddr = self._plan.config.hostaddr
        return [hostaddr] if hostaddr is not None else []

    def _resolved(self) -> list[str]:
        name, port = self._name()
        try:
            found = socket.getaddrinfo(name, port, proto=socket.IPPROTO_TCP, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = str(error)
        else:
            return _addresses(found)
        raise self._unresolved(reason)

    async def _resolved_async(self, route: Route) -> list[str]:
        name, port = self._name()
        loop = asyncio.get_running_loop()
        asking = loop.getaddrinfo(name, port, proto=socket.IPPROTO_TCP, type=socket.SOCK_STREAM)
        try:
            found = await asyncio.wait_for(asking, route.seconds(time.monotonic()))
        except asyncio.TimeoutError:
            reason = "the name server did not answer in time"
        except (OSError, UnicodeError) as error:
            reason = str(error)
        else:
            return _addresses(found)
        raise self._unresolved(reason)

    def _name(self) -> tuple[str, int]:
        config = self._plan.config
        return config.connect_host or config.endpoint.host, config.port

    def _unresolved(self, reason: str) -> Exception:
        config = self._plan.config
        what = f"connect_host={config.connect_host}" if config.connect_host else f"the host {config.endpoint.host}"
        return self._plan.driver.unreachable(f"{what} cannot be resolved: {reason}")

    def again(self, failure: BaseException) -> bool:
        """Tell whether another try makes sense, and prepare it."""
        text = self._plan.driver.refusal(failure)
        if text is None:
            return False
        if self._repaired(text):
            return True
        later = self._later(text)
        if self._route is not None and self._goes_on(self._route, text, failure):
            return True
        if later and self._put_off():
            return True
        course = self._course
        if course is not None and course.refusals:
            seconds = time.monotonic() - course.began
            noted(failure, f"refused for now {course.refusals} times in {seconds:.2f} s")
        return False

    def _later(self, text: str) -> bool:
        """Tell whether the cluster refuses for now only, and there is time for another try of the same."""
        if not any(words in text for words in _NOT_NOW):
            return False
        course = self._course = self._course or self._course_of(self._plan, was_free=True)
        if course is None:
            return False
        if course.refused(time.monotonic()) is not None:
            return True
        message = "%s refused for now, %d times: given up"
        _telemetry.record("connect_given_up", logging.WARNING, message, self.host, course.refusals)
        return False

    def _put_off(self) -> bool:
        """Put off the next try; tells whether it is this attempt's."""
        course = self._course
        if course is None:
            return False
        seconds = course.at - time.monotonic()
        message = "%s refuses for now: the next try comes in %.2f s"
        _telemetry.record("connect_put_off", logging.DEBUG, message, self.host, seconds)
        if self._held is None:
            return True
        self._held.refused = course  # the pool does it
        return False

    def _repaired(self, text: str) -> bool:
        """Tell whether a try with other roots, or with a new token, makes sense."""
        if _NOT_VERIFIED in text and self._plan.trusts_only_amazon and not self._other_trust_tried:
            # Either way round: what worked last may not be what holds now.
            self._other_trust_tried = True
            self._system_trust = not self._system_trust
            return True
        # Never on "not authorized" or "Wrong user": one role without a grant must not flush a token that
        # serves everybody else.
        if _EXPIRED in text and self.source._drop_expired(time.monotonic()):  # noqa: SLF001 (ours)
            host = self._plan.config.endpoint.host
            _telemetry.record(
                "token_dropped",
                logging.WARNING,
                "%s says that the token has expired: signing anew",
                host,
            )
            return True
        return False

    def _goes_on(self, route: Route, text: str, failure: BaseException) -> bool:
        before = self._plan
        failed_at = route.endpoint
        if not may_move_on(text) or not route.go_on(time.monotonic()):
            for earlier in self._failed:
                noted(failure, earlier)
            return False
        said = text.strip().partition("\n")[0]
        self._failed.append(f"tried before: {before.config.endpoint.host}: {said}")
        self._began = time.monotonic()
        self._turn_to(self._whole.members[route.endpoint] if self._whole.members else before)
        if route.endpoint != failed_at:
            _telemetry.record(
                "endpoint_failed_over",
                logging.WARNING,
                "no connection to %s, trying %s: %s",
                before.config.endpoint.host,
                self._plan.config.endpoint.host,
                said,
            )
        return True

    def diagnosed(self, failure: E) -> E:
        """Return the failure that ends the connect as one that tells why, and what to do: a `ConnectError` too.

        What is no failure of a connect is returned as it came. To be called once, after the last try: then the
        token is forgotten, since an attempt stands among the locals of the frame that raises.
        """
        token, self._token = self._token, None
        text = self._plan.driver.refusal(failure)
        if text is None:
            return failure
        # Only here: most programs never see a connect fail.
        from ._diagnosis import diagnose

        diagnosis = diagnose(f"{text}\n{type(failure).__name__}", self._known(token))
        return as_both(failure, diagnosis.error, diagnosis.facts())

    def _known(self, token: str | None) -> Known:
        from ._diagnosis import Known, token_facts

        config = self._plan.config
        return Known(
            now=time.time(),
            host=config.endpoint.host,
            region=config.endpoint.region,
            user=config.user,
            dialled=config.hostaddr if self._route is None else self._route.address,
            port=config.port,
            options=config.driver.get("options"),
            token=None if token is None or config.password is not None else token_facts(token),
            credential_source=config.provider.name,
            credentials_end=self.source._credentials_end,  # noqa: SLF001 (ours)
            roots=self._roots(),
        )

    def _roots(self) -> tuple[str, ...]:
        """Name the roots that a certificate was held against."""
        if not self._plan.trusts_only_amazon:
            return (self._plan.config.driver.get("sslrootcert", "none"),)
        both = ("the Amazon roots", "this system's roots")
        return both if self._other_trust_tried else both[self._system_trust :][:1]

    def connected(self) -> None:
        """Take note of what worked."""
        if self._course is not None:
            self._course.admitted(time.monotonic())
        elif self._plan.is_paced and self.host in _paces:
            _paces[self.host].admitted(time.monotonic())  # others were refused meanwhile
        route = self._route
        if route is not None and self._whole.members:
            changed = self._whole.preference.worked(
                route.endpoint, time.monotonic(), others_failed=bool(self._failed)
            )
            if changed and route.endpoint == 0:
                host = self._plan.config.endpoint.host
                _telemetry.record("endpoint_returned", logging.INFO, "connecting to %s again", host)
        if not self._other_trust_tried:
            return
        host = self._plan.config.endpoint.host
        if not self._system_trust:
            _system_trust.discard(host)
        elif host not in _system_trust:
            _system_trust.add(host)
            _telemetry.record(
                "system_trust_used",
                logging.WARNING,
                "the certificate of %s is not signed by an Amazon root, but by one that this system trusts",
                host,
            )


def _addresses(found: Iterable[tuple[Any, ...]]) -> list[str]:
    # Each once, in the order of the resolver, which knows what this machine reaches best (RFC 6724).
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def begin(driver: Driver, conninfo: str | Config, keywords: Mapping[str, Any]) -> Attempt:
    """Check a connection's settings.

    Raises:
        ConfigError: something cannot be used. Nothing was sent.
        CredentialsError: the environment's credentials cannot be used.
    """
    return Attempt(_known_plan(driver, conninfo, keywords) or _new_plan(driver, conninfo, keywords))


async def begin_async(driver: Driver, conninfo: str | Config, keywords: Mapping[str, Any]) -> Attempt:
    """Check a connection's settings; AWS configuration files are read off the loop."""
    plan = _known_plan(driver, conninfo, keywords)
    if plan is None:
        if needs_profile_region(conninfo, keywords, os.environ):
            plan = await asyncio.to_thread(_new_plan, driver, conninfo, keywords)
        else:
            plan = _new_plan(driver, conninfo, keywords)
    return Attempt(plan)


def _key(driver: Driver, conninfo: str | Config, keywords: Mapping[str, Any]) -> Hashable:
    values = tuple(keywords.values())
    # The types too: 1 and True are equal, and one of them is no port.
    return (driver.name, conninfo, tuple(keywords), values, tuple(map(type, values)), _environment())


def _environment() -> tuple[object, ...]:
    """Return the values of the variables that are read, in whatever form they are at hand.

    ``os.environ.get`` raises and catches an exception for each variable that is not set: all of them are
    most of what we add to a connect. So its dict is read, where it has one (CPython; tested).
    """
    environ: Any = os.environ
    data = getattr(environ, "_data", None)
    if type(data) is dict:
        return tuple(map(data.get, _ENCODED))
    return tuple(map(environ.get, READ_ENVIRONMENT))


def _known_plan(driver: Driver, conninfo: str | Config, keywords: Mapping[str, Any]) -> Plan | None:
    try:
        return _plans.get(_key(driver, conninfo, keywords))
    except TypeError:
        pass  # something that has no hash: a list of endpoints perhaps
    with suppress(TypeError):
        return _plans.get(_key(driver, conninfo, _with_tuples(keywords)))
    return None


def _new_plan(driver: Driver, conninfo: str | Config, keywords: Mapping[str, Any]) -> Plan:
    plan = Plan(driver, parse_config(conninfo, keywords, os.environ))
    if len(_plans) >= _MOST_PLANS:
        _plans.clear()
    with suppress(TypeError):  # something that has no hash: put together anew at each connect
        _plans[_key(driver, conninfo, _with_tuples(keywords))] = plan
    return plan


def _with_tuples(keywords: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if type(value) is list else value for name, value in keywords.items()}
