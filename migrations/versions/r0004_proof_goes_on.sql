-- The tables that revision 0004 makes, or makes anew, frozen.

CREATE TABLE served (                 -- what inference servers are told
  vector_id INTEGER PRIMARY KEY REFERENCES vector_version (id) ON DELETE RESTRICT,
  dose REAL NOT NULL,
  coefficient REAL NOT NULL,
  enabled INTEGER NOT NULL CONSTRAINT served_enabled CHECK (enabled IN (0, 1)),
  changed_at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  reason TEXT                         -- why reflexd itself switched it off; NULL again when a person decides
) STRICT;

CREATE TABLE recheck (                -- a served version measured again, since something changed; append-only
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  vector_id INTEGER NOT NULL REFERENCES vector_version (id) ON DELETE RESTRICT,
  at INTEGER NOT NULL,
  because TEXT NOT NULL,              -- what changed
  evidence TEXT NOT NULL CONSTRAINT recheck_evidence_json CHECK (json_valid(evidence)),   -- weights, template, ids of test pairs
  verdict TEXT NOT NULL CONSTRAINT recheck_verdict CHECK (verdict IN ('holds', 'fails')),
  reason TEXT,                        -- why it fails; it was switched off then
  effect REAL NOT NULL, effect_low REAL NOT NULL, effect_high REAL NOT NULL,   -- nats a token, as at its proof
  kl_p95 REAL NOT NULL,               -- neutral KL, nats
  report TEXT NOT NULL CONSTRAINT recheck_report_json CHECK (json_valid(report)),
  CONSTRAINT fails_with_reason CHECK ((verdict = 'fails') = (reason IS NOT NULL))
) STRICT;
CREATE INDEX recheck_of ON recheck (vector_id, id);

CREATE TABLE combination (            -- several vectors measured together: interference, joint doses
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  model_digest TEXT NOT NULL REFERENCES model (digest),
  members TEXT NOT NULL CONSTRAINT combination_members_json CHECK (json_valid(members)),   -- ["listening@3", …]
  report TEXT NOT NULL CONSTRAINT combination_report_json CHECK (json_valid(report))
) STRICT;
