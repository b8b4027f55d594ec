-- People, known by tokens, and what they say: what frees money needs the same word of two of them.

CREATE TABLE person (
  id         int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       text NOT NULL CHECK (name = btrim(name) AND name <> ''),
  -- The name as it is compared, in one letter case. It is nobody else's ever again: who was revoked cannot come back as
  -- a second person.
  name_key   text NOT NULL UNIQUE CHECK (name_key = btrim(name_key) AND name_key <> ''),
  role       text NOT NULL CHECK (role IN ('viewer', 'operator', 'approver', 'administrator')),
  -- Absent: of all tenants.
  tenant_id  int REFERENCES tenant,
  -- The SHA-256 of the token, which is shown once and kept by nobody here.
  token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32),
  added_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  revoked_at timestamptz
);

-- Every word of a person, in the order in which they were said. What a word did is said with it: the first about a
-- subject proposes; the same of a second person agrees, and is carried out with it; another contradicts, and ends the
-- proposal. What one person may do alone is done alone.
CREATE TABLE word (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at          timestamptz NOT NULL DEFAULT clock_timestamp(),
  person_id   int NOT NULL REFERENCES person,
  -- Whose subject it is; absent, where it is of all tenants.
  tenant_id   int REFERENCES tenant,
  -- The table, and the row in it.
  subject     text NOT NULL,
  subject_id  bigint NOT NULL,
  says        text NOT NULL,
  -- What the word refers to, as the rail's name for a payment.
  reference   text NOT NULL DEFAULT '',
  effect      text NOT NULL CHECK (effect IN ('proposes', 'agrees', 'contradicts', 'alone')),
  -- The proposal that it agrees with or ends, and whose that was.
  answers     bigint UNIQUE,
  answered_by int,
  CONSTRAINT word_known CHECK (subject = 'hold' AND says IN ('paid', 'not_paid') OR subject = 'movement' AND says = 'confirm'
                               OR subject = 'contest' AND says = 'clear' OR subject = 'person' AND says IN ('add', 'revoke', 'replace')),
  CONSTRAINT word_refers CHECK ((says = 'paid') = (reference <> '')),
  CONSTRAINT word_alone CHECK ((effect = 'alone') = (subject = 'person')),
  CONSTRAINT word_answers CHECK ((effect IN ('agrees', 'contradicts')) = (answers IS NOT NULL)),
  CONSTRAINT word_answers_somebody CHECK ((answers IS NULL) = (answered_by IS NULL)),
  -- The same person twice is one person.
  CONSTRAINT word_of_two CHECK (effect <> 'agrees' OR answered_by <> person_id),
  UNIQUE (id, person_id, subject, subject_id),
  CONSTRAINT word_answers_fkey FOREIGN KEY (answers, answered_by, subject, subject_id) REFERENCES word (id, person_id, subject, subject_id)
);
CREATE INDEX word_about ON word (subject, subject_id, id);
CREATE TRIGGER word_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON word FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Proposals by names that were typed were nobody's in particular: those that are open end here, and no other is made.
-- What was decided so stays written.
UPDATE hold SET proposal = NULL, proposed_reference = NULL, proposed_by = NULL WHERE resolved_at IS NULL AND proposal IS NOT NULL;
ALTER TABLE hold
  ADD COLUMN decided_by bigint UNIQUE REFERENCES word,
  ADD CONSTRAINT hold_no_names CHECK (proposal IS NULL OR resolved_at IS NOT NULL),
  DROP CONSTRAINT hold_check4,
  ADD CONSTRAINT hold_decided CHECK (resolution NOT IN ('paid', 'not_paid') OR decided_by IS NOT NULL OR approved_by IS NOT NULL AND resolution = proposal),
  ADD CONSTRAINT hold_decided_only CHECK (decided_by IS NULL OR resolution IS NOT NULL AND resolution IN ('paid', 'not_paid'));
