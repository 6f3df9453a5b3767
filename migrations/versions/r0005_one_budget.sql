-- The tables that revision 0005 makes anew, frozen.

CREATE TABLE recheck (                -- a served version measured again, since something changed; append-only
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  vector_id INTEGER NOT NULL REFERENCES vector_version (id) ON DELETE RESTRICT,
  at INTEGER NOT NULL,
  because TEXT NOT NULL,              -- what changed
  evidence TEXT NOT NULL CONSTRAINT recheck_evidence_json CHECK (json_valid(evidence)),   -- weights, template, ids of test pairs
  verdict TEXT NOT NULL CONSTRAINT recheck_verdict CHECK (verdict IN ('holds', 'fails')),
  reason TEXT,                        -- why it fails; it was switched off then
  effect REAL, effect_low REAL, effect_high REAL,   -- nats a token, as at its proof; NULL where they are no numbers
  kl_p95 REAL,                        -- neutral KL, nats
  report TEXT NOT NULL CONSTRAINT recheck_report_json CHECK (json_valid(report)),
  CONSTRAINT fails_with_reason CHECK ((verdict = 'fails') = (reason IS NOT NULL))
) STRICT;
CREATE INDEX recheck_of ON recheck (vector_id, id);

CREATE TABLE combination (            -- several vectors measured together: interference, joint doses; append-only
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  model_digest TEXT NOT NULL REFERENCES model (digest),
  members TEXT NOT NULL CONSTRAINT combination_members_json CHECK (json_valid(members)),   -- ["listening@3", …]
  asked TEXT CONSTRAINT combination_asked_json CHECK (asked IS NULL OR json_valid(asked)),   -- by reflexd, of what is on together: {"doses": {"listening@3": 0.28, …}, bars}; NULL: by a person
  scales TEXT CONSTRAINT combination_scales_json CHECK (scales IS NULL OR json_valid(scales)),   -- {"listening@3": 0.8, …}: servers get that much of those doses
  kl_p95 REAL,                        -- neutral KL of all together at the chosen doses, nats; NULL where it is no number
  reason TEXT,                        -- why these doses do not fit the budget of all together
  report TEXT NOT NULL CONSTRAINT combination_report_json CHECK (json_valid(report)),
  CONSTRAINT scales_of_what_was_asked CHECK ((asked IS NULL) = (scales IS NULL))
) STRICT;
CREATE INDEX combination_of ON combination (model_digest, id);
