-- name: add
INSERT INTO full_text (rowid, subject, author, text, files) VALUES (:entry, :subject, :author, :text, :files)

-- name: remove
INSERT INTO full_text (full_text, rowid, subject, author, text, files)
VALUES ('delete', :entry, :subject, :author, :text, :files)

-- name: clear
INSERT INTO full_text (full_text) VALUES ('delete-all')

-- name: hold
-- Whoever writes is alone.
SELECT rules FROM indexed_by

-- name: knows_words
SELECT FALSE AS known

-- name: newest
SELECT rowid AS entry FROM full_text
WHERE full_text MATCH :match AND rowid BETWEEN :first AND :last ORDER BY rowid DESC LIMIT :limit

-- name: newest_of_threads
SELECT rowid AS entry FROM full_text
WHERE full_text MATCH :match AND rowid BETWEEN :first AND :last
  AND +rowid IN (SELECT entry FROM post JOIN indexed ON indexed.post_id = post.id
                 WHERE post.thread_id IN (SELECT value FROM number_each(:threads)))
ORDER BY rowid DESC LIMIT :limit

-- name: posts_with
SELECT count(*) AS n FROM (SELECT 1 FROM full_text WHERE full_text MATCH :match LIMIT :limit)

-- name: scores
SELECT rowid AS entry, bm25(full_text, 6.0, 3.0, 1.0, 2.0) AS score FROM full_text
WHERE full_text MATCH :match AND rowid BETWEEN :first AND :last ORDER BY rowid DESC LIMIT :limit

-- name: merge_from
INSERT INTO full_text (full_text, rank) VALUES ('automerge', :parts)
