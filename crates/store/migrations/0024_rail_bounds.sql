-- What plans must know of rails: amounts that a rail or an account cannot be told are excluded, and not refused later.

-- The largest single payment of an account by currency, as the file of funding accounts says it that a worker was started
-- with last. What the rail itself allows is in the build.
CREATE TABLE account_limit (
  rail      text NOT NULL,
  account   text NOT NULL,
  currency  char(3) NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
  max_minor bigint NOT NULL CHECK (max_minor > 0),
  PRIMARY KEY (rail, account, currency)
);

-- Two more reasons. NOT VALID: what is there satisfies the narrower rule that this replaces.
ALTER TABLE exclusion DROP CONSTRAINT exclusion_reason_check;
ALTER TABLE exclusion
  ADD CONSTRAINT exclusion_reason_check CHECK (reason IN ('balance_out_of_range', 'negative_balance', 'below_minimum', 'on_hold', 'contested',
    'no_method', 'method_unusable', 'no_rail', 'kind_unsupported', 'currency_unsupported', 'outside_limits', 'amount_uneven')) NOT VALID;
