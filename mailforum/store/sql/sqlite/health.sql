-- name: integrity
SELECT integrity_check AS what FROM pragma_integrity_check

-- name: tables
SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name

-- name: integrity_of
SELECT integrity_check AS what FROM pragma_integrity_check(:table)

-- name: reindex
REINDEX

-- name: dangling
SELECT refers."table", refers.parent, names."from" AS field, count(*) AS n
FROM pragma_foreign_key_check AS refers JOIN pragma_foreign_key_list(refers."table") AS names ON names.id = refers.fkid
GROUP BY 1, 2, 3

-- name: digests_ahead
SELECT id, 'posts to come would be in no digest of ' || address AS what FROM list
WHERE digested_post > (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'post')

-- name: labels_behind
SELECT thread.id, 'the count of posts of thread #' || thread.number || ' of ' || list.address || ' is behind' AS what
FROM thread JOIN list ON list.id = thread.list_id JOIN (
    SELECT list_id, CAST(label AS INTEGER) AS number, max(CAST(substr(label, instr(label, '.') + 1) AS INTEGER)) AS label
    FROM post GROUP BY 1, 2) AS given ON given.list_id = thread.list_id AND given.number = thread.number
WHERE thread.last_label < given.label

-- name: mend_labels_behind
UPDATE thread SET last_label = (
    SELECT max(CAST(substr(label, instr(label, '.') + 1) AS INTEGER)) FROM post
    WHERE post.list_id = thread.list_id AND CAST(label AS INTEGER) = thread.number)
WHERE id IN (SELECT value FROM number_each(:ids))

-- name: unindexed
SELECT 0 AS id, n || ' entries of full-text search are not those of the posts' AS what FROM (
    SELECT (SELECT count(*) FROM full_text_docsize WHERE id NOT IN (SELECT entry FROM indexed WHERE entry IS NOT NULL))
         + (SELECT count(*) FROM indexed
            WHERE entry IS NOT NULL AND entry NOT IN (SELECT id FROM full_text_docsize)) AS n)
WHERE n > 0

-- name: lost_words
SELECT 0 AS id, 'full-text search has lost words of ' || n || ' posts' AS what FROM (
    SELECT abs((SELECT count(entry) FROM indexed)
             - (SELECT count(*) FROM full_text WHERE full_text MATCH '"' || char(57344) || '"')) AS n)
WHERE n > 0
