-- runs with: 12
-- In which database of which server it was served last, where it was one.
ALTER TABLE fence ADD COLUMN home TEXT;
