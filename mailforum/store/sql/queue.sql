-- name: add_mailing
INSERT INTO mailing (list_id, kind, ref_id, template, data, reply_to, mail_from, raw, created_at, mail)
VALUES (:list_id, :kind, :ref_id, :template, :data, :reply_to, :mail_from,
        blob(:raw, :size), :now, :mail)

-- name: mailing
SELECT id, list_id, kind, ref_id, template, data, reply_to, mail_from, created_at, mail FROM mailing WHERE id = :id

-- name: mailing_raw
SELECT raw FROM mailing WHERE id = :id

-- name: add_delivery
INSERT INTO delivery (mailing_id, member_id, rcpt, state, created_at, due_at)
VALUES (:mailing_id, :member_id, :rcpt, 'queued', :now, :now)

-- name: first_recipient
SELECT rcpt FROM delivery WHERE mailing_id = :mailing_id ORDER BY id LIMIT 1

-- name: begin_fan_out
UPDATE mailing
SET fan_modes = :modes, fan_author = :author,
    fan_after = (SELECT member_id FROM delivery WHERE mailing_id = mailing.id ORDER BY id DESC LIMIT 1),
    fan_last = (SELECT coalesce(max(id), 0) FROM member WHERE list_id = mailing.list_id)
WHERE id = :id AND (SELECT count(*) FROM delivery WHERE mailing_id = :id) = :step

-- name: fanning
SELECT 1 FROM mailing WHERE fan_after < fan_last LIMIT 1

-- name: fan_next
SELECT id, fan_after AS after, fan_last AS last, fan_modes AS modes, fan_author AS author
FROM mailing WHERE fan_after < fan_last ORDER BY id LIMIT 1

-- name: fan_out
INSERT INTO delivery (mailing_id, member_id, rcpt, state, created_at, due_at)
SELECT mailing.id, member.id, member.address, 'queued', mailing.created_at, mailing.created_at
FROM mailing JOIN member ON member.list_id = mailing.list_id
WHERE mailing.id = :id AND member.id > :after AND member.id <= :last
  AND member.mode IN (SELECT value FROM text_each(:modes)) AND member.status = 'active'
  AND (member.key <> :author OR member.own_posts)
ORDER BY member.id LIMIT :limit

-- name: fanned_out
UPDATE mailing
SET fan_after = CASE WHEN :whole THEN fan_last
    ELSE (SELECT member_id FROM delivery WHERE mailing_id = mailing.id ORDER BY id DESC LIMIT 1) END
WHERE id = :id

-- name: still_to_fan_out
SELECT count(member.id) AS members
FROM mailing JOIN member ON member.list_id = mailing.list_id
 AND member.id > mailing.fan_after AND member.id <= mailing.fan_last AND member.status = 'active'
 AND member.mode IN (SELECT value FROM text_each(mailing.fan_modes))
WHERE mailing.fan_after < mailing.fan_last

-- name: next_run
-- In two steps, for SQLite would look at every delivery of the run that a comparison of both columns is to pass over.
SELECT due_at, mailing_id FROM (
    SELECT * FROM (
        SELECT due_at, mailing_id FROM delivery
        WHERE done_at IS NULL AND due_at = :due_at AND mailing_id > :mailing_id AND due_at <= :now
        ORDER BY mailing_id LIMIT 1) AS same_time
    UNION ALL
    SELECT * FROM (
        SELECT due_at, mailing_id FROM delivery
        WHERE done_at IS NULL AND due_at > :due_at AND due_at <= :now
        ORDER BY due_at, mailing_id LIMIT 1) AS later
) AS run LIMIT 1

-- name: last_run
SELECT due_at, mailing_id FROM (
    SELECT * FROM (
        SELECT due_at, mailing_id FROM delivery
        WHERE done_at IS NULL AND due_at = :due_at AND mailing_id < :mailing_id AND due_at <= :now
        ORDER BY mailing_id DESC LIMIT 1) AS same_time
    UNION ALL
    SELECT * FROM (
        SELECT due_at, mailing_id FROM delivery
        WHERE done_at IS NULL AND due_at < :due_at AND due_at <= :now
        ORDER BY due_at DESC, mailing_id DESC LIMIT 1) AS earlier
) AS run LIMIT 1

-- name: due_in_run
SELECT id, member_id, rcpt, attempts, created_at,
       member_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM member WHERE member.id = delivery.member_id) AS gone
FROM delivery
WHERE done_at IS NULL AND due_at = :due_at AND mailing_id = :mailing_id AND id > :after
  AND (:parts = 1 OR id % :parts = :part)
ORDER BY id LIMIT :limit

-- name: outlines
SELECT mailing.id, mailing.list_id,
       mailing.kind IN ('post', 'digest')
       AND coalesce(CAST(list.settings -> 'personal' AS TEXT), 'true') = 'true' AS personal,
       coalesce(post.size, length(mailing.raw), 0) AS size, mailing.mail
FROM mailing LEFT JOIN list ON list.id = mailing.list_id
 LEFT JOIN post ON mailing.kind = 'post' AND post.id = mailing.ref_id
