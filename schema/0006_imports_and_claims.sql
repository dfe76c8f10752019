-- A job may keep the number that it had elsewhere, and may name what it makes, which is then made once.
--
-- heads.jobs counts the numbers that were given in order and those that were skipped because imports had taken them;
-- what is imported beyond does not move it. heads.at is the time of the last event, so before the first one it is the
-- least that there is: the clock of whoever appends says what the first one's is.

ALTER TABLE heads ALTER COLUMN at SET DEFAULT 'epoch';
ALTER TABLE heads DISABLE TRIGGER heads_never_go_back;
UPDATE heads SET at = 'epoch' WHERE position = 0;
ALTER TABLE heads ENABLE TRIGGER heads_never_go_back;
