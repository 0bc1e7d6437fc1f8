-- runs with: 12
-- What subjects are compared by is cut (mail/subject.py): the index takes 2,700 bytes, and more only of what can be
-- compressed. What came before is cut alike.
UPDATE post SET base = rtrim(left(base, 600)) WHERE length(base) > 600;
UPDATE post SET was = rtrim(left(was, 600)) WHERE length(was) > 600;
