-- Personal data can be taken out of the log, and nothing else can: an event that was erased keeps its row, its place
-- and its hash.
--
-- events.erased is the SHA-256 that the payload had when it was recorded, null where it still is that payload. data is
-- then what remains of it. The chain covers a payload by its digest only, so it holds as before.
--
-- This is the one way past the append-only trigger, and it leaves a trace: in the transaction that also appends, as the
-- job's last event, one of type 'erased'. Such an event is never erased itself. What remains of a payload are members
-- that it had, to the byte; nothing can be put in their place.
--
-- The planner's statistics quote values. Nobody searches by what was said, so none are kept of it; to give a column its
-- own type again is what lets go of those that there were.
--
-- jobs.erased is the version of the job's last erasure. Whoever writes a memo of a fold locks the row and looks, so no
-- memo of what was erased is written after it.

ALTER TABLE events ADD COLUMN erased bytea CONSTRAINT events_erased_is_sha256 CHECK (octet_length(erased) = 32);
ALTER TABLE jobs ADD COLUMN erased integer NOT NULL DEFAULT 0
    CONSTRAINT jobs_erased_counts CHECK (erased BETWEEN 0 AND version);

ALTER TABLE events ALTER COLUMN data TYPE text, ALTER COLUMN data SET STATISTICS 0;
ALTER TABLE jobs ALTER COLUMN state TYPE text, ALTER COLUMN state SET STATISTICS 0;
ALTER TABLE views ALTER COLUMN memo TYPE text, ALTER COLUMN memo SET STATISTICS 0;

CREATE FUNCTION refuse_to_rewrite_but_erase() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.type <> 'erased'
        AND NEW.erased IS NOT DISTINCT FROM coalesce(OLD.erased, sha256(convert_to(OLD.data, 'UTF8')))
        AND NOT EXISTS (
            SELECT FROM json_each(NEW.data::json) AS kept
            WHERE kept.value::text IS DISTINCT FROM (OLD.data::json -> kept.key)::text
        )
        AND EXISTS (
            SELECT FROM (
                SELECT type, xmin FROM events
                WHERE account_id = OLD.account_id AND job = OLD.job ORDER BY version DESC LIMIT 1
            ) AS last WHERE last.type = 'erased' AND last.xmin = pg_current_xact_id()::xid
        )
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'jobstore: % is append-only', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation', HINT = 'What was recorded stays recorded, or is erased: jobstore erase.';
END
$$;

DROP TRIGGER events_are_append_only ON events;
CREATE TRIGGER events_are_append_only
    BEFORE UPDATE OF account_id, position, job, version, type, at, by, trace, hash OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_rewrite();
CREATE TRIGGER events_are_erased_only BEFORE UPDATE OF data, erased ON events
    FOR EACH ROW EXECUTE FUNCTION refuse_to_rewrite_but_erase();

GRANT UPDATE (data, erased) ON events TO CURRENT_USER;
