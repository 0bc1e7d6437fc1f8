-- name: before
SELECT id, thread_id, date, message_id, lonely AND named_id IS NULL AND NOT cut AND put_under IS NULL AS seeks
FROM post
WHERE list_id = :list_id AND base = :base AND base <> '' AND date BETWEEN :since AND :until
ORDER BY date DESC, message_id DESC, id DESC LIMIT :most

-- name: after
SELECT id, thread_id, date, message_id, lonely AND named_id IS NULL AND NOT cut AND put_under IS NULL AS seeks
FROM post
WHERE list_id = :list_id AND base = :base AND base <> '' AND date > :since AND date <= :until
ORDER BY date, message_id, id LIMIT :most

-- name: last_above
-- The last lonely reply of each of some threads, of those from a date on, that something hangs below.
SELECT post.thread_id, post.date, post.message_id, post.id
FROM number_each(:threads) AS wanted JOIN post ON post.id = (
    SELECT id FROM post AS reply
    WHERE reply.thread_id = wanted.value AND reply.lonely AND reply.date >= :since
      AND EXISTS (SELECT 1 FROM post AS child WHERE child.parent_id = reply.id)
    ORDER BY reply.date DESC, reply.message_id DESC, reply.id DESC LIMIT 1)

-- name: seekers
-- Lonely replies that may look at posts with a base subject. Who has found one before itself looks at none behind.
SELECT id, thread_id, parent_id, message_id, base, was, date FROM post
WHERE list_id = :list_id AND base = :base AND lonely AND named_id IS NULL AND NOT cut AND put_under IS NULL
  AND date BETWEEN :since AND :until
  AND (date >= :first OR NOT EXISTS (SELECT 1 FROM post AS parent WHERE parent.id = post.parent_id
                                       AND parent.base = post.base AND parent.date <= post.date))
  AND date <= coalesce((SELECT date FROM post WHERE list_id = :list_id AND base = :base AND base <> ''
                          AND date > :last ORDER BY date LIMIT 1 OFFSET :most), :until)
UNION ALL
SELECT id, thread_id, parent_id, message_id, base, was, date FROM post
WHERE list_id = :list_id AND was = :base AND was <> '' AND lonely AND named_id IS NULL AND NOT cut
  AND put_under IS NULL AND date BETWEEN :since AND :until

-- name: with_lonely
SELECT DISTINCT thread_id FROM post AS changed WHERE id IN (SELECT value FROM number_each(:posts))
  AND EXISTS (SELECT 1 FROM post WHERE post.thread_id = changed.thread_id AND lonely)

-- name: of_thread
SELECT id, parent_id, message_id, base, date,
       lonely AND named_id IS NULL AND NOT cut AND put_under IS NULL AS seeks
FROM post WHERE thread_id = :thread_id
