-- An account is a wall: one log, one count of jobs, one set of keys, and no row anywhere that belongs to two of them.
--
-- heads holds one row an account: the end of its log. The row is locked until commit by whoever appends, so the order
-- of positions is the order of commits, and a transaction that rolls back leaves no hole. It is apart from accounts,
-- and mostly empty pages, because it is the one row that every append rewrites.

CREATE TABLE accounts (
    account_id integer GENERATED ALWAYS AS IDENTITY CONSTRAINT accounts_pkey PRIMARY KEY,
    name text NOT NULL
        CONSTRAINT accounts_name_is_taken UNIQUE
        CONSTRAINT accounts_name_shape CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    settings jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE heads (
    account_id integer CONSTRAINT heads_pkey PRIMARY KEY
        CONSTRAINT heads_account_exists REFERENCES accounts,
    position bigint NOT NULL DEFAULT 0 CONSTRAINT heads_position_counts CHECK (position >= 0),
    jobs bigint NOT NULL DEFAULT 0 CONSTRAINT heads_jobs_counts CHECK (jobs >= 0),
    hash bytea NOT NULL CONSTRAINT heads_hash_is_sha256 CHECK (octet_length(hash) = 32),
    at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10);

-- A key is shown once; only its SHA-256 is kept. key_id is its public part and finds it.
CREATE TABLE keys (
    key_id text CONSTRAINT keys_pkey PRIMARY KEY,
    account_id integer NOT NULL CONSTRAINT keys_account_exists REFERENCES accounts,
    name text NOT NULL,
    scope text NOT NULL CONSTRAINT keys_scope_is_known CHECK (scope IN ('read', 'write', 'admin')),
    hash bytea NOT NULL CONSTRAINT keys_hash_is_sha256 CHECK (octet_length(hash) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
CREATE UNIQUE INDEX keys_name_is_taken ON keys (account_id, name) WHERE revoked_at IS NULL;
