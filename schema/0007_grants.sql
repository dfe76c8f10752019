-- What an account was granted. Its settings are texts by name: the revision of each format that it is served, and its
-- rate. A key may be for one job: whoever works on that is given it, and it ends when somebody else takes the job over.

ALTER TABLE accounts
    ADD CONSTRAINT accounts_settings_are_texts CHECK (
        jsonb_typeof(settings) = 'object' AND NOT jsonb_path_exists(settings, '$.* ? (@.type() != "string")')
    ),
    ADD CONSTRAINT accounts_rate_shape CHECK (settings ->> 'rate' ~ '^[1-9][0-9]{0,8}/(second|minute|hour|day)$');

ALTER TABLE keys ADD COLUMN job bigint CONSTRAINT keys_job_counts CHECK (job > 0);
CREATE INDEX keys_by_job ON keys (account_id, job) WHERE job IS NOT NULL AND revoked_at IS NULL;

-- How much of an account's present window is taken, by any process. No request is worth a flush to disk: after a crash
-- of Postgres the table is empty and the window begins anew.
CREATE UNLOGGED TABLE quotas (
    account_id integer CONSTRAINT quotas_pkey PRIMARY KEY CONSTRAINT quotas_account_exists REFERENCES accounts,
    window_start bigint NOT NULL,
    used bigint NOT NULL CONSTRAINT quotas_used_counts CHECK (used > 0)
) WITH (fillfactor = 10);
