-- What must never be, and how it is put right (forum/repair.py). Those that list something return its id
-- (0: none) and what it is.

-- name: gone_member_list_id
DELETE FROM member WHERE NOT EXISTS (SELECT 1 FROM list AS other WHERE other.id = member.list_id)

-- name: gone_thread_list_id
DELETE FROM thread WHERE NOT EXISTS (SELECT 1 FROM list AS other WHERE other.id = thread.list_id)

-- name: gone_thread_merged_into
UPDATE thread SET merged_into = NULL WHERE merged_into IS NOT NULL AND NOT EXISTS (SELECT 1 FROM thread AS other WHERE other.id = thread.merged_into)

-- name: gone_post_list_id
DELETE FROM post WHERE NOT EXISTS (SELECT 1 FROM list AS other WHERE other.id = post.list_id)

-- name: gone_post_thread_id
SELECT id, list_id, subject FROM post WHERE NOT EXISTS (SELECT 1 FROM thread AS other WHERE other.id = post.thread_id) ORDER BY id

-- name: gone_post_parent_id
UPDATE post SET parent_id = NULL WHERE parent_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM post AS other WHERE other.id = post.parent_id)

-- name: gone_indexed_post_id
DELETE FROM indexed WHERE NOT EXISTS (SELECT 1 FROM post AS other WHERE other.id = indexed.post_id)

-- name: gone_post_put_under
UPDATE post SET put_under = NULL WHERE put_under IS NOT NULL AND NOT EXISTS (SELECT 1 FROM post AS other WHERE other.id = post.put_under)

-- name: gone_body_post_id
DELETE FROM body WHERE NOT EXISTS (SELECT 1 FROM post AS other WHERE other.id = body.post_id)

-- name: gone_message_id_list_id
DELETE FROM message_id WHERE NOT EXISTS (SELECT 1 FROM list AS other WHERE other.id = message_id.list_id)

-- name: gone_message_id_post_id
UPDATE message_id SET post_id = NULL WHERE post_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM post AS other WHERE other.id = message_id.post_id)

-- name: gone_reference_post_id
DELETE FROM reference WHERE NOT EXISTS (SELECT 1 FROM post AS other WHERE other.id = reference.post_id)

-- name: gone_reference_message_id
DELETE FROM reference WHERE NOT EXISTS (SELECT 1 FROM message_id AS other WHERE other.id = reference.message_id)

-- name: gone_held_list_id
DELETE FROM held WHERE NOT EXISTS (SELECT 1 FROM list AS other WHERE other.id = held.list_id)

-- name: gone_request_list_id
DELETE FROM request WHERE NOT EXISTS (SELECT 1 FROM list AS other WHERE other.id = request.list_id)

-- name: gone_issue_list_id
DELETE FROM issue WHERE NOT EXISTS (SELECT 1 FROM list AS other WHERE other.id = issue.list_id)

-- name: gone_mailing_list_id
DELETE FROM mailing WHERE list_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM list AS other WHERE other.id = mailing.list_id)

-- name: gone_delivery_mailing_id
DELETE FROM delivery WHERE NOT EXISTS (SELECT 1 FROM mailing AS other WHERE other.id = delivery.mailing_id)

-- name: gone_attempt_delivery_id
DELETE FROM attempt WHERE NOT EXISTS (SELECT 1 FROM delivery AS other WHERE other.id = attempt.delivery_id)

-- name: gone_bounce_list_id
DELETE FROM bounce WHERE NOT EXISTS (SELECT 1 FROM list AS other WHERE other.id = bounce.list_id)

-- name: gone_failing_member_id
DELETE FROM failing WHERE NOT EXISTS (SELECT 1 FROM member AS other WHERE other.id = failing.member_id)

-- name: gone_failing_list_id
DELETE FROM failing WHERE NOT EXISTS (SELECT 1 FROM list AS other WHERE other.id = failing.list_id)

-- name: gone_storm_list_id
DELETE FROM storm WHERE NOT EXISTS (SELECT 1 FROM list AS other WHERE other.id = storm.list_id)

-- name: gone_bounce_summary_list_id
DELETE FROM bounce_summary WHERE NOT EXISTS (SELECT 1 FROM list AS other WHERE other.id = bounce_summary.list_id)

-- name: bodiless
SELECT post.id, 'post ' || post.label || ' of ' || list.address || ' has no body' AS what
FROM post JOIN list ON list.id = post.list_id
WHERE NOT EXISTS (SELECT 1 FROM body WHERE body.post_id = post.id)

