-- name: add
INSERT INTO bounce (list_id, member_id, address, kind, action, enhanced, diagnostic, domain, cause, about, at)
VALUES (:list_id, :member_id, :address, :kind, :action, :enhanced, :diagnostic, :domain, :cause, :about, :now)

-- name: of_member
SELECT at, kind, enhanced, diagnostic FROM bounce WHERE list_id = :list_id AND member_id = :member_id
ORDER BY id DESC LIMIT :limit

-- name: forget_storms
DELETE FROM storm WHERE since < :before

-- name: failing
SELECT * FROM failing WHERE member_id = :member_id

-- name: of_list
SELECT failing.*, member.address FROM failing JOIN member ON member.id = failing.member_id
WHERE failing.list_id = :list_id ORDER BY failing.points DESC, failing.at DESC

-- name: keep
INSERT INTO failing (member_id, list_id, state, points, hard, soft, first_at, step_at, step, at, enhanced, reply,
                     cause, storm_at, due_at, probe, probed_at)
VALUES (:member_id, :list_id, :state, :points, :hard, :soft, :first_at, :step_at, :step, :at, :enhanced, :reply,
        :cause, :storm_at, :due_at, :probe, :probed_at)
ON CONFLICT (member_id) DO UPDATE
SET state = excluded.state, points = excluded.points, hard = excluded.hard, soft = excluded.soft,
    first_at = excluded.first_at, step_at = excluded.step_at, step = excluded.step, at = excluded.at,
    enhanced = excluded.enhanced, reply = excluded.reply, cause = excluded.cause, storm_at = excluded.storm_at,
    due_at = excluded.due_at, probe = excluded.probe, probed_at = excluded.probed_at

-- name: clear
DELETE FROM failing WHERE member_id = :member_id

-- name: due
SELECT * FROM failing WHERE due_at <= :now ORDER BY due_at LIMIT :limit

-- name: forget_failing
DELETE FROM failing WHERE at < :before AND state = 'counting' AND due_at IS NULL

-- name: count_storm
INSERT INTO storm (list_id, domain, cause, members, since, reply) VALUES (:list_id, :domain, :cause, 1, :now, :reply)
ON CONFLICT (list_id, domain, cause) DO UPDATE
SET members = CASE WHEN storm.since < :begin THEN 1 ELSE storm.members + 1 END,
    since = CASE WHEN storm.since < :begin THEN excluded.since ELSE storm.since END,
    reply = excluded.reply

-- name: storm
SELECT * FROM storm WHERE list_id = :list_id AND domain = :domain AND cause = :cause AND since >= :begin

-- name: untold_storms
SELECT * FROM storm WHERE since >= :begin AND members >= :size AND told_at < :before ORDER BY since

-- name: told_storm
UPDATE storm SET told_at = :now WHERE list_id = :list_id AND domain = :domain AND cause = :cause

-- name: storm_domains
SELECT domain, count(DISTINCT member_id) AS members FROM bounce
WHERE list_id = :list_id AND cause = :cause AND at >= :begin AND member_id IS NOT NULL
GROUP BY domain ORDER BY members DESC, domain LIMIT 5

-- name: storm_posts
SELECT post.label, post.subject, post.from_address, count(DISTINCT bounce.member_id) AS members
FROM bounce
JOIN message_id ON message_id.list_id = bounce.list_id AND message_id.msgid = lower(bounce.about)
JOIN post ON post.id = message_id.post_id
WHERE bounce.list_id = :list_id AND bounce.cause = :cause AND bounce.at >= :begin AND bounce.member_id IS NOT NULL
GROUP BY post.id ORDER BY members DESC, post.id LIMIT 3

-- name: post_of
SELECT post.message_id FROM mailing JOIN post ON post.id = mailing.ref_id
WHERE mailing.id = :mailing_id AND mailing.kind = 'post'

-- name: members_at
SELECT count(*) AS members FROM member WHERE list_id = :list_id AND key LIKE :suffix ESCAPE '\'

-- name: tell
INSERT INTO bounce_summary (list_id, until, due_at) VALUES (:list_id, 0, :due_at)
ON CONFLICT (list_id) DO UPDATE SET due_at = coalesce(bounce_summary.due_at, excluded.due_at)

-- name: to_tell
SELECT list_id, until FROM bounce_summary WHERE due_at <= :now ORDER BY due_at LIMIT :limit

-- name: told
UPDATE bounce_summary SET until = :now, due_at = NULL WHERE list_id = :list_id

-- name: counts
SELECT kind, count(*) AS reports, count(DISTINCT address) AS addresses FROM bounce
WHERE list_id = :list_id AND at > :since AND at <= :now GROUP BY kind
