-- What an import makes to take one commission back, a clawback of a sale or a sale of a clawback, names it here: it is
-- due with that one, and with no other of the same order.
ALTER TABLE commission ADD COLUMN takes_back text COLLATE "C";
