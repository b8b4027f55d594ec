-- What the destinations of a method are, when two of them are the same payee's, and which a rail has refused for ever.

-- What a tenant has said of its methods. Of the others it follows from their names (`DestinationKind::of_method`).
CREATE TABLE tenant_method (
  tenant_id int NOT NULL REFERENCES tenant,
  method    text NOT NULL CHECK (method ~ '^[a-z0-9][a-z0-9_-]{0,31}$'),
  kind      text NOT NULL CHECK (kind IN
    ('email', 'iban', 'paypal-id', 'phone', 'stripe-account', 'wise-recipient', 'us-bank', 'opaque')),
  PRIMARY KEY (tenant_id, method)
);

-- A destination is kept and sent as it was written from now on; what is there, in small letters most often, is kept and
-- sent as it is.
ALTER TABLE payout_method
  -- The form that its kind compares; NULL is the destination itself.
  ADD COLUMN compared text CONSTRAINT payout_method_compared_check CHECK (compared <> ''),
  -- The rail's code of the refusal after which no plan uses it.
  ADD COLUMN unusable_code text,
  ADD CONSTRAINT payout_method_unusable CHECK (unusable_code IS NULL OR NOT usable);

-- Account numbers of methods that no version has compared without spaces yet, in the form of their kind. Where an
-- affiliate has one twice so, the second is left as it is.
UPDATE payout_method m SET compared = upper(replace(m.destination, ' ', ''))
 WHERE m.method IN ('iban', 'bank') AND upper(replace(m.destination, ' ', '')) <> m.destination
   AND NOT EXISTS (
     SELECT FROM payout_method o
      WHERE o.affiliate_id = m.affiliate_id AND o.method = m.method AND o.retired_at IS NULL AND o.id < m.id
        AND upper(replace(o.destination, ' ', '')) = upper(replace(m.destination, ' ', '')));

-- An affiliate has a destination once, however it is written.
CREATE UNIQUE INDEX payout_method_once_compared
  ON payout_method (affiliate_id, method, (coalesce(compared, destination))) WHERE retired_at IS NULL;
DROP INDEX payout_method_once;
ALTER INDEX payout_method_once_compared RENAME TO payout_method_once;
