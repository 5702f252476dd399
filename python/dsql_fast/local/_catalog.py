"""What the cluster's PostgreSQL gets before the first client: DSQL's admin and its schema `sys`."""

from __future__ import annotations

from dsql_fast.local._job_routines import JOB_ROUTINES

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
SCRIPT = _ADMIN + _IAM + JOB_ROUTINES + _NO_ADVISORY_LOCKS

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
