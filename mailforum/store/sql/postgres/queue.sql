-- What two hosts must not do at once, and the claims by which they keep out of each other's way (claims.py).
-- A delivery is free if nobody has claimed it, or a host that is buried. Hosts are told by the caller, who has seen
-- them living before: as of the statement, one that has just come would count as dead.

-- name: free_runs
-- The first so many runs after one of which something is free, each found by one step in the index.
WITH RECURSIVE run AS (
    SELECT CAST(:due_at AS DOUBLE PRECISION) AS due_at, CAST(:mailing_id AS BIGINT) AS mailing_id, 0 AS number
    UNION ALL
    SELECT following.due_at, following.mailing_id, run.number + 1
    FROM run CROSS JOIN LATERAL (
        SELECT due_at, mailing_id FROM delivery
        WHERE done_at IS NULL AND (due_at, mailing_id) > (run.due_at, run.mailing_id) AND due_at <= :now
          AND (claim = 0 OR claim <= :newest AND claim NOT IN (SELECT value FROM number_each(:living)))
        ORDER BY due_at, mailing_id, id LIMIT 1) AS following
    WHERE run.number < :runs
)
SELECT due_at, mailing_id FROM run WHERE number > 0 ORDER BY number

-- name: newest_free_runs
-- The same, backwards, down to another one.
WITH RECURSIVE run AS (
    SELECT CAST(:due_at AS DOUBLE PRECISION) AS due_at, CAST(:mailing_id AS BIGINT) AS mailing_id, 0 AS number
    UNION ALL
    SELECT following.due_at, following.mailing_id, run.number + 1
    FROM run CROSS JOIN LATERAL (
        SELECT due_at, mailing_id FROM delivery
        WHERE done_at IS NULL AND (due_at, mailing_id) < (run.due_at, run.mailing_id)
          AND (due_at, mailing_id) > (:above_at, :above_id)
          AND (claim = 0 OR claim <= :newest AND claim NOT IN (SELECT value FROM number_each(:living)))
        ORDER BY due_at DESC, mailing_id DESC, id DESC LIMIT 1) AS following
    WHERE run.number < :runs
)
SELECT due_at, mailing_id FROM run WHERE number > 0 ORDER BY number

-- name: claim
UPDATE delivery SET claim = :host
FROM (
    SELECT run.key AS place, free.id
    FROM json_to_recordset(CAST(:runs AS JSON))
        AS run (key BIGINT, due_at DOUBLE PRECISION, mailing_id BIGINT, after BIGINT)
    CROSS JOIN LATERAL (
        SELECT id FROM delivery
        WHERE done_at IS NULL AND due_at = run.due_at AND mailing_id = run.mailing_id AND id > run.after
          AND (claim = 0 OR claim <= :newest AND claim NOT IN (SELECT value FROM number_each(:living)))
        ORDER BY id LIMIT :turn FOR UPDATE SKIP LOCKED) AS free
    LIMIT :want) AS picked
WHERE delivery.id = picked.id
RETURNING picked.place, delivery.id, mailing_id, member_id, rcpt, attempts, created_at, due_at,
          member_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM member WHERE member.id = delivery.member_id) AS gone

-- name: wait_for
SELECT id FROM delivery WHERE id IN (SELECT value FROM number_each(:ids)) ORDER BY id FOR NO KEY UPDATE

-- name: let_go
UPDATE delivery SET claim = 0 WHERE claim = :host AND id IN (SELECT value FROM number_each(:ids))

-- name: still_ours
SELECT id FROM delivery WHERE done_at IS NULL AND claim = :host AND id IN (SELECT value FROM number_each(:ids))

-- name: settle
UPDATE delivery
SET state = :state, attempts = attempts + 1, due_at = :due_at, done_at = :done_at, enhanced = :enhanced, reply = :reply,
    claim = 0
WHERE id IN (SELECT value FROM number_each(:ids))
  AND (done_at IS NULL AND claim = :host OR :state = 'sent' AND state <> 'sent')

-- name: tried
INSERT INTO attempt (delivery_id, at, enhanced, reply)
SELECT delivery.id, :now, :enhanced, :reply FROM delivery
WHERE id IN (SELECT value FROM number_each(:ids)) AND done_at IS NULL AND claim = :host

-- name: take_off
INSERT INTO in_flight (lane, deliveries)
SELECT CAST(key AS BIGINT), value FROM json_each_text(CAST(:flying AS JSON))
ON CONFLICT (lane) DO UPDATE SET deliveries = excluded.deliveries

-- name: put_off
UPDATE delivery SET due_at = :due_at, claim = 0
WHERE done_at IS NULL AND claim = :host AND id IN (SELECT value FROM number_each(:ids))

-- name: fan_next
-- Whoever else is at it has another mailing; of this one nobody has what is not committed yet.
SELECT id, fan_after AS after, fan_last AS last, fan_modes AS modes, fan_author AS author
FROM mailing WHERE fan_after < fan_last ORDER BY id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
