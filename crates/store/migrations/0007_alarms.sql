-- What must not be, and has happened to money all the same. A run that is open is paused by it and does not go on before a person has answered for each;
-- of a run that is over it is told until then.
CREATE TABLE alarm (
  id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id int NOT NULL,
  run_id    bigint NOT NULL,
  -- Absent: it is about the whole run.
  payout_id bigint CHECK (payout_id >> 32 = run_id),
  kind      text NOT NULL CHECK (kind IN ('double_payment', 'paid_again', 'paid_unsent', 'uncountable', 'out_of_balance')),
  -- What is known of it, such as the references of both payments.
  words     text NOT NULL,
  raised_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  FOREIGN KEY (tenant_id, run_id) REFERENCES run (tenant_id, id)
);
-- The same news about a payout, however often it comes, is one alarm. Words may be longer than an index takes.
CREATE UNIQUE INDEX alarm_once ON alarm (payout_id, kind, md5(words)) WHERE payout_id IS NOT NULL;
CREATE INDEX alarm_of ON alarm (run_id, id);

-- Who has looked, when, and what they say of it.
CREATE TABLE alarm_answer (
  alarm_id    bigint PRIMARY KEY REFERENCES alarm,
  person_id   int NOT NULL REFERENCES person,
  words       text NOT NULL CHECK (words <> ''),
  answered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TRIGGER alarm_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON alarm FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER alarm_answer_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON alarm_answer
  FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Alarms that nobody has answered.
CREATE VIEW alarm_open AS
  SELECT a.* FROM alarm a WHERE NOT EXISTS (SELECT FROM alarm_answer w WHERE w.alarm_id = a.id);
