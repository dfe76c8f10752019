-- A job may keep the number that it had elsewhere, and may name what it makes, which is then made once.
--
-- heads.jobs counts the numbers that were given in order and those that were skipped because imports had taken them;
-- what is imported beyond does not move it. heads.at is the time of the last event, so before the first one it is the
-- least that there is: the clock of whoever appends says what the first one's is.
--
-- jobs.claim is what the job makes, as it was submitted. The index is of a hash, since a claim may be longer than a page
-- has room for, and of those jobs only whose claim stands in another's way.

ALTER TABLE heads ALTER COLUMN at SET DEFAULT 'epoch';
ALTER TABLE heads DISABLE TRIGGER heads_never_go_back;
UPDATE heads SET at = 'epoch' WHERE position = 0;
ALTER TABLE heads ENABLE TRIGGER heads_never_go_back;

ALTER TABLE jobs ADD COLUMN claim text;
UPDATE jobs SET claim = events.data::json ->> 'claim' FROM events
WHERE events.account_id = jobs.account_id AND events.job = jobs.number AND events.version = 1
    AND events.data LIKE '%"claim"%';
CREATE INDEX jobs_by_claim ON jobs (account_id, hashtextextended(claim, 0), number)
    WHERE claim IS NOT NULL AND phase NOT IN ('failed', 'cancelled');
