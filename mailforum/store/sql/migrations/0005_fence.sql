-- One row: whether this database is the one that was served last, or a copy of it (store/fence.py).
CREATE TABLE fence (
    served INTEGER NOT NULL,                -- how often a server has been started on it
    copied_at REAL                          -- when `mailforum backup` made this copy; NULL once it is served
);
INSERT INTO fence (served, copied_at) VALUES (0, NULL);
