-- name: mails_of_message_id
SELECT mail FROM event WHERE message_id = :message_id AND message_id <> ''
UNION SELECT mail FROM held WHERE message_id = :message_id
UNION SELECT post.mail FROM list JOIN message_id ON message_id.list_id = list.id AND message_id.msgid = :message_id
      JOIN post ON post.id = message_id.post_id
ORDER BY mail

-- name: mailing
SELECT mail, kind, created_at AS at FROM mailing WHERE id = :id

-- name: mail_of_delivery
SELECT mailing.mail FROM delivery JOIN mailing ON mailing.id = delivery.mailing_id WHERE delivery.id = :id

-- name: posts
SELECT post.id, post.label, post.message_id, post.subject, post.received_at, list.address AS list
FROM post JOIN list ON list.id = post.list_id WHERE post.mail = :mail AND post.mail <> '' ORDER BY post.id

-- name: mailings
SELECT mailing.id, mailing.kind, mailing.template, mailing.created_at, post.label AS post, list.address AS list,
       (SELECT count(*) FROM member
        WHERE member.list_id = mailing.list_id AND member.id > mailing.fan_after AND member.id <= mailing.fan_last
          AND member.status = 'active' AND member.mode IN (SELECT value FROM text_each(mailing.fan_modes))
          AND mailing.fan_after < mailing.fan_last) AS to_come
FROM mailing
LEFT JOIN list ON list.id = mailing.list_id
LEFT JOIN post ON mailing.kind = 'post' AND post.id = mailing.ref_id
WHERE mailing.mail = :mail AND mailing.mail <> '' ORDER BY mailing.id

-- name: counts
SELECT state, count(*) AS deliveries, min(done_at) AS first, max(done_at) AS last
FROM delivery WHERE mailing_id = :mailing_id GROUP BY state

-- name: deliveries
SELECT id, rcpt, state, attempts, due_at, done_at, enhanced, reply FROM delivery
WHERE mailing_id = :mailing_id AND id > :after
  AND (:whole OR state IN ('deferred', 'failed') OR attempts > 1)
ORDER BY id LIMIT :limit

-- name: attempts
SELECT at, enhanced, reply FROM attempt WHERE delivery_id = :delivery_id ORDER BY id

-- name: mail_of_post
SELECT mail FROM post WHERE id = :id

-- name: bounces
SELECT at, address, kind, enhanced, diagnostic FROM bounce WHERE about = :message_id AND about <> '' ORDER BY at, id
