-- Funding accounts that can pay nothing for now: asked at each intent, by all workers. A row is there from the first time on that something was wrong with an
-- account, so there are few, and none where all is well. Additive: a program that does not know of it sends, and is told by the rail.
CREATE TABLE funding_stop (
  rail        text COLLATE "C" NOT NULL CHECK (rail <> ''),
  account     text COLLATE "C" NOT NULL CHECK (account <> ''),
  -- Rails keep a balance for each currency. Empty is all of the account.
  currency    text COLLATE "C" NOT NULL DEFAULT '' CHECK (currency = '' OR currency ~ '^[A-Z]{3}$'),
  -- Of the stop that is, or of the last one that was.
  reason      text CHECK (reason IN ('no_funds', 'credential_refused', 'restricted', 'many_unknown')),
  -- Since when nothing is sent; it pays where there is none.
  stopped_at  timestamptz,
  -- When and by whom it was let go on last; by a batch that was paid, if nobody is named.
  resumed_at  timestamptz,
  resumed_by  int REFERENCES person,
  -- Batches that were sent in vain to find out, and from when on the next one may be.
  probes      int NOT NULL DEFAULT 0 CHECK (probes >= 0),
  probe_at    timestamptz,
  -- The one that is on its way, and until when nobody else's is.
  probe_batch bigint,
  probe_until timestamptz,
  -- Calls since the first one, lately, whose outcome is unknown.
  window_from timestamptz,
  calls       bigint NOT NULL DEFAULT 0,
  unknown     bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (rail, account, currency),
  CONSTRAINT funding_stop_reason CHECK (stopped_at IS NULL OR reason IS NOT NULL AND probe_at IS NOT NULL),
  CONSTRAINT funding_stop_scope CHECK (reason IS NULL OR (reason = 'no_funds') = (currency <> '')),
  CONSTRAINT funding_stop_probe CHECK ((probe_batch IS NULL) = (probe_until IS NULL) AND (probe_batch IS NULL OR stopped_at IS NOT NULL)),
  CONSTRAINT funding_stop_window CHECK (unknown BETWEEN 0 AND calls AND (window_from IS NOT NULL OR calls = 0))
);
