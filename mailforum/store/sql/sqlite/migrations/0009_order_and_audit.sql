-- When a post made its thread active: when it came; an imported one, when it was written.
ALTER TABLE post ADD COLUMN active_at REAL AS (CASE WHEN imported THEN date ELSE received_at END) VIRTUAL;

-- So that the first page of a list costs the same however long the list is, in each of the orders (forum/order.py).
CREATE INDEX post_date ON post (list_id, date);
CREATE INDEX post_begins ON post (list_id, date, thread_id) WHERE parent_id IS NULL;
CREATE INDEX post_active ON post (list_id, active_at, thread_id);
DROP INDEX post_thread;
CREATE INDEX post_thread ON post (thread_id, active_at);

-- A thread as people list it (model.Thread). Its first post is the earliest that answers none.
CREATE VIEW listed_thread AS
SELECT thread.id, thread.list_id, thread.number, thread.subject,
       (SELECT count(*) FROM post WHERE post.thread_id = thread.id) AS posts,
       coalesce((SELECT min(date) FROM post WHERE post.thread_id = thread.id AND parent_id IS NULL), created_at) AS begun_at,
       coalesce((SELECT max(active_at) FROM post WHERE post.thread_id = thread.id), created_at) AS last_at
FROM thread;

-- What people with a right to it have changed. Kept for good: it names a list and does not depend on it.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    who TEXT NOT NULL,
    what TEXT NOT NULL,                     -- thread split, thread merge, …
    list TEXT NOT NULL,                     -- its address
    target TEXT NOT NULL,                   -- what was changed: 48.3, #48, …
    before TEXT NOT NULL,                   -- JSON
    after TEXT NOT NULL                     -- JSON
);
