-- A database that was restored from a backup, or a standby that was promoted without the last confirmed writes, does not know what was sent. Programs
-- remember outside of it the last intents that they have seen (see `generation.rs`): a database without one of them is behind.

-- For programs that look which intents are the newest, to remember them.
CREATE INDEX attempt_newest ON attempt (opened_at);

-- What is remembered is of one generation of the database, and counts as long as that is the newest. Each recovery begins another one.
CREATE TABLE generation (
  no       int PRIMARY KEY CHECK (no > 0),
  -- The first one's names the installation. Of a database that has runs it follows from them, so that a backup from before this table has the same.
  key      uuid NOT NULL UNIQUE,
  began_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO generation (no, key) VALUES (1, coalesce((SELECT key FROM run ORDER BY id LIMIT 1), gen_random_uuid()));
CREATE TRIGGER generation_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON generation FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The database was found to be behind, or people say so. While one is open nothing is planned, sent or freed.
CREATE TABLE recovery (
  id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  -- Which program, and what it misses here.
  found_by  text NOT NULL,
  words     text NOT NULL,
  -- Since when all that is open counts as perhaps sent.
  doubted_at timestamptz,
  -- The generation that it ended with, as two people agreed.
  closed_at timestamptz,
  generation int UNIQUE REFERENCES generation,
  decided_by bigint UNIQUE REFERENCES word,
  CONSTRAINT recovery_decided CHECK ((closed_at IS NULL) = (generation IS NULL) AND (closed_at IS NULL) = (decided_by IS NULL)),
  CONSTRAINT recovery_doubts_first CHECK (closed_at IS NULL OR doubted_at IS NOT NULL)
);
CREATE UNIQUE INDEX recovery_open ON recovery ((true)) WHERE closed_at IS NULL;

ALTER TABLE word DROP CONSTRAINT word_known;
ALTER TABLE word ADD CONSTRAINT word_known CHECK (subject = 'hold' AND says IN ('paid', 'not_paid') OR subject = 'movement' AND says = 'confirm'
  OR subject = 'contest' AND says = 'clear' OR subject = 'person' AND says IN ('add', 'revoke', 'replace') OR subject = 'recovery' AND says = 'recover') NOT VALID;
