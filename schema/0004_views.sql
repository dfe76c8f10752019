-- Memos of folds. A row may lag behind its job or be of another revision; readers fold what it lacks or ignore it.
-- So it is never wrong, and the whole table can be emptied at any time.

CREATE TABLE views (
    account_id integer NOT NULL,
    job bigint NOT NULL,
    format text NOT NULL,
    revision integer NOT NULL,
    version integer NOT NULL CONSTRAINT views_version_counts CHECK (version > 0),
    position bigint NOT NULL CONSTRAINT views_position_counts CHECK (position > 0),
    memo text NOT NULL,
    CONSTRAINT views_pkey PRIMARY KEY (account_id, job, format)
);
