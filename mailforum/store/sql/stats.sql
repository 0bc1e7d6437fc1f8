-- name: alive
SELECT 1 AS one

-- name: waiting
SELECT list.address, CAST(sum(run.deliveries) AS BIGINT) AS deliveries, min(mailing.created_at) AS oldest,
       min(CASE WHEN run.due_at < :paused THEN run.due_at END) AS due_at
FROM (SELECT due_at, mailing_id, count(*) AS deliveries
      FROM delivery WHERE done_at IS NULL GROUP BY due_at, mailing_id) AS run  -- in the order of an index
JOIN mailing ON mailing.id = run.mailing_id
LEFT JOIN list ON list.id = mailing.list_id
GROUP BY list.address ORDER BY deliveries DESC

-- name: in_trouble
SELECT (SELECT count(*) FROM delivery WHERE state = 'deferred') AS deferred,
       (SELECT min(created_at) FROM delivery WHERE state = 'deferred') AS oldest,
       (SELECT count(*) FROM delivery WHERE state = 'failed') AS failed,
       (SELECT count(*) FROM member WHERE status = 'suspended') AS suspended,
       (SELECT count(*) FROM held) AS held,
       (SELECT count(*) FROM shunt WHERE rcpts <> '[]') AS shunts  -- those without are bad mails of archives

-- name: to_come
SELECT count(member.id) AS members
FROM mailing JOIN member ON member.list_id = mailing.list_id
 AND member.id > mailing.fan_after AND member.id <= mailing.fan_last AND member.status = 'active'
 AND member.mode IN (SELECT value FROM text_each(mailing.fan_modes))
WHERE mailing.fan_after < mailing.fan_last

-- name: finished
SELECT (SELECT count(*) FROM delivery) - (SELECT count(*) FROM delivery WHERE done_at IS NULL) AS finished

-- name: domains
SELECT lower(substr(rcpt, length(rtrim(rcpt, replace(rcpt, '@', ''))) + 1)) AS domain, count(*) AS waiting,
       sum(CASE WHEN state = 'deferred' THEN 1 ELSE 0 END) AS deferred, min(created_at) AS oldest
FROM delivery WHERE done_at IS NULL GROUP BY 1 ORDER BY waiting DESC, domain LIMIT :limit

-- name: failures
SELECT at, enhanced, reply, (SELECT lower(substr(rcpt, length(rtrim(rcpt, replace(rcpt, '@', ''))) + 1))
                             FROM delivery WHERE delivery.id = attempt.delivery_id) AS domain
FROM attempt WHERE id > (SELECT coalesce(max(id), 0) FROM attempt) - :most AND at >= :since ORDER BY id

-- name: states
SELECT state, count(*) AS deliveries, min(created_at) AS oldest FROM delivery GROUP BY state
