-- name: add
INSERT INTO event (mail, at, rcpt, what, text, code, message_id, mail_from, peer, size, list_id)
VALUES (:mail, :at, :rcpt, :what, :text, :code, :message_id, :mail_from, :peer, :size, :list_id)
ON CONFLICT (mail, at, rcpt, what) DO NOTHING

-- name: of_mail
SELECT mail, at, rcpt, what, text, code, message_id, mail_from, peer, size, list_id
FROM event WHERE mail = :mail ORDER BY at, rcpt

-- name: since
SELECT count(*) AS mails FROM event WHERE mail >= :first

-- name: held_expired
INSERT INTO event (mail, at, rcpt, what, text, code, message_id, mail_from, peer, size, list_id)
SELECT held.mail, :now, list.address, 'expired (held ' || held.id || ')', '', 0, held.message_id, held.mail_from, '', 0,
       held.list_id
FROM held JOIN list ON list.id = held.list_id
WHERE held.id > :after AND held.id <= :last AND held.received_at < :before
ON CONFLICT (mail, at, rcpt, what) DO NOTHING

-- name: prune
DELETE FROM event WHERE (mail, at, rcpt, what) IN (
    SELECT mail, at, rcpt, what FROM event WHERE mail < :first AND at < :before ORDER BY mail LIMIT 500)