-- name: misnamed
SELECT message_id.id, 'message id ' || msgid || ' leads to a post that is not its own' AS what
FROM message_id JOIN post ON post.id = message_id.post_id
WHERE post.list_id <> message_id.list_id OR message_id.msgid NOT IN (lower(post.message_id), 'ti:' || post.thread_index)

-- name: mend_misnamed
UPDATE message_id SET post_id = NULL WHERE id IN (SELECT value FROM number_each(:ids))

-- name: nameless
SELECT post.id, 'post ' || post.label || ' of ' || list.address || ' is not found by its message id' AS what
FROM post JOIN list ON list.id = post.list_id
WHERE NOT EXISTS (
    SELECT 1 FROM message_id
    WHERE message_id.list_id = post.list_id AND msgid = lower(post.message_id) AND post_id IS NOT NULL)
OR thread_index <> '' AND NOT EXISTS (
    SELECT 1 FROM message_id
    WHERE message_id.list_id = post.list_id AND msgid = 'ti:' || post.thread_index AND post_id IS NOT NULL)

-- name: mend_nameless
INSERT INTO message_id (list_id, msgid, post_id)
SELECT list_id, name, min(id) FROM (
    SELECT list_id, lower(message_id) AS name, id FROM post WHERE id IN (SELECT value FROM number_each(:ids))
    UNION ALL
    SELECT list_id, 'ti:' || thread_index, id FROM post
    WHERE id IN (SELECT value FROM number_each(:ids)) AND thread_index <> '') AS named
WHERE true GROUP BY list_id, name
ON CONFLICT (list_id, msgid) DO UPDATE SET post_id = excluded.post_id WHERE message_id.post_id IS NULL

-- name: named_gone
SELECT post.list_id AS id, 'post ' || post.label || ' of ' || list.address || ' names a post that is gone' AS what
FROM post JOIN list ON list.id = post.list_id
WHERE named_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM post AS named WHERE named.id = post.named_id)

-- name: mend_named_gone
UPDATE post SET named_id = NULL, named_how = 0, apart = FALSE
WHERE list_id IN (SELECT value FROM number_each(:ids)) AND named_id IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM post AS other WHERE other.id = post.named_id)

-- name: merged_with_posts
SELECT thread.id, 'thread #' || number || ' of ' || list.address || ' has posts, but was merged' AS what
FROM thread JOIN list ON list.id = thread.list_id
WHERE merged_into IS NOT NULL AND EXISTS (SELECT 1 FROM post WHERE post.thread_id = thread.id)

-- name: mend_merged_with_posts
UPDATE thread SET merged_into = NULL WHERE id IN (SELECT value FROM number_each(:ids))

-- name: merged_twice
SELECT thread.id, 'thread #' || thread.number || ' of ' || list.address || ' was merged into one that was merged' AS what
FROM thread JOIN thread AS other ON other.id = thread.merged_into JOIN list ON list.id = thread.list_id
WHERE other.merged_into IS NOT NULL

-- name: mend_merged_twice
UPDATE thread
SET merged_into = (SELECT nullif(other.merged_into, thread.id) FROM thread AS other WHERE other.id = thread.merged_into)
WHERE id IN (SELECT value FROM number_each(:ids))

-- name: circular
WITH RECURSIVE good(id) AS (
    SELECT id FROM post WHERE parent_id IS NULL
    UNION ALL
    SELECT post.id FROM post JOIN good ON post.parent_id = good.id)
SELECT post.list_id AS id, 'post ' || post.label || ' of ' || list.address || ' answers itself, in a circle' AS what
FROM (SELECT id FROM post EXCEPT SELECT id FROM good) AS lost
JOIN post ON post.id = lost.id JOIN list ON list.id = post.list_id

-- name: astray
SELECT post.list_id AS id, 'post ' || post.label || ' of ' || list.address || ' answers one of another thread' AS what
FROM post JOIN post AS parent ON parent.id = post.parent_id JOIN list ON list.id = post.list_id
WHERE parent.thread_id <> post.thread_id OR parent.list_id <> post.list_id

-- name: threads
SELECT DISTINCT thread_id FROM post WHERE list_id = :list_id

-- name: found_late
SELECT reference.post_id, reference.position, reference.how, post.base, post.fresh, message_id.post_id AS named_id,
       named.base AS named_base
FROM reference JOIN message_id ON message_id.id = reference.message_id JOIN post ON post.id = reference.post_id
JOIN post AS named ON named.id = message_id.post_id
WHERE message_id.list_id = :list_id ORDER BY reference.post_id, reference.position DESC

-- name: fresh
SELECT post.id, post.apart, post.base, named.base AS named_base
FROM post JOIN post AS named ON named.id = post.named_id WHERE post.list_id = :list_id AND post.fresh

