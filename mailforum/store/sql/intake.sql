-- name: see
INSERT INTO seen (rcpt, digest, at) VALUES (:rcpt, :digest, :now)
ON CONFLICT (rcpt, digest) DO NOTHING

-- name: unsee
DELETE FROM seen WHERE rcpt = :rcpt AND digest = :digest

-- name: see_again
INSERT INTO seen (rcpt, digest, at) VALUES (:rcpt, :digest, :now)
ON CONFLICT (rcpt, digest) DO UPDATE SET at = :now WHERE seen.at <= :before

-- name: pace
INSERT INTO seen (rcpt, digest, at) VALUES (:rcpt, :digest, CAST(:now AS DOUBLE PRECISION) + :every)
ON CONFLICT (rcpt, digest) DO UPDATE SET at = :every + CASE
    WHEN seen.at > :now + :ahead THEN :now + :ahead
    WHEN seen.at > :now THEN seen.at
    ELSE :now END
RETURNING at

-- name: seen_at
SELECT at FROM seen WHERE rcpt = :rcpt AND digest = :digest

-- name: reached
SELECT digest FROM seen WHERE rcpt = :rcpt

-- name: begin_anew
DELETE FROM seen WHERE rcpt = :rcpt

-- name: seen_count
SELECT count(*) AS n FROM seen

-- name: hold
INSERT INTO held (list_id, mail_from, from_address, subject, message_id, reason, under, received_at, raw, mail)
VALUES (:list_id, :mail_from, :from_address, :subject, :message_id, :reason, :under, :now,
        blob(:raw, :size), :mail)
RETURNING id

-- name: held
SELECT id, list_id, mail_from, from_address, subject, message_id, reason, under, received_at, length(raw) AS size, mail
FROM held WHERE :list_id = 0 OR list_id = :list_id ORDER BY id

-- name: held_by_list
SELECT list_id, max(id) AS newest FROM held GROUP BY list_id

-- name: held_between
SELECT id FROM held WHERE id > :after AND id < :before AND list_id = :list_id ORDER BY id LIMIT 1

-- name: held_by_id
SELECT id, list_id, mail_from, from_address, subject, message_id, reason, under, received_at, length(raw) AS size, mail
FROM held WHERE id = :id

-- name: held_raw
SELECT raw FROM held WHERE id = :id

-- name: release
DELETE FROM held WHERE id = :id

-- name: ask
INSERT INTO request (list_id, action, address, name, mode, created_at, expires_at)
VALUES (:list_id, :action, :address, :name, :mode, :now, :expires_at)
RETURNING id

-- name: request
SELECT id, list_id, action, address, name, mode, created_at, expires_at, done_at FROM request WHERE id = :id

-- name: answered
UPDATE request SET done_at = :now WHERE id = :id AND done_at IS NULL

-- name: count_answer
INSERT INTO answer (day, list_id, key, sent) VALUES (:day, :list_id, :key, 1)
ON CONFLICT (day, list_id, key) DO UPDATE SET sent = answer.sent + 1
RETURNING sent

-- name: shunt
INSERT INTO shunt (digest, mail_from, rcpts, reason, times, at, raw, mail)
VALUES (:digest, :mail_from, :rcpts, :reason, 1, :now, blob(:raw, :size), :mail)
ON CONFLICT (digest) DO UPDATE SET times = shunt.times + 1, at = excluded.at, reason = excluded.reason
RETURNING id

-- name: shunts
SELECT id, mail_from, rcpts, reason, times, at, length(raw) AS size, mail FROM shunt ORDER BY id

-- name: shunt_by_id
SELECT id, mail_from, rcpts, reason, times, at, length(raw) AS size, mail FROM shunt WHERE id = :id

-- name: shunt_raw
SELECT raw FROM shunt WHERE id = :id

-- name: unshunt
DELETE FROM shunt WHERE id = :id

-- name: any_shunt
SELECT id FROM shunt LIMIT 1

-- name: unshunt_digest
DELETE FROM shunt WHERE digest = :digest