WHERE mailing.id IN (SELECT value FROM number_each(:ids))

-- name: settle
UPDATE delivery
SET state = :state, attempts = attempts + 1, due_at = :due_at, done_at = :done_at, enhanced = :enhanced, reply = :reply
WHERE id IN (SELECT value FROM number_each(:ids))
  AND (done_at IS NULL OR :state = 'sent') -- an admin may have given it up meanwhile

-- name: tried
INSERT INTO attempt (delivery_id, at, enhanced, reply)
SELECT delivery.id, :now, :enhanced, :reply FROM delivery WHERE id IN (SELECT value FROM number_each(:ids))

-- name: attempts
SELECT at, enhanced, reply FROM attempt WHERE delivery_id = :id ORDER BY id

-- name: take_off
-- All that are written at once, by the numbers of their connections.
INSERT INTO in_flight (lane, deliveries)
SELECT CAST(key AS BIGINT), value FROM json_each(:flying) WHERE TRUE
ON CONFLICT (lane) DO UPDATE SET deliveries = excluded.deliveries

-- name: in_flight
SELECT delivery.id, delivery.mailing_id, mailing.list_id, delivery.member_id, delivery.rcpt, delivery.state,
       delivery.attempts, delivery.created_at, delivery.due_at, delivery.enhanced, delivery.reply, mailing.mail
FROM delivery JOIN mailing ON mailing.id = delivery.mailing_id
WHERE delivery.done_at IS NULL
  AND delivery.id IN (
    SELECT flying.value FROM in_flight, number_each(in_flight.deliveries) AS flying
    WHERE in_flight.lane BETWEEN :first AND :last)
ORDER BY delivery.id

-- name: unsettled
SELECT delivery.id, delivery.mailing_id, mailing.list_id, delivery.member_id, delivery.rcpt, delivery.state,
       delivery.attempts, delivery.created_at, delivery.due_at, delivery.enhanced, delivery.reply, mailing.mail
FROM delivery JOIN mailing ON mailing.id = delivery.mailing_id
WHERE delivery.done_at IS NULL AND delivery.id IN (SELECT value FROM number_each(:ids))
ORDER BY delivery.id

-- name: land
DELETE FROM in_flight WHERE lane BETWEEN :first AND :last

-- name: still_ours
SELECT id FROM delivery WHERE done_at IS NULL AND id IN (SELECT value FROM number_each(:ids))

-- name: put_off
UPDATE delivery SET due_at = :due_at
WHERE done_at IS NULL AND id IN (SELECT value FROM number_each(:ids))

-- name: revive
UPDATE delivery SET state = 'deferred', done_at = NULL, due_at = :due_at
WHERE state = 'failed' AND id IN (SELECT value FROM number_each(:ids))

-- name: withdraw
DELETE FROM delivery WHERE done_at IS NULL AND id IN (SELECT value FROM number_each(:ids))

-- name: of_state
SELECT delivery.id, delivery.mailing_id, mailing.list_id, delivery.member_id, delivery.rcpt, delivery.state,
       delivery.attempts, delivery.created_at, delivery.due_at, delivery.enhanced, delivery.reply, mailing.mail
FROM delivery JOIN mailing ON mailing.id = delivery.mailing_id
WHERE :state = '' OR delivery.state = :state ORDER BY delivery.id

-- name: by_id
SELECT delivery.id, delivery.mailing_id, mailing.list_id, delivery.member_id, delivery.rcpt, delivery.state,
       delivery.attempts, delivery.created_at, delivery.due_at, delivery.enhanced, delivery.reply, mailing.mail
FROM delivery JOIN mailing ON mailing.id = delivery.mailing_id
WHERE delivery.id = :id

-- name: retry
-- What is due already may be in a worker's hand: with another due time it would be taken a second time.
UPDATE delivery SET due_at = :now, state = 'queued', done_at = NULL
WHERE id = :id AND (state = 'failed' OR (state = 'deferred' AND due_at > :now) OR due_at >= :paused)

-- name: retry_all
UPDATE delivery SET due_at = :now, state = 'queued'
WHERE done_at IS NULL AND due_at > :now AND due_at < :paused

-- name: drop
UPDATE delivery SET state = 'failed', done_at = :now, enhanced = '5.0.0', reply = 'dropped by the admin'
WHERE id = :id AND done_at IS NULL

-- name: pause
UPDATE delivery SET due_at = due_at + :paused WHERE done_at IS NULL AND due_at < :paused

-- name: resume
UPDATE delivery SET due_at = due_at - :paused WHERE done_at IS NULL AND due_at >= :paused

-- name: drop_paused
UPDATE delivery SET state = 'failed', done_at = :now, enhanced = '5.0.0', reply = 'dropped by the admin'
WHERE done_at IS NULL AND due_at >= :paused

-- name: paused
SELECT count(*) AS n FROM delivery WHERE done_at IS NULL AND due_at >= :paused

-- name: backlog
SELECT count(*) AS n FROM (SELECT 1 FROM delivery WHERE done_at IS NULL LIMIT :limit) AS waiting
