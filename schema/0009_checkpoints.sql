-- What makes a log provable to whoever trusts nobody here: a key of its own that signs where the log ends.
--
-- The key is made when it is first asked for and never changes. name is the key's name in a signed note, and the log's
-- origin. seed is the private key (RFC 8032): whoever can read this table can sign, so a checkpoint that is kept
-- elsewhere proves what was the case when it was signed, and nothing about what is signed later.
--
-- accounts.began_as is the name that the account's chain began under, where that is another than its own: a restored
-- log keeps its hashes. An account without a row in heads is one whose log is still being restored; nobody sees it.

CREATE TABLE signing_keys (
    account_id integer CONSTRAINT signing_keys_pkey PRIMARY KEY
        CONSTRAINT signing_keys_account_exists REFERENCES accounts,
    name text NOT NULL CONSTRAINT signing_keys_name_shape CHECK (name ~ '^[!-*,-~]+$'),
    seed bytea NOT NULL CONSTRAINT signing_keys_seed_is_ed25519 CHECK (octet_length(seed) = 32),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TRIGGER signing_keys_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON signing_keys
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_rewrite();

ALTER TABLE accounts ADD COLUMN began_as text;