-- name: empty_threads
SELECT thread.id, 'thread #' || number || ' of ' || list.address || ' has no posts' AS what
FROM thread JOIN list ON list.id = thread.list_id
WHERE merged_into IS NULL AND NOT EXISTS (SELECT 1 FROM post WHERE post.thread_id = thread.id)

-- name: mend_empty_threads
DELETE FROM thread WHERE id IN (SELECT value FROM number_each(:ids))

-- name: threads_behind
SELECT id, 'the count of threads of ' || address || ' is behind' AS what FROM list
WHERE last_thread < (SELECT max(number) FROM thread WHERE thread.list_id = list.id)

-- name: mend_threads_behind
UPDATE list SET last_thread = (SELECT max(number) FROM thread WHERE thread.list_id = list.id)
WHERE id IN (SELECT value FROM number_each(:ids))

-- name: issues_behind
SELECT id, 'the count of digests of ' || address || ' is behind' AS what FROM list
WHERE last_issue < (SELECT max(number) FROM issue WHERE issue.list_id = list.id)

-- name: mend_issues_behind
UPDATE list SET last_issue = (SELECT max(number) FROM issue WHERE issue.list_id = list.id)
WHERE id IN (SELECT value FROM number_each(:ids))

-- name: mend_digests_ahead
UPDATE list SET digested_post = (SELECT coalesce(max(id), 0) FROM post)
WHERE id IN (SELECT value FROM number_each(:ids))

-- name: keys
SELECT member.id, member.list_id, member.address, member.key, list.address AS list_address
FROM member JOIN list ON list.id = member.list_id ORDER BY member.id

-- name: set_key
UPDATE member SET key = :key WHERE id = :id

-- name: contentless
SELECT mailing.id, 'mailing ' || mailing.id || ' waits to be sent, but its ' || kind || ' is gone' AS what
FROM mailing
WHERE (fan_after < fan_last OR EXISTS (SELECT 1 FROM delivery WHERE mailing_id = mailing.id AND done_at IS NULL))
  AND ((kind = 'post' AND NOT EXISTS (SELECT 1 FROM post WHERE post.id = mailing.ref_id))
    OR (kind = 'digest' AND ref_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM issue WHERE issue.id = mailing.ref_id))
    OR (kind = 'forward' AND raw IS NULL))

-- name: mend_contentless
UPDATE delivery SET state = 'failed', done_at = :now, enhanced = '5.3.0', reply = 'what it carries is gone'
WHERE done_at IS NULL AND mailing_id IN (SELECT value FROM number_each(:ids))

-- name: stop_fanning
UPDATE mailing SET fan_after = fan_last WHERE id IN (SELECT value FROM number_each(:ids))

-- name: unfinished
SELECT id, 'delivery ' || id || ' to ' || rcpt || ' is ' || state || ', but not finished' AS what FROM delivery
WHERE done_at IS NULL AND state IN ('sent', 'failed')

-- name: mend_unfinished
UPDATE delivery SET done_at = :now WHERE id IN (SELECT value FROM number_each(:ids))

-- name: forgotten
SELECT id, 'delivery ' || id || ' to ' || rcpt || ' is ' || state || ', but would never be sent' AS what FROM delivery
WHERE done_at IS NOT NULL AND state NOT IN ('sent', 'failed')

-- name: mend_forgotten
UPDATE delivery SET done_at = NULL WHERE id IN (SELECT value FROM number_each(:ids))

-- name: memberless
SELECT id, 'delivery ' || id || ' to ' || rcpt || ' waits, but its member has left' AS what FROM delivery
WHERE done_at IS NULL AND member_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM member WHERE member.id = member_id)

-- name: mend_memberless
DELETE FROM delivery WHERE id IN (SELECT value FROM number_each(:ids))

-- name: landed
SELECT lane AS id, 'connection ' || lane || ' is said to send what does not wait' AS what FROM in_flight
WHERE EXISTS (
    SELECT 1 FROM number_each(in_flight.deliveries) AS flying
    WHERE NOT EXISTS (SELECT 1 FROM delivery WHERE delivery.id = flying.value AND done_at IS NULL))

-- name: mend_landed
DELETE FROM in_flight WHERE lane IN (SELECT value FROM number_each(:ids))

-- name: unsearchable
SELECT post.id, 'post ' || label || ' of ' || list.address || ' is not searched' AS what
FROM post JOIN list ON list.id = post.list_id
WHERE NOT EXISTS (SELECT 1 FROM indexed WHERE post_id = post.id)

-- name: mend_unsearchable
INSERT INTO indexed (post_id, entry) SELECT value, NULL FROM number_each(:ids)
