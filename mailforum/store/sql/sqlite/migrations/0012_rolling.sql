-- Which steps were taken, and the lowest number of a program that runs on what each has left (store/schema.py).
-- Those up to this one are not in it.
CREATE TABLE migration (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    at REAL NOT NULL,
    runs_with INTEGER NOT NULL
);

-- Why nobody may work with this database: it has moved elsewhere, or is a copy that is not whole yet. NULL: they may.
ALTER TABLE fence ADD COLUMN closed TEXT;
