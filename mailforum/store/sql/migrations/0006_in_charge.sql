-- Who is in charge of a list is asked for each post that is held: not to be looked for among all members.
CREATE INDEX member_in_charge ON member (list_id, key) WHERE role IN ('owner', 'moderator');
