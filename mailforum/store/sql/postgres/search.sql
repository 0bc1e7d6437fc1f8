-- `words` is what the index answers: words, and none of phrases but their words. `exact` has these as well and is
-- looked up for one post after the other, the newest first, until there are enough. See store/match.py.

-- name: add
INSERT INTO full_text (entry, length, words, whole)
-- The list is a word as well, so that a search does not have to look at what others have said.
SELECT :entry, length - 1, words, whole
FROM searched(:subject, :author, concat(CAST(:files AS TEXT), U&' \E002', CAST(:entry AS BIGINT) / 1073741824), :text)

-- name: remove
DELETE FROM full_text WHERE entry = :entry

-- name: clear
TRUNCATE full_text

-- name: hold
SELECT rules FROM indexed_by FOR UPDATE

-- name: knows_words
SELECT TRUE AS known

-- name: newest
-- OFFSET 0: each step is done as it stands. Otherwise all words of one post after the other would be looked through.
SELECT entry FROM (
    SELECT entry FROM (
        SELECT entry FROM full_text WHERE words @@ CAST(:words AS TSQUERY) OFFSET 0) AS having_words
    WHERE entry BETWEEN :first AND :last ORDER BY entry DESC OFFSET 0) AS found
WHERE CAST(:exact AS TSQUERY) IS NULL OR (
    SELECT CASE WHEN whole IS NULL THEN words @@ CAST(:exact AS TSQUERY) ELSE has_words(whole, :every_text, :none_text) END
    FROM full_text WHERE full_text.entry = found.entry)
ORDER BY entry DESC LIMIT :limit

-- name: newest_of_threads
WITH own AS MATERIALIZED (
    SELECT entry FROM post JOIN indexed ON indexed.post_id = post.id
    WHERE post.thread_id IN (SELECT value FROM number_each(:threads)) AND entry BETWEEN :first AND :last)
SELECT own.entry FROM own JOIN full_text ON full_text.entry = own.entry
WHERE CASE
    WHEN whole IS NULL THEN words @@ CAST(coalesce(:exact, :words) AS TSQUERY)
    ELSE has_words(whole, :every_text, :none_text) END
ORDER BY own.entry DESC LIMIT :limit

-- name: posts_with
SELECT count(*) AS n FROM (SELECT FROM full_text WHERE words @@ CAST(:words AS TSQUERY) LIMIT :limit) AS found

-- name: scores
-- bm25, as FTS5 has it: ts_rank_cd of a single word or phrase is the sum of the weights of the places where it stands.
-- These are those of FTS5 divided by six: text, files, author, subject. How long a post is, is compared with those ranked.
WITH term AS MATERIALIZED (
    SELECT CAST(asked.value ->> 0 AS TSQUERY) AS words, CAST(asked.value ->> 1 AS DOUBLE PRECISION) AS posts
    FROM json_array_elements(CAST(:terms AS JSON)) AS asked),
rare AS MATERIALIZED (
    SELECT words, ln(1 + greatest((SELECT max(post_id) FROM indexed) - 2 * posts, 0) / (posts + 0.5)) + 1e-6 AS weight
    FROM term),
ranked AS MATERIALIZED (
    SELECT entry, words, 0.3 + 0.9 * length / avg(length) OVER () AS long
    FROM full_text WHERE entry IN (SELECT value FROM number_each(:entries)))
SELECT entry, -sum(weight * found / (found + long)) AS score
FROM ranked CROSS JOIN rare CROSS JOIN LATERAL (
    SELECT 6 * ts_rank_cd('{0.16666667, 0.33333333, 0.5, 1}', ranked.words, rare.words) AS found OFFSET 0) AS counted
GROUP BY entry

-- name: merge_from
-- PostgreSQL merges by itself.
SELECT 1
