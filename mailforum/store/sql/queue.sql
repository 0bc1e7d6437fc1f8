-- name: add_mailing
INSERT INTO mailing (list_id, kind, ref_id, template, data, reply_to, mail_from, raw, created_at, mail)
VALUES (:list_id, :kind, :ref_id, :template, :data, :reply_to, :mail_from, :raw, :now, :mail)
RETURNING id

-- name: mailing
SELECT id, list_id, kind, ref_id, template, data, reply_to, mail_from, created_at, mail FROM mailing WHERE id = :id

-- name: mailing_raw
SELECT raw FROM mailing WHERE id = :id

-- name: add_delivery
INSERT INTO delivery (mailing_id, list_id, member_id, rcpt, state, created_at, due_at)
VALUES (:mailing_id, :list_id, :member_id, :rcpt, 'queued', :now, :now)

-- name: first_recipient
SELECT rcpt FROM delivery WHERE mailing_id = :mailing_id ORDER BY id LIMIT 1

-- name: fan_out
INSERT INTO delivery (mailing_id, list_id, member_id, rcpt, state, created_at, due_at)
SELECT :mailing_id, list_id, id, address, 'queued', :now, :now FROM member
WHERE list_id = :list_id AND mode = :mode AND status = 'active' AND (key <> :author OR own_posts = 1)

-- name: claim
UPDATE delivery SET claimed = 1
WHERE id IN (
    SELECT id FROM delivery WHERE done_at IS NULL AND claimed = 0 AND due_at <= :now
    ORDER BY due_at, id LIMIT :limit)
RETURNING id, mailing_id, list_id, member_id, rcpt, state, attempts, created_at, due_at, enhanced, reply

-- name: unclaim
UPDATE delivery SET claimed = 0 WHERE id = :id AND claimed = 1

-- name: recover
UPDATE delivery SET claimed = 0 WHERE claimed = 1
RETURNING id, mailing_id, list_id, member_id, rcpt, state, attempts, created_at, due_at, enhanced, reply

-- name: next_due
SELECT min(due_at) AS due_at FROM delivery WHERE done_at IS NULL AND claimed = 0

-- name: settle
UPDATE delivery
SET state = json_extract(result.value, '$[1]'), claimed = 0, attempts = attempts + 1,
    due_at = json_extract(result.value, '$[2]'), done_at = json_extract(result.value, '$[3]'),
    enhanced = json_extract(result.value, '$[4]'), reply = json_extract(result.value, '$[5]')
FROM json_each(:results) AS result
WHERE delivery.id = json_extract(result.value, '$[0]')

-- name: of_state
SELECT delivery.id, delivery.mailing_id, delivery.list_id, delivery.member_id, delivery.rcpt, delivery.state,
       delivery.attempts, delivery.created_at, delivery.due_at, delivery.enhanced, delivery.reply
FROM delivery WHERE :state = '' OR delivery.state = :state ORDER BY delivery.id

-- name: by_id
SELECT delivery.id, delivery.mailing_id, delivery.list_id, delivery.member_id, delivery.rcpt, delivery.state,
       delivery.attempts, delivery.created_at, delivery.due_at, delivery.enhanced, delivery.reply
FROM delivery WHERE delivery.id = :id

-- name: retry
UPDATE delivery SET due_at = :now, state = 'queued', done_at = NULL
WHERE (:id = 0 OR id = :id) AND claimed = 0 AND (state = 'deferred' OR (state = 'failed' AND :id <> 0))

-- name: drop
UPDATE delivery SET state = 'failed', done_at = :now, enhanced = '5.0.0', reply = 'dropped by the admin'
WHERE id = :id AND claimed = 0 AND done_at IS NULL

-- name: stats
SELECT state, count(*) AS deliveries, min(created_at) AS oldest FROM delivery GROUP BY state

-- name: prune
DELETE FROM mailing WHERE id IN (
    SELECT mailing.id FROM mailing
    WHERE mailing.created_at < :before AND NOT EXISTS (
        SELECT 1 FROM delivery WHERE delivery.mailing_id = mailing.id
        AND (delivery.done_at IS NULL OR delivery.done_at >= :before))
    LIMIT 100)
