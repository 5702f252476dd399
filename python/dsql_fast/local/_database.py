"""What all sessions share: who writes, what was committed, and what the schema is."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from dsql_fast.local._administrator import Administrator
from dsql_fast.local._catalog import BUILTINS_QUERY
from dsql_fast.local._jobs import Jobs
from dsql_fast.local._schema import Schema
from dsql_fast.local._statements import Reader
from dsql_fast.local._turn import Turn
from dsql_fast.local._watchdog import Watchdog

if TYPE_CHECKING:
    from dsql_fast.local._counters import Counters
    from dsql_fast.local._faults import Faults
    from dsql_fast.local._limits import Limits
    from dsql_fast.local._postgres import Postgres
    from dsql_fast.local._transaction import Transaction

# gen_random_uuid() must give the same again when a transaction is done again. The built-in one cannot be seeded,
# so it gets another name, and one by its name takes its values from the transaction's seed where there is one.
REPEATABLE_UUIDS = """
SET allow_system_table_mods = on;
UPDATE pg_proc SET proname = 'gen_unrepeatable_uuid' WHERE proname = 'gen_random_uuid';
CREATE FUNCTION pg_catalog.gen_random_uuid() RETURNS uuid LANGUAGE plpgsql VOLATILE AS $$
DECLARE
  seed text := current_setting('dsql_gateway.seed', true);
  drawn bigint;
  hash text;
BEGIN
  IF seed IS NULL OR seed = '' THEN
    RETURN pg_catalog.gen_unrepeatable_uuid();
  END IF;
  drawn := current_setting('dsql_gateway.drawn')::bigint + 1;
  PERFORM pg_catalog.set_config('dsql_gateway.drawn', drawn::text, true);
  hash := pg_catalog.md5(seed || drawn);
  RETURN (substr(hash, 1, 12) || '4' || substr(hash, 14, 3) || 'a' || substr(hash, 18))::uuid;
END $$;
"""


class Database:
    """The one thing that sessions have in common.

    Attributes:
        turn: Who may write.
        administrator: The gateway's own connection.
        watchdog: Frees those who wait.
        schema: Its version and its relations.
        jobs: What statements have left to be done behind them.
        reader: Reads SQL.
        faults: What is to go wrong.
        limits: Those in force.
        counters: Where everything is counted.
        commits: How many transactions that wrote have been committed.
        freed: The names of tables by the number of the last commit that took keys away in them.
    """

    def __init__(self, postgres: Postgres, *, faults: Faults, limits: Limits, counters: Counters) -> None:
        self.turn = Turn()
        self.administrator = Administrator(postgres.socket_path, postgres.superuser)
        self.watchdog = Watchdog(self.administrator)
        self.schema = Schema(self.administrator)
        self.reader = Reader(frozenset())
        self.faults = faults
        self.limits = limits
        self.counters = counters
        self.jobs = Jobs(
            postgres.socket_path,
            postgres.superuser,
            administrator=self.administrator,
            watchdog=self.watchdog,
            turn=self.turn,
            faults=faults,
            counters=counters,
            changed=self.schema.changed,
        )
        self.commits = 0
        self.freed: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """Learn what PostgreSQL has built in."""
        names = await self.administrator.value(BUILTINS_QUERY)
        self.reader = Reader(frozenset(json.loads(names or "[]")))
        await self.schema.relations()

    def committed(self, transaction: Transaction) -> None:
        """A transaction that wrote was committed."""
        self.commits += 1
        for entry in transaction.log:
            for name in self.schema.known.loses_keys(entry.step):
                self.freed[name] = self.commits
        if transaction.definitions:
            # Tables that are gone are not asked for again; without this, each that came and went would stay here.
            self.freed = {name: at for name, at in self.freed.items() if name in self.schema.known.by_name}
            self.schema.changed()
            self.jobs.look()

    def terminate(self, pid: int) -> None:
        """End a backend that is in the middle of something, soon."""
        task = asyncio.get_running_loop().create_task(self.administrator.terminate(pid))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Hang up."""
        await self.jobs.stop()
        await self.watchdog.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.administrator.close()
