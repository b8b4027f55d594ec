-- What a file says is known up to an instant of its own: only what the rail itself was asked for is `reaches_ours`, by which people may say that a payment
-- was not made. Until now a file moved that too, and an instant of the rail's clock was asked instead, which another clock may be ahead of.
ALTER TABLE rail_account
  ADD COLUMN file_reaches timestamptz NOT NULL DEFAULT '-infinity',
  ADD COLUMN file_asked_in pg_snapshot;
-- Which of the two it was is not known any more: what only a file can have said is the file's.
UPDATE rail_account SET file_reaches = reaches_ours, file_asked_in = asked_in, reaches_ours = least(reaches_ours, reaches_to)
 WHERE reaches_ours > reaches_to;
