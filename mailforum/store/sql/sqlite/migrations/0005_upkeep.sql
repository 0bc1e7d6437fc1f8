-- One row: whether this database is the one that was served last, or a copy of it (store/fence.py).
CREATE TABLE fence (
    served INTEGER NOT NULL,                -- how often a server has been started on it
    copied_at REAL                          -- when `mailforum backup` made this copy; NULL once it is served
);
INSERT INTO fence (served, copied_at) VALUES (0, NULL);

-- One row: how far what is too old has been cleared away (store/upkeep.py).
CREATE TABLE upkeep (
    bodies_to INTEGER NOT NULL              -- posts up to this id have a note in place of their text
);
INSERT INTO upkeep (bodies_to) VALUES (0);
