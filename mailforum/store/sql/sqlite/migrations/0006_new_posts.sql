-- Whether a list has posts for its next digest is asked every few seconds, also behind a long imported archive.
CREATE INDEX post_new ON post (list_id, id) WHERE NOT imported;
