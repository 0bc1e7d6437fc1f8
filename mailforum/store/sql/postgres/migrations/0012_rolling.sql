-- runs with: 11
-- Which steps were taken, and the lowest number of a program that runs on what each has left (store/schema.py).
-- The one before this is not in it.
CREATE TABLE migration (
    number BIGINT PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    runs_with BIGINT NOT NULL
);

-- The last step that a host's program knows; each of its connections says so.
ALTER TABLE host ADD COLUMN knows BIGINT NOT NULL DEFAULT coalesce(CAST(current_setting('mailforum.knows', TRUE) AS BIGINT), 11);

-- Why nobody may work with this database: it has moved elsewhere, or is a copy that is not whole yet. NULL: they may.
ALTER TABLE fence ADD COLUMN closed TEXT COLLATE "C";
