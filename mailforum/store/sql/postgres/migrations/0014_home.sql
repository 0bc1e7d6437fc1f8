-- runs with: 12
-- In which database of which server it was served last: one that pg_restore has put elsewhere is known as a copy.
ALTER TABLE fence ADD COLUMN home TEXT COLLATE "C";

-- Which one this is; NULL where we may not know.
CREATE FUNCTION home() RETURNS TEXT LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT concat(system_identifier, '/', (SELECT oid FROM pg_database WHERE datname = current_database()))
            FROM pg_control_system());
EXCEPTION WHEN insufficient_privilege THEN
    RETURN NULL;
END $$;
