-- Every state change of every job, once and for ever. position counts an account's log, version a job's events, both
-- from 1 without gaps. data is text, not jsonb: the hash chain covers its bytes.

CREATE TABLE events (
    account_id integer NOT NULL,
    position bigint NOT NULL CONSTRAINT events_position_counts CHECK (position > 0),
    job bigint NOT NULL CONSTRAINT events_job_counts CHECK (job > 0),
    version integer NOT NULL CONSTRAINT events_version_counts CHECK (version > 0),
    type text NOT NULL,
    at timestamptz NOT NULL,
    data text NOT NULL,
    by text NOT NULL,
    trace text,
    hash bytea NOT NULL CONSTRAINT events_hash_is_sha256 CHECK (octet_length(hash) = 32),
    CONSTRAINT events_pkey PRIMARY KEY (account_id, position),
    CONSTRAINT events_job_version_is_taken UNIQUE (account_id, job, version)
);

CREATE FUNCTION refuse_to_rewrite() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'jobstore: % is append-only', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', HINT = 'What was recorded stays recorded.';
END
$$;

CREATE TRIGGER events_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_rewrite();

-- Accounts, heads and keys are kept for as long as the log that speaks of them.
CREATE TRIGGER accounts_are_kept BEFORE DELETE OR TRUNCATE ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_rewrite();
CREATE TRIGGER heads_are_kept BEFORE DELETE OR TRUNCATE ON heads
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_rewrite();
CREATE TRIGGER keys_are_kept BEFORE DELETE OR TRUNCATE ON keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_rewrite();

CREATE FUNCTION refuse_to_go_back() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'jobstore: the log of account % cannot go back from position % to %',
        OLD.account_id, OLD.position, NEW.position USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER heads_never_go_back BEFORE UPDATE ON heads
    FOR EACH ROW WHEN (NEW.position < OLD.position OR NEW.jobs < OLD.jobs OR NEW.at < OLD.at)
    EXECUTE FUNCTION refuse_to_go_back();

REVOKE UPDATE, DELETE, TRUNCATE ON events FROM PUBLIC, CURRENT_USER;
