-- name: integrity
-- The server keeps its files whole and says so when they are not; pg_amcheck looks into all of them.
SELECT 'the index ' || CAST(indexrelid AS regclass) || ' is not valid; REINDEX makes it anew' AS integrity_check
FROM pg_index WHERE NOT indisvalid

-- name: dangling
-- The server lets none be.
SELECT '' AS "table", '' AS parent, '' AS field, 0 AS n WHERE FALSE

-- name: digests_ahead
SELECT id, 'posts to come would be in no digest of ' || address AS what FROM list
WHERE digested_post > coalesce(pg_sequence_last_value(CAST(pg_get_serial_sequence('post', 'id') AS regclass)), 0)

-- name: labels_behind
SELECT thread.id, 'the count of posts of thread #' || thread.number || ' of ' || list.address || ' is behind' AS what
FROM thread JOIN list ON list.id = thread.list_id JOIN (
    SELECT list_id, CAST(split_part(label, '.', 1) AS BIGINT) AS number,
           max(CAST(split_part(label, '.', 2) AS BIGINT)) AS label
    FROM post GROUP BY 1, 2) AS given ON given.list_id = thread.list_id AND given.number = thread.number
WHERE thread.last_label < given.label

-- name: mend_labels_behind
UPDATE thread SET last_label = (
    SELECT max(CAST(split_part(label, '.', 2) AS BIGINT)) FROM post
    WHERE post.list_id = thread.list_id AND CAST(split_part(label, '.', 1) AS BIGINT) = thread.number)
WHERE id IN (SELECT value FROM number_each(:ids))
