-- How long a lease and a wait are, beside when they end by the server's clock. After a failover that clock may be behind the one that promised, and what was
-- promised would count for longer by as much: nobody would touch a batch whose worker is dead, or that waits to be tried again. What is older than this
-- has no length: such a lease is left as it is, and such a wait is looked at once more.
ALTER TABLE batch ADD COLUMN lease_length interval CHECK (lease_length >= '0'), ADD COLUMN available_in interval CHECK (available_in >= '0');
