-- name: add
INSERT INTO event (mail, at, rcpt, what, text, code, message_id, mail_from, peer, size, list_id)
VALUES (:mail, :at, :rcpt, :what, :text, :code, :message_id, :mail_from, :peer, :size, :list_id)
ON CONFLICT (mail, at, rcpt, what) DO NOTHING

-- name: of_mail
SELECT mail, at, rcpt, what, text, code, message_id, mail_from, peer, size, list_id
FROM event WHERE mail = :mail ORDER BY at, rcpt

-- name: since
SELECT count(*) AS mails FROM event WHERE mail >= :first

-- name: prune
DELETE FROM event WHERE mail IN (SELECT mail FROM event WHERE mail < :first ORDER BY mail LIMIT 500)
