-- What became of a request that carried an idempotency key: which events of which job it added. Not the answer itself:
-- the answer is a fold of that prefix and can be given again. last_version < first_version: it added nothing.

CREATE TABLE idempotency (
    account_id integer NOT NULL,
    key text NOT NULL CONSTRAINT idempotency_key_length CHECK (length(key) BETWEEN 1 AND 255),
    digest bytea NOT NULL CONSTRAINT idempotency_digest_is_sha256 CHECK (octet_length(digest) = 32),
    job bigint NOT NULL,
    first_version integer NOT NULL,
    last_version integer NOT NULL,
    position bigint NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT idempotency_pkey PRIMARY KEY (account_id, key)
);

CREATE TRIGGER idempotency_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON idempotency
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_rewrite();
REVOKE UPDATE, DELETE, TRUNCATE ON idempotency FROM PUBLIC, CURRENT_USER;
