"""What the cluster's PostgreSQL gets before the first client: DSQL's admin and its schema `sys`."""

from __future__ import annotations

# admin owns the database and with it the schema public; it may make roles, and is no superuser:
# that is what DSQL's admin is (documented by AWS). Peers of the name PUBLIC may use the schema.
_ADMIN = """
CREATE ROLE admin LOGIN CREATEROLE;
ALTER DATABASE postgres OWNER TO admin;
CREATE SCHEMA sys;
GRANT USAGE ON SCHEMA sys TO PUBLIC;
"""

# The view's columns are documented by AWS. Errors: that others than admin get 42501 is observed; the
# SQLSTATEs and texts of the rest are assumed, PostgreSQL's own where it has some. A mapping is bound
# to the role's oid, so it is gone with the role.
_IAM = """
CREATE SEQUENCE sys.iam_oids START 26384;

CREATE TABLE sys.iam_grants (
    iam_oid oid PRIMARY KEY DEFAULT nextval('sys.iam_oids')::oid,
    arn text NOT NULL,
    pg_role_oid oid NOT NULL,
    grantor_pg_role_oid oid NOT NULL,
    UNIQUE (pg_role_oid, arn)
);

CREATE VIEW sys.iam_pg_role_mappings AS
SELECT g.iam_oid, g.arn, g.pg_role_oid, r.rolname AS pg_role_name,
       g.grantor_pg_role_oid, o.rolname AS grantor_pg_role_name
FROM sys.iam_grants AS g
JOIN pg_catalog.pg_roles AS r ON r.oid = g.pg_role_oid
LEFT JOIN pg_catalog.pg_roles AS o ON o.oid = g.grantor_pg_role_oid;
GRANT SELECT ON sys.iam_pg_role_mappings TO PUBLIC;

CREATE FUNCTION sys.iam_role(role_name text, arn text) RETURNS oid
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $body$
DECLARE
    found_oid oid;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = session_user AND rolcreaterole) THEN
        RAISE 'permission denied to change IAM mappings' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF role_name = 'admin' THEN
        RAISE 'feature not supported on system entity' USING ERRCODE = 'feature_not_supported';
    END IF;
    SELECT oid INTO found_oid FROM pg_roles WHERE rolname = role_name AND NOT rolsuper AND rolname !~ '^pg_';
    IF NOT FOUND THEN
        RAISE 'role "%" does not exist', role_name USING ERRCODE = 'undefined_object';
    END IF;
    IF arn !~ '^arn:[a-z0-9-]+:(iam|sts)::' THEN
        RAISE 'invalid IAM ARN' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN found_oid;
END
$body$;

CREATE PROCEDURE sys.iam_grant(role_name text, arn text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $body$
DECLARE
    role_oid oid := sys.iam_role(role_name, arn);
BEGIN
    INSERT INTO sys.iam_grants (arn, pg_role_oid, grantor_pg_role_oid)
    VALUES (iam_grant.arn, role_oid, (SELECT oid FROM pg_roles WHERE rolname = session_user));
EXCEPTION WHEN unique_violation THEN
    RAISE 'role "%" is already mapped to that ARN', role_name USING ERRCODE = 'duplicate_object';
END
$body$;

CREATE PROCEDURE sys.iam_revoke(role_name text, arn text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $body$
DECLARE
    role_oid oid := sys.iam_role(role_name, arn);
BEGIN
    DELETE FROM sys.iam_grants AS g WHERE g.pg_role_oid = role_oid AND g.arn = iam_revoke.arn;
    IF NOT FOUND THEN
        RAISE 'role "%" is not mapped to that ARN', role_name USING ERRCODE = 'undefined_object';
    END IF;
END
$body$;
"""

