-- Full-text search. `full_text` has tokens (mail/fold.py) and no text: whatever is shown is read from the post,
-- and to take a post out, the very same tokens have to be named again.
CREATE VIRTUAL TABLE full_text USING fts5(subject, author, text, files, content='', tokenize='ascii');

-- Each post, and its row in full_text; NULL: it is still to be put in. Rows are in the order of lists and days
-- (store/search.py), so what is asked of one list, or of some months, is one stretch.
CREATE TABLE indexed (
    post_id INTEGER PRIMARY KEY REFERENCES post ON DELETE CASCADE,
    entry INTEGER UNIQUE
);
INSERT INTO indexed (post_id, entry) SELECT id, NULL FROM post;

-- One row: by which rules the tokens were made (forum/search.py).
CREATE TABLE indexed_by (rules TEXT NOT NULL);
INSERT INTO indexed_by (rules) VALUES ('');
