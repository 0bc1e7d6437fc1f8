-- Makes a database what it was when this file was run on it: `SELECT testing.emptied()`; false if that is not possible,
-- as its tables have been changed. It takes a tenth of the time of making a new one.

CREATE SCHEMA testing;

CREATE VIEW testing.form AS
SELECT count(*) AS relations, max(oid::bigint) AS newest, sum(relnatts) AS columns
FROM pg_class WHERE relnamespace = 'public'::regnamespace;
CREATE TABLE testing.first_form AS TABLE testing.form;

CREATE VIEW testing.ours AS
SELECT oid::regclass AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace;
CREATE TABLE testing.first_rows (name TEXT, rows JSON);

DO $$
DECLARE one RECORD;
BEGIN
    FOR one IN TABLE testing.ours LOOP
        EXECUTE format(
            'INSERT INTO testing.first_rows SELECT %1$L, json_agg(each) FROM %1$s AS each HAVING count(*) > 0', one.name);
    END LOOP;
END $$;

CREATE FUNCTION testing.emptied() RETURNS BOOLEAN LANGUAGE plpgsql AS $$
DECLARE one RECORD;
BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    IF EXISTS (TABLE testing.form EXCEPT TABLE testing.first_form) THEN
        RETURN false;
    END IF;
    SET LOCAL session_replication_role = replica; -- no foreign keys
    FOR one IN TABLE testing.ours LOOP
        EXECUTE format('DELETE FROM %s', one.name);
    END LOOP;
    FOR one IN TABLE testing.first_rows LOOP
        EXECUTE format('INSERT INTO %1$s SELECT * FROM json_populate_recordset(NULL::%1$s, $1)', one.name)
            USING one.rows;
    END LOOP;
    PERFORM setval(seqrelid::regclass, 1, false) FROM pg_sequence WHERE pg_sequence_last_value(seqrelid) IS NOT NULL;
    RETURN true;
END $$;
