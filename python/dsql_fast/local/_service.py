"""The cluster's own process: brings everything up, serves, and takes everything down again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dsql_fast.local._binaries import find_binaries
from dsql_fast.local._errors import LocalClusterError, PortInUse, StartFailed
from dsql_fast.local._listener import HOST_ADDRESS, listen
from dsql_fast.local._postgres import Postgres

if TYPE_CHECKING:
    import socket
    from types import FrameType

    from dsql_fast.local._counters import Counters

_DESCRIPTORS = 65_536
_PARENT_SECONDS = 1.0


def serve(control: socket.socket) -> int:
    """Run a cluster for the program at the other end of `control`, until that is gone.

    Args:
        control: A connected stream socket. The first line is the configuration, the answer to it
            tells that the cluster is ready, or why not.

    Returns:
        The exit status.
    """
    parent = os.getppid()
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with control:
        configuration = _first_line(control)
        if configuration is None:
            return 0
        try:
            return _run(control, configuration, parent)
        except LocalClusterError as error:
            log = getattr(error, "log", "")
            message = str(error).removesuffix(log).rstrip()
            reply = {"error": type(error).__name__, "message": message, "log": log}
            with contextlib.suppress(OSError):
                control.sendall(json.dumps(reply).encode() + b"\n")
            return 1


def _run(control: socket.socket, configuration: dict[str, Any], parent: int) -> int:
    _raise_descriptor_limit()
    listener = _listen(configuration["port"])
    postgres = None
    try:
        pg_bin = configuration["pg_bin"]
        postgres = Postgres(Path(pg_bin) if pg_bin is not None else find_binaries())
        postgres.begin()
        asyncio.run(_serve(control, listener, postgres, configuration, parent))
    finally:
        listener.close()
        if postgres is not None:
            # Nothing may stop the cleaning up any more.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            postgres.stop()
    return 0


async def _serve(
    control: socket.socket,
    listener: socket.socket,
    postgres: Postgres,
    configuration: dict[str, Any],
    parent: int,
) -> None:
    # The heavy imports, while initdb works in its own process.
    from dsql_fast.local._backend import run_script
    from dsql_fast.local._catalog import SCRIPT
    from dsql_fast.local._certificates import CertificateAuthority
    from dsql_fast.local._channel import Channel
    from dsql_fast.local._clock import ClusterClock
    from dsql_fast.local._control import Control, describe_key
    from dsql_fast.local._counters import Counters
    from dsql_fast.local._database import REPEATABLE_UUIDS
    from dsql_fast.local._gateway import Gateway
    from dsql_fast.local._identity import Identity
    from dsql_fast.local._keys import KeyRing
    from dsql_fast.local._limits import Limits

    identity = Identity(configuration["cluster_id"], configuration["region"])
    authority = CertificateAuthority()
    ca_file, server_file = (postgres.directory / name for name in ("ca.pem", "server.pem"))
    authority.write(ca_file)

    def write_certificate(kind: str) -> Path:
        authority.write_server(server_file, identity.host, kind)
        return server_file

    keys = KeyRing()
    key = keys.issue(name="developer")
    clock = ClusterClock()
    counters = Counters()
    postgres.finish()
    await run_script(postgres.socket_path, postgres.superuser, REPEATABLE_UUIDS)
    await run_script(postgres.socket_path, postgres.superuser, SCRIPT)
    gateway = Gateway(
        listener,
        write_certificate,
        certificate=configuration["certificate"],
        identity=identity,
        postgres=postgres,
        keys=keys,
        clock=clock,
        limits=Limits(**configuration["limits"]),
        counters=counters,
    )
    await gateway.start()

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: _note_defect(counters, context))
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    commands = Control(gateway, postgres=postgres, keys=keys, clock=clock, counters=counters)
    control.setblocking(False)
    line = Channel(control, loop)
    ready = {
        "hostaddr": HOST_ADDRESS,
        "port": listener.getsockname()[1],
        "ca_file": str(ca_file),
        "directory": str(postgres.directory),
        "credentials": describe_key(key),
    }
    line.write(json.dumps({"result": ready}).encode() + b"\n")
    watch = loop.create_task(_watch(postgres, parent, over))
    obey = loop.create_task(_obey(line, commands, over))
    await over.wait()
    for task in (watch, obey):
        task.cancel()
    await asyncio.gather(watch, obey, return_exceptions=True)
    await gateway.stop()
    line.abort()


def _note_defect(counters: Counters, context: dict[str, Any]) -> None:
    """A callback or a task of this process has failed: nobody reads its standard error, so it is counted."""
    error = context.get("exception")
    if error is not None:
        counters.broken("", error)


async def _obey(line: Any, commands: Any, over: asyncio.Event) -> None:
    """Carry out commands until the other end is gone or says stop."""
    pending = bytearray()
    try:
        while True:
            pending += await line.read_exactly(1)
            if pending[-1:] != b"\n":
                continue
            if json.loads(pending) == {"do": "stop"}:
                return
            line.write(await commands.answer(bytes(pending)))
            pending.clear()
    except EOFError:
        return
    finally:
        over.set()


async def _watch(postgres: Postgres, parent: int, over: asyncio.Event) -> None:
    """Notice what the control line cannot tell.

    A fork of the parent holds the line open after the parent's death; and without PostgreSQL
    there is nothing to serve.
    """
    while os.getppid() == parent and postgres.alive():  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(_PARENT_SECONDS)
    over.set()


def _listen(port: int) -> socket.socket:
    try:
        return listen(port)
    except PermissionError as error:
        raise StartFailed(f"port {port} may not be used: {error.strerror}") from None
    except OSError as error:
        raise PortInUse(f"port {port} on 127.0.0.1 is taken: {error.strerror}") from None


def _first_line(control: socket.socket) -> dict[str, Any] | None:
    line = bytearray()
    while not line.endswith(b"\n"):
        part = control.recv(4096)
        if not part:
            return None
        line += part
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def _raise_descriptor_limit() -> None:
    """Each session takes two; the usual 1,024 would be used up by five hundred."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)