# Columns, the procedure, its result, the form of a job's id and INDEX_BUILD are observed. Here a job
# is done when its statement is: `submitted` and `processing` do not occur. What the data speaks
# against ends the job, not the statement (observed); DSQL leaves an invalid index then, this none.
# That an index which is there already makes no job, and so no row, is assumed.
_JOBS = """
CREATE TABLE sys.job_log (
    job_id text PRIMARY KEY,
    status text NOT NULL,
    details text,
    job_type text NOT NULL,
    class_id oid,
    object_id oid,
    object_name text,
    start_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL
);

CREATE VIEW sys.jobs AS SELECT * FROM sys.job_log;
GRANT SELECT ON sys.jobs TO PUBLIC;

CREATE FUNCTION sys.record_job(job_type text, failure text, object oid) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $body$
DECLARE
    bits bit(130) := ('x' || replace(gen_random_uuid()::text, '-', ''))::bit(128)::bit(130);
    id text := (
        SELECT string_agg(
            substr('abcdefghijklmnopqrstuvwxyz234567', substring(bits FROM at * 5 + 1 FOR 5)::int + 1, 1),
            '' ORDER BY at
        )
        FROM generate_series(0, 25) AS at
    );
BEGIN
    INSERT INTO sys.job_log
    VALUES (
        id,
        CASE WHEN failure IS NULL THEN 'completed' ELSE 'failed' END,
        failure,
        record_job.job_type,
        'pg_class'::regclass,
        object,
        (SELECT n.nspname || '.' || c.relname
         FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = object),
        statement_timestamp(),
        clock_timestamp()
    );
    RETURN id;
END
$body$;

CREATE FUNCTION sys.run_job(job_type text, statement text, table_name text) RETURNS TABLE (job_id text)
LANGUAGE plpgsql AS $body$
DECLARE
    relation oid := pg_catalog.to_regclass(table_name);
    there oid[] := ARRAY(SELECT i.indexrelid FROM pg_catalog.pg_index AS i WHERE i.indrelid = relation);
    object oid := relation;
    failure text;
BEGIN
    BEGIN
        EXECUTE statement;
    EXCEPTION WHEN unique_violation OR check_violation OR foreign_key_violation THEN
        failure := SQLERRM;
    END;
    IF job_type = 'INDEX_BUILD' AND failure IS NULL THEN
        SELECT i.indexrelid INTO object
        FROM pg_catalog.pg_index AS i WHERE i.indrelid = relation AND i.indexrelid <> ALL (there);
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    job_id := sys.record_job(job_type, failure, object);
    RETURN NEXT;
END
$body$;

CREATE PROCEDURE sys.wait_for_job(job_id text, INOUT succeeded boolean DEFAULT NULL)
LANGUAGE plpgsql SET search_path = pg_catalog AS $body$
BEGIN
    SELECT j.status = 'completed' INTO succeeded FROM sys.jobs AS j WHERE j.job_id = wait_for_job.job_id;
    IF NOT FOUND THEN
        RAISE 'job "%" does not exist', wait_for_job.job_id USING ERRCODE = 'undefined_object';
    END IF;
END
$body$;
"""

# DSQL has no locks. One that PostgreSQL lets sessions take by hand would outlive what the gateway can take back,
# and whoever waits for it would hold up all that write.
_NO_ADVISORY_LOCKS = """
DO $$DECLARE lock regprocedure;
BEGIN
  FOR lock IN SELECT oid FROM pg_proc WHERE proname LIKE 'pg\\_%advisory%' LOOP
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', lock);
  END LOOP;
END$$;
"""

# To be run once, as the superuser, in one Query message.
SCRIPT = _ADMIN + _IAM + _JOBS + _NO_ADVISORY_LOCKS

# Volatile by PostgreSQL's book, but they change nothing and may be called twice.
_HARMLESS = (
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_is_in_recovery",
    "pg_relation_size",
    "pg_table_size",
    "pg_indexes_size",
    "pg_total_relation_size",
    "pg_database_size",
    "pg_tablespace_size",
    "pg_timezone_names",
    "pg_timezone_abbrevs",
    "pg_lock_status",
    "pg_blocking_pids",
    "pg_cursor",
)
# The other way round: a transaction has no id before it writes, and these give it one or tell of it.
_TRANSACTION_IDS = (
    "txid_current",
    "txid_current_if_assigned",
    "pg_current_xact_id",
    "pg_current_xact_id_if_assigned",
)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names)


# One row, one column: a JSON array with the names of PostgreSQL's functions that neither write nor
# are volatile in any of their overloads. `_statements.Reader` takes them as a set.
BUILTINS_QUERY = f"""
SELECT pg_catalog.json_agg(proname)
FROM (
    SELECT proname::text
    FROM pg_catalog.pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace
    GROUP BY proname
    HAVING pg_catalog.bool_and(provolatile <> 'v') OR proname IN ({_listed(_HARMLESS)})
) AS known
WHERE proname NOT IN ({_listed(_TRANSACTION_IDS)})
"""  # noqa: S608 - constants of this module
