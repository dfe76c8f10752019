-- One row a job: what lists filter by, and the decider's state. phase and removed are always those of the job's last
-- event. state is a memo of a fold: it is as of version, and whoever needs it folds the few events that came since. So
-- an append that changes neither writes the event alone. Rows change in the append's own transaction. Pages keep room
-- so that an update stays in its page.

CREATE TABLE jobs (
    account_id integer NOT NULL,
    number bigint NOT NULL CONSTRAINT jobs_number_counts CHECK (number > 0),
    uid uuid NOT NULL,
    kind text NOT NULL,
    user_name text,
    phase text NOT NULL,
    removed boolean NOT NULL DEFAULT false,
    version integer NOT NULL CONSTRAINT jobs_version_counts CHECK (version > 0),
    state text NOT NULL,
    CONSTRAINT jobs_pkey PRIMARY KEY (account_id, number),
    CONSTRAINT jobs_uid_is_taken UNIQUE (account_id, uid)
) WITH (fillfactor = 60);

CREATE INDEX jobs_by_phase ON jobs (account_id, phase, number) WHERE NOT removed;
CREATE INDEX jobs_by_kind ON jobs (account_id, kind, number) WHERE NOT removed;
CREATE INDEX jobs_by_user ON jobs (account_id, user_name, number) WHERE NOT removed AND user_name IS NOT NULL;

CREATE TRIGGER jobs_are_kept BEFORE DELETE OR TRUNCATE ON jobs
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_rewrite();
