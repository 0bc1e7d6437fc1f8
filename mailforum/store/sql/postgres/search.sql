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
-- What many posts have is found by reading them, the newest first, until there are enough; what few have, by the index,
-- and of phrases all posts that have their words are looked at. Which is less work, the newest of them tell: reading a
-- post in order takes the longer the more words it has. OFFSET 0 and + 0: the index is asked for the words alone.
WITH newest AS MATERIALIZED (
    SELECT avg(length) AS length, count(*) FILTER (WHERE CASE
        WHEN whole IS NULL OR CAST(:exact AS TSQUERY) IS NULL THEN words @@ CAST(coalesce(:exact, :words) AS TSQUERY)
        ELSE has_words(whole, :every_text, :none_text) END) AS n
    FROM (SELECT * FROM full_text WHERE entry BETWEEN :first AND :last ORDER BY entry DESC LIMIT 250) AS these),
way AS MATERIALIZED (
    SELECT n * n * (SELECT max(post_id) FROM indexed) > 1000 * length * CAST(:limit AS BIGINT) AS in_order FROM newest)
(SELECT entry FROM full_text
WHERE (SELECT in_order FROM way) AND entry BETWEEN :first AND :last AND CASE
    WHEN whole IS NULL OR CAST(:exact AS TSQUERY) IS NULL THEN words @@ CAST(coalesce(:exact, :words) AS TSQUERY)
    ELSE has_words(whole, :every_text, :none_text) END
ORDER BY entry DESC LIMIT :limit)
UNION ALL
(SELECT entry FROM (
    SELECT entry FROM full_text
    WHERE NOT (SELECT in_order FROM way) AND words @@ CAST(:words AS TSQUERY)
      AND entry + 0 BETWEEN :first AND :last AND CASE
        WHEN CAST(:exact AS TSQUERY) IS NULL THEN TRUE
        WHEN whole IS NULL THEN words @@ CAST(:exact AS TSQUERY)
        ELSE has_words(whole, :every_text, :none_text) END
    OFFSET 0) AS found
ORDER BY entry DESC LIMIT :limit)
ORDER BY entry DESC

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
-- If of some 500 posts, always the same, a twentieth or more have it, they tell how many; else the index does.
WITH sized AS MATERIALIZED (SELECT greatest(max(post_id), 500) AS posts FROM indexed),
sampled AS MATERIALIZED (
    SELECT count(*) AS these, count(*) FILTER (WHERE words @@ CAST(:words AS TSQUERY)) AS n
    FROM full_text TABLESAMPLE SYSTEM ((SELECT 50000.0 / posts FROM sized)) REPEATABLE (1))
SELECT least(:limit, CASE
    WHEN n >= 25 THEN n * posts / these
    ELSE (SELECT count(*) FROM (SELECT FROM full_text WHERE words @@ CAST(:words AS TSQUERY) LIMIT :limit) AS found)
    END) AS n
FROM sampled CROSS JOIN sized

-- name: scores
-- bm25, as FTS5 has it: ts_rank_cd of a single word or phrase is the sum of the weights of the places where it stands.
-- These are those of FTS5 divided by six: text, files, author, subject. How long a post is, is compared with those ranked.
WITH term AS MATERIALIZED (
    SELECT CAST(asked.value ->> 0 AS TSQUERY) AS words, CAST(asked.value ->> 1 AS DOUBLE PRECISION) AS posts
    FROM json_array_elements(CAST(:terms AS JSON)) AS asked),
rare AS MATERIALIZED (
    SELECT words, ln(1 + greatest((SELECT max(post_id) FROM indexed) - 2 * posts, 0) / (posts + 0.5)) + 1e-6 AS weight
    FROM term),
counted AS MATERIALIZED (
    SELECT entry, length, weight, 6 * ts_rank_cd('{0.16666667, 0.33333333, 0.5, 1}', full_text.words, rare.words) AS found
    FROM full_text CROSS JOIN rare WHERE entry IN (SELECT value FROM number_each(:entries))),
usual AS MATERIALIZED (SELECT avg(length) AS length FROM counted)
SELECT entry, -sum(weight * found / (found + 0.3 + 0.9 * counted.length / usual.length)) AS score
FROM counted CROSS JOIN usual GROUP BY entry

-- name: merge_from
-- PostgreSQL merges by itself.
SELECT 1
