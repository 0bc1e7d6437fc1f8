-- runs with: 12
-- What subjects are compared by is cut (mail/subject.py): an index of PostgreSQL takes 2,700 bytes. What came before
-- is cut alike, so that it can be moved there and still meets its answers. Of a text with a NUL, SQLite's functions see
-- what stands before that.
UPDATE post SET base = rtrim(substr(base, 1, 600)) WHERE length(base) > 600 OR length(CAST(base AS BLOB)) > 2400;
UPDATE post SET was = rtrim(substr(was, 1, 600)) WHERE length(was) > 600 OR length(CAST(was AS BLOB)) > 2400;
