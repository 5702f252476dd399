"""What the cluster's PostgreSQL has for jobs: the view `sys.jobs` and the routines behind it.

`CREATE INDEX ASYNC` and `ALTER TABLE ASYNC ... VALIDATE CONSTRAINT` call `sys.run_job`, which notes a job and
comes back at once. `_jobs.Jobs` has it done, over `sys.start_job`, `sys.do_job` and `sys.end_job`.

An index is in the catalog from its statement on: as one that holds no row, and is marked invalid. The job
makes it one of all rows and builds it. So as in DSQL its name is taken, nothing uses it, uniqueness is not
enforced before the job is done (observed), and what the data speaks against leaves an invalid index, which
DROP INDEX removes (documented). DROP INDEX before the end of the job cancels it (documented).
"""

from __future__ import annotations

# Columns, the procedure, its result, the form of a job's id, INDEX_BUILD and VALIDATE_CONSTRAINT are observed,
# the words for a status documented. That an index which is there already makes no job, and so no row, is assumed.
_LOG = """
CREATE TABLE sys.job_log (
    job_id text PRIMARY KEY,
    status text NOT NULL DEFAULT 'submitted',
    details text,
    job_type text NOT NULL,
    class_id oid NOT NULL DEFAULT 'pg_class'::regclass,
    object_id oid,
    object_name text,
    start_time timestamptz NOT NULL DEFAULT statement_timestamp(),
    update_time timestamptz NOT NULL DEFAULT clock_timestamp(),
    statement text NOT NULL,
    run_as name NOT NULL,
    search_path text NOT NULL
);

CREATE VIEW sys.jobs AS
SELECT job_id, status, details, job_type, class_id, object_id, object_name, start_time, update_time
FROM sys.job_log;
GRANT SELECT ON sys.jobs TO PUBLIC;
"""

# Each job has a sequence. A transaction sees the rows of its snapshot, but every sequence as it is now: so
# `sys.wait_for_job` hears of the end. 1 is completed, 2 is failed.
#
# `record_job` runs as the superuser, and anybody may call it: so it takes only what the caller could do himself.
_SUBMITTING = """
CREATE FUNCTION sys.record_job(job_type text, object oid, statement text, run_as name, search_path text)
RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $body$
DECLARE
    bits bit(130) := ('x' || replace(gen_random_uuid()::text, '-', ''))::bit(128)::bit(130);
    id text := (
        SELECT string_agg(
            substr('abcdefghijklmnopqrstuvwxyz234567', substring(bits FROM at * 5 + 1 FOR 5)::int + 1, 1),
            '' ORDER BY at
        )
        FROM generate_series(0, 25) AS at
    );
    full_name text;
BEGIN
    SELECT n.nspname || '.' || c.relname INTO full_name
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.oid = object
        AND pg_has_role(session_user, c.relowner, 'MEMBER')
        AND pg_has_role(session_user, run_as, 'MEMBER');
    IF NOT FOUND THEN
        RAISE 'permission denied to make a job' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF job_type = 'INDEX_BUILD' THEN
        UPDATE pg_index SET indisvalid = false
        WHERE indexrelid = object AND pg_get_expr(indpred, indrelid) = 'false';
    END IF;
    INSERT INTO sys.job_log (job_id, job_type, object_id, object_name, statement, run_as, search_path)
    VALUES (id, job_type, object, full_name, statement, run_as, record_job.search_path);
    EXECUTE format('CREATE SEQUENCE sys.%I', 'job_' || id);
    RETURN id;
END
$body$;

CREATE FUNCTION sys.run_job(job_type text, statement text, table_name text) RETURNS TABLE (job_id text)
LANGUAGE plpgsql AS $body$
DECLARE
    relation oid := pg_catalog.to_regclass(table_name);
    there oid[] := ARRAY(SELECT i.indexrelid FROM pg_catalog.pg_index AS i WHERE i.indrelid = relation);
    object oid := relation;
BEGIN
    IF job_type = 'INDEX_BUILD' THEN
        EXECUTE statement || ' WHERE false';
        SELECT i.indexrelid INTO object
        FROM pg_catalog.pg_index AS i WHERE i.indrelid = relation AND i.indexrelid <> ALL (there);
        IF NOT FOUND THEN
            RETURN;
        END IF;
    ELSE
        -- Tried and taken back: what is wrong with the statement is told here, what the data says by the job.
        BEGIN
            EXECUTE statement;
            RAISE 'taken back' USING ERRCODE = 'check_violation';
        EXCEPTION WHEN check_violation OR foreign_key_violation OR unique_violation THEN
            NULL;
        END;
    END IF;
    job_id := sys.record_job(
        job_type, object, statement, current_user, pg_catalog.current_setting('search_path')
    );
    RETURN NEXT;
END
$body$;
"""

