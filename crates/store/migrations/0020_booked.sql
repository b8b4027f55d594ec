-- Whoever was paid by what a recovery has lost is let go when two people say that it is booked.
ALTER TABLE word DROP CONSTRAINT word_known;
ALTER TABLE word ADD CONSTRAINT word_known CHECK (subject = 'hold' AND says IN ('paid', 'not_paid')
  OR subject = 'movement' AND says = 'confirm' OR subject = 'contest' AND says = 'clear'
  OR subject = 'person' AND says IN ('add', 'revoke', 'replace') OR subject = 'recovery' AND says = 'recover'
  OR subject = 'control' AND says = 'booked') NOT VALID;
-- What they have seen booked, so that two who have seen different payments do not agree.
ALTER TABLE word DROP CONSTRAINT word_refers;
ALTER TABLE word ADD CONSTRAINT word_refers CHECK ((says IN ('paid', 'booked')) = (reference <> '')) NOT VALID;
