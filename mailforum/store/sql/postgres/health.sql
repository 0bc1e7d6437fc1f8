-- name: integrity
SELECT damage.what FROM pg_tables, damage(tablename) WHERE schemaname = current_schema() ORDER BY tablename

-- name: tables
SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename

-- name: integrity_of
SELECT what FROM damage(:table)

-- name: reindex
DO $$
DECLARE one RECORD;
BEGIN
    FOR one IN SELECT tablename AS name FROM pg_tables WHERE schemaname = current_schema() LOOP
        EXECUTE format('REINDEX TABLE %I', one.name);
    END LOOP;
END $$

-- name: dangling
SELECT "table", parent, field, n FROM dangling()

-- name: digests_ahead
SELECT id, 'posts to come would be in no digest of ' || address AS what FROM list
WHERE digested_post > coalesce(pg_sequence_last_value(CAST(pg_get_serial_sequence('post', 'id') AS REGCLASS)), 0)

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
    WHERE post.list_id = thread.list_id AND label > thread.number || '.' AND label < thread.number || '/')
WHERE id IN (SELECT value FROM number_each(:ids))

-- name: unindexed
SELECT 0 AS id, n || ' entries of full-text search are not those of the posts' AS what FROM (
    SELECT (SELECT count(*) FROM full_text WHERE NOT EXISTS (SELECT FROM indexed WHERE indexed.entry = full_text.entry))
         + (SELECT count(*) FROM indexed
            WHERE entry IS NOT NULL AND NOT EXISTS (SELECT FROM full_text WHERE full_text.entry = indexed.entry)) AS n) AS found
WHERE n > 0

-- name: lost_words
SELECT 0 AS id, 'full-text search has lost words of ' || n || ' posts' AS what FROM (
    SELECT abs((SELECT count(entry) FROM indexed)
             - (SELECT count(*) FROM full_text WHERE words @@ CAST(U&'''\E000''' AS TSQUERY))) AS n) AS found
WHERE n > 0