# The text for duplicates is observed, that for an index that was dropped assumed.
_WORKING = """
CREATE FUNCTION sys.start_job(id text) RETURNS void LANGUAGE sql SET search_path = pg_catalog AS $body$
    UPDATE sys.job_log SET status = 'processing', update_time = clock_timestamp() WHERE job_id = id;
$body$;

CREATE FUNCTION sys.do_job(id text, failure text) RETURNS text
LANGUAGE plpgsql SET search_path = pg_catalog AS $body$
DECLARE
    job sys.job_log;
BEGIN
    SELECT * INTO STRICT job FROM sys.job_log WHERE job_id = id;
    IF failure IS NULL AND NOT EXISTS (SELECT FROM pg_class WHERE oid = job.object_id) THEN
        failure := format('relation "%s" was dropped', job.object_name);
    END IF;
    IF failure IS NULL THEN
        BEGIN
            IF job.job_type = 'INDEX_BUILD' THEN
                UPDATE pg_index SET indpred = NULL WHERE indexrelid = job.object_id;
                EXECUTE format('REINDEX INDEX %s', job.object_id::regclass);
            ELSE
                PERFORM set_config('search_path', job.search_path, true), set_config('role', job.run_as, true);
                EXECUTE job.statement;
                PERFORM set_config('role', 'none', true);
            END IF;
        EXCEPTION
            WHEN unique_violation THEN
                failure := 'found duplicate key(s) while validating index uniqueness';
            WHEN OTHERS THEN
                failure := SQLERRM;
        END;
    END IF;
    UPDATE sys.job_log
    SET status = CASE WHEN failure IS NULL THEN 'completed' ELSE 'failed' END,
        details = failure,
        update_time = clock_timestamp()
    WHERE job_id = id;
    RETURN failure;
END
$body$;

CREATE FUNCTION sys.end_job(id text) RETURNS bigint LANGUAGE sql SET search_path = pg_catalog AS $body$
    SELECT setval(format('sys.%I', 'job_' || id)::regclass, CASE WHEN status = 'completed' THEN 1 ELSE 2 END)
    FROM sys.job_log WHERE job_id = id;
$body$;

REVOKE EXECUTE ON FUNCTION sys.start_job, sys.do_job, sys.end_job FROM PUBLIC;
"""

# DSQL blocks the session until the job ends (documented). Here a transaction that wrote is refused: the job would
# wait for what it holds, and it for the job.
_WAITING = """
CREATE PROCEDURE sys.wait_for_job(job_id text, INOUT succeeded boolean DEFAULT NULL)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $body$
DECLARE
    ended oid := to_regclass(format('sys.%I', 'job_' || job_id));
BEGIN
    IF ended IS NULL THEN
        RAISE 'job "%" does not exist', wait_for_job.job_id USING ERRCODE = 'undefined_object';
    END IF;
    WHILE pg_sequence_last_value(ended) IS NULL LOOP
        IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
            RAISE 'a transaction that wrote cannot wait for a job' USING ERRCODE = 'feature_not_supported';
        END IF;
        PERFORM pg_sleep(0.005);
    END LOOP;
    succeeded := pg_sequence_last_value(ended) = 1;
END
$body$;
"""

JOB_ROUTINES = _LOG + _SUBMITTING + _WORKING + _WAITING
