-- The tables of a reflexd store. Times are UTC milliseconds; digests are sha256 in hexadecimal.
-- Look with the views (views.sql): queue, history, behaviours, vectors, pairs, waiting, serving, sources, unknown_records, health.

CREATE TABLE source (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL,                 -- claude-code, node-link, ...
  path TEXT NOT NULL,
  added_at INTEGER NOT NULL,
  removed_at INTEGER,                 -- no longer watched; what it taught is kept
  last_read_at INTEGER,
  last_error TEXT                     -- why the last look failed; NULL when it did not
) STRICT;

CREATE TABLE source_unit (            -- a file of a source, and how far it was read
  source_id INTEGER NOT NULL REFERENCES source (id) ON DELETE RESTRICT,
  unit TEXT NOT NULL,                 -- its path within the source; '' is the source as a whole
  cursor TEXT NOT NULL CONSTRAINT source_unit_cursor_json CHECK (json_valid(cursor)),  -- commits with the rows it produced
  read_at INTEGER NOT NULL,
  unknown TEXT NOT NULL DEFAULT '{}' CONSTRAINT source_unit_unknown_json CHECK (json_valid(unknown)),  -- {record type: how many}, over all reads
  problems INTEGER NOT NULL DEFAULT 0 CONSTRAINT source_unit_problems CHECK (problems >= 0),           -- left out in the last read
  last_problem TEXT,
  PRIMARY KEY (source_id, unit)
) STRICT;

CREATE TABLE node (                   -- the evidence graph: what the sources say, all of it
  id TEXT PRIMARY KEY,                -- first half of sha256(scope, NUL, native_key), so told twice it is one node
  source_id INTEGER NOT NULL REFERENCES source (id) ON DELETE RESTRICT,
  unit TEXT NOT NULL,                 -- who told it last in other words
  scope TEXT NOT NULL,                -- where native_key means one thing
  native_key TEXT NOT NULL,           -- its id within the scope
  native_id TEXT NOT NULL,            -- the id that people know: a record's uuid, a session's
  kind TEXT NOT NULL,                 -- direction, response, proposal, outcome, correction, session, ...
  text TEXT NOT NULL,
  ts INTEGER NOT NULL,                -- 0 when unknown
  actor TEXT NOT NULL,                -- human, agent, or ''
  attributes TEXT NOT NULL CONSTRAINT node_attributes_json CHECK (json_valid(attributes)),
  content_hash TEXT NOT NULL,         -- over all that its source says of it: what is told again unchanged is not written
  seen_at INTEGER NOT NULL,           -- when it was told so first
  gone_at INTEGER                     -- its source says it no more; never deleted
) STRICT;
CREATE INDEX node_of_unit ON node (source_id, unit, gone_at);

CREATE TABLE edge (                   -- src and dst are nodes; an end that is not there yet may come
  src TEXT NOT NULL,
  dst TEXT NOT NULL,
  kind TEXT NOT NULL,                 -- responds_to, proposes, accepted_by, rejected_by, follows, part_of, ...
  method TEXT NOT NULL,               -- how it is known: marker, a classifier's name, or ''
  method_version TEXT NOT NULL,       -- another version adds an edge beside the older one
  weight REAL NOT NULL CONSTRAINT edge_weight CHECK (weight BETWEEN 0 AND 1),
  ts INTEGER NOT NULL,                -- 0 when unknown
  attributes TEXT NOT NULL CONSTRAINT edge_attributes_json CHECK (json_valid(attributes)),
  source_id INTEGER NOT NULL REFERENCES source (id) ON DELETE RESTRICT,
  unit TEXT NOT NULL,
  seen_at INTEGER NOT NULL,
  gone_at INTEGER,
  PRIMARY KEY (src, kind, dst, method, method_version)
) STRICT, WITHOUT ROWID;
CREATE INDEX edge_back ON edge (dst, gone_at, kind, src);
CREATE INDEX edge_of_unit ON edge (source_id, unit, gone_at);

CREATE TABLE episode (                -- direction → response → outcome
  id TEXT PRIMARY KEY,
  source_id INTEGER NOT NULL REFERENCES source (id) ON DELETE RESTRICT,
  session TEXT NOT NULL,
  direction_id TEXT NOT NULL,
  direction TEXT NOT NULL,
  response TEXT NOT NULL,
  outcome TEXT NOT NULL CONSTRAINT episode_outcome CHECK (outcome IN ('accepted', 'rejected', 'corrected', 'neutral')),
  signal TEXT NOT NULL,               -- what said so: human_turn, tool_rejected_with_reason, ...
  weight REAL NOT NULL CONSTRAINT episode_weight CHECK (weight BETWEEN 0 AND 1),
  pairable INTEGER NOT NULL CONSTRAINT episode_pairable CHECK (pairable IN (0, 1)),
  source_ref TEXT NOT NULL,           -- where it stands: kind:file:place
  ts INTEGER NOT NULL,
  words TEXT NOT NULL,                -- what the human said
  response_node TEXT,                 -- the node of its response; NULL when it was read before there were nodes
  seen_at INTEGER NOT NULL,
  gone_at INTEGER                     -- vanished from its source; never deleted here
) STRICT;
CREATE INDEX episode_of_response ON episode (response_node, source_id) WHERE gone_at IS NULL;

CREATE TABLE episode_label (          -- which pole of a behaviour an episode's response shows
  episode_id TEXT NOT NULL REFERENCES episode (id) ON DELETE RESTRICT,
  behaviour TEXT NOT NULL,
  pole TEXT NOT NULL CONSTRAINT episode_label_pole CHECK (pole IN ('positive', 'negative')),
  method TEXT NOT NULL CONSTRAINT episode_label_method CHECK (method IN ('marker', 'rule', 'model')),
  method_version TEXT NOT NULL,       -- another version adds a row; the last one counts
  weight REAL NOT NULL,
  PRIMARY KEY (episode_id, behaviour, method, method_version)
) STRICT;

CREATE TABLE behaviour (
  name TEXT PRIMARY KEY,
  description TEXT NOT NULL,
  positive TEXT NOT NULL,
  negative TEXT NOT NULL,
  positive_cues TEXT NOT NULL CONSTRAINT behaviour_positive_json CHECK (json_valid(positive_cues)),
  negative_cues TEXT NOT NULL CONSTRAINT behaviour_negative_json CHECK (json_valid(negative_cues)),
  version TEXT NOT NULL,
  origin TEXT NOT NULL CONSTRAINT behaviour_origin CHECK (origin IN ('builtin', 'config', 'graph', 'adopted')),
  changed_at INTEGER NOT NULL
) STRICT;

CREATE TABLE proposed_behaviour (     -- found among corrections; does nothing until a person adopts it
  name TEXT PRIMARY KEY,
  description TEXT NOT NULL,
  positive_cues TEXT NOT NULL CONSTRAINT proposed_positive_json CHECK (json_valid(positive_cues)),
  negative_cues TEXT NOT NULL CONSTRAINT proposed_negative_json CHECK (json_valid(negative_cues)),
  evidence TEXT NOT NULL CONSTRAINT proposed_evidence_json CHECK (json_valid(evidence)),  -- episodes, example texts, scores
  proposed_at INTEGER NOT NULL,
  adopted_at INTEGER,
  dismissed_at INTEGER,
  CONSTRAINT proposed_decided_once CHECK (adopted_at IS NULL OR dismissed_at IS NULL)
) STRICT;

CREATE TABLE classifier (             -- which version of each judge has judged what is here
  name TEXT PRIMARY KEY,
  version TEXT NOT NULL,
  applied_at INTEGER NOT NULL
) STRICT;

CREATE TABLE session_split (          -- all pairs of a session lie on one side, for ever
  session TEXT PRIMARY KEY,
  split TEXT NOT NULL CONSTRAINT session_split_side CHECK (split IN ('train', 'validation', 'test')),
  set_at INTEGER NOT NULL
) STRICT;

CREATE TABLE pair (                   -- one positive and one negative response to the same direction
  id TEXT PRIMARY KEY,                -- sha256 of its content
  behaviour TEXT NOT NULL REFERENCES behaviour (name) ON DELETE RESTRICT,
  prompt TEXT NOT NULL CONSTRAINT pair_prompt_json CHECK (json_valid(prompt)),
  positive TEXT NOT NULL,
  negative TEXT NOT NULL,
  session TEXT NOT NULL REFERENCES session_split (session) ON DELETE RESTRICT,
  weight REAL NOT NULL CONSTRAINT pair_weight CHECK (weight > 0 AND weight <= 1),
  mined_at INTEGER NOT NULL,
  gone_at INTEGER,                    -- no longer mined from what the memory says
  dropped_at INTEGER,                 -- dropped by a person; stays dropped
  pinned_at INTEGER,                  -- pinned by a person; stays, whatever is mined
  changed_by TEXT,                    -- who dropped, pinned or unpinned it
  changed_at INTEGER,                 -- and when
  CONSTRAINT pair_pinned_or_dropped CHECK (pinned_at IS NULL OR dropped_at IS NULL)
) STRICT;

CREATE TABLE pair_episode (
  pair_id TEXT NOT NULL REFERENCES pair (id) ON DELETE RESTRICT,
  side TEXT NOT NULL CONSTRAINT pair_episode_side CHECK (side IN ('positive', 'negative')),
  episode_id TEXT NOT NULL REFERENCES episode (id) ON DELETE RESTRICT,
  PRIMARY KEY (pair_id, side)
) STRICT;

CREATE TABLE model (
  digest TEXT PRIMARY KEY CONSTRAINT model_digest CHECK (length(digest) = 64),
  name TEXT NOT NULL,
  path TEXT NOT NULL,
  hidden_size INTEGER NOT NULL CONSTRAINT model_width CHECK (hidden_size > 0),
  n_layers INTEGER NOT NULL CONSTRAINT model_depth CHECK (n_layers > 0),
  template_digest TEXT NOT NULL,      -- of tokenizer and chat template, as they were when it was last added
  root_digest TEXT NOT NULL REFERENCES model (digest),     -- the weights that training started from, first of all
  parent_digest TEXT REFERENCES model (digest),            -- the weights that the last training started from
  job_id INTEGER REFERENCES training_job (id),             -- the job that trained them
  added_at INTEGER NOT NULL,
  changed_at INTEGER,                 -- added again, with another path or template
  current INTEGER NOT NULL DEFAULT 0 CONSTRAINT model_current CHECK (current IN (0, 1)),
  CONSTRAINT model_trained CHECK ((parent_digest IS NULL) = (job_id IS NULL))
) STRICT;
CREATE UNIQUE INDEX one_current_model ON model (current) WHERE current = 1;

CREATE TABLE vector_blob (            -- content-addressed: float32 little-endian, (n_layers, dim), row-major
  sha256 TEXT PRIMARY KEY CONSTRAINT vector_blob_sha256 CHECK (length(sha256) = 64),
  dtype TEXT NOT NULL CONSTRAINT vector_blob_dtype CHECK (dtype = 'float32-le'),
  n_layers INTEGER NOT NULL CONSTRAINT vector_blob_layers CHECK (n_layers > 0),
  dim INTEGER NOT NULL CONSTRAINT vector_blob_dim CHECK (dim > 0),
  data BLOB NOT NULL,
  CONSTRAINT vector_blob_length CHECK (length(data) = 4 * n_layers * dim)
) STRICT;

CREATE TABLE vector_version (         -- one extraction for (behaviour, model); immutable once extracted
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  behaviour TEXT NOT NULL REFERENCES behaviour (name) ON DELETE RESTRICT,
  version INTEGER NOT NULL CONSTRAINT vector_version_number CHECK (version >= 1),
  model_digest TEXT NOT NULL REFERENCES model (digest),
  root_digest TEXT NOT NULL REFERENCES model (digest),
  template_digest TEXT NOT NULL,      -- the model's, when it was proposed
  pairs_digest TEXT NOT NULL,         -- sha256 over the ids of its pairs (vector_pair)
  recipe TEXT NOT NULL CONSTRAINT vector_version_recipe_json CHECK (json_valid(recipe)),
  state TEXT NOT NULL CONSTRAINT vector_version_state CHECK (state IN (
    'candidate',   -- evidence chosen            → extracted, rejected
    'extracted',   -- has its numbers            → verified, rejected
    'verified',    -- proved on held-out         → promoted (by its job), rejected
    'promoted',    -- has an open job            → retired (job trained), verified (job failed or cancelled)
    'retired',     -- lives in the weights       final
    'rejected',    -- reason says why            final
    'superseded',  -- superseded_by says by what final
    'withdrawn'    -- by a person                final
  )),
  blob_sha256 TEXT REFERENCES vector_blob (sha256),
  parent_id INTEGER REFERENCES vector_version (id),        -- the behaviour's version before, for the same root if there is one
  lineage TEXT NOT NULL CONSTRAINT vector_version_lineage_json CHECK (json_valid(lineage)),
  layer INTEGER, dose REAL, coefficient REAL,              -- operating point; dose in median residual norms
  effect REAL, effect_low REAL, effect_high REAL,          -- nats a token on test pairs, bootstrap interval
  reason TEXT,
  superseded_by INTEGER REFERENCES vector_version (id),
  stale_at INTEGER, stale_reason TEXT,                     -- a pair that fed it was dropped, or its model's files changed; it stays so
  state_since INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  CONSTRAINT vector_version_name UNIQUE (behaviour, version),
  CONSTRAINT blob_after_extraction CHECK (state IN ('candidate', 'rejected', 'superseded', 'withdrawn') OR blob_sha256 IS NOT NULL),
  CONSTRAINT numbers_after_proof CHECK (state NOT IN ('verified', 'promoted', 'retired') OR (layer IS NOT NULL AND dose IS NOT NULL AND effect IS NOT NULL)),
  CONSTRAINT rejected_with_reason CHECK (state <> 'rejected' OR reason IS NOT NULL),
  CONSTRAINT superseded_by_whom CHECK ((state = 'superseded') = (superseded_by IS NOT NULL)),
  CONSTRAINT stale_with_reason CHECK ((stale_at IS NULL) = (stale_reason IS NULL))
) STRICT;
CREATE INDEX version_of_evidence ON vector_version (behaviour, root_digest, pairs_digest);  -- vector_no_replace keeps it to one

CREATE TABLE vector_pair (            -- the evidence of a version, and on which side it was
  vector_id INTEGER NOT NULL REFERENCES vector_version (id) ON DELETE RESTRICT,
  pair_id TEXT NOT NULL REFERENCES pair (id) ON DELETE RESTRICT,
  split TEXT NOT NULL CONSTRAINT vector_pair_side CHECK (split IN ('train', 'validation', 'test')),
  PRIMARY KEY (vector_id, pair_id)
) STRICT;

CREATE TABLE verification (           -- the one measurement of a version; test pairs are used once
  vector_id INTEGER PRIMARY KEY REFERENCES vector_version (id) ON DELETE RESTRICT,
  at INTEGER NOT NULL,
  verdict TEXT NOT NULL CONSTRAINT verification_verdict CHECK (verdict IN ('verified', 'refused')),
  report TEXT NOT NULL CONSTRAINT verification_report_json CHECK (json_valid(report))
) STRICT;

CREATE TABLE training_job (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  vector_id INTEGER NOT NULL REFERENCES vector_version (id) ON DELETE RESTRICT,
  state TEXT NOT NULL CONSTRAINT training_job_state CHECK (state IN (
    'awaiting_approval',  -- a person decides          → queued, cancelled
    'queued',             -- waits for a worker        → training, cancelled
    'training',           -- leased                    → trained, queued (rescued, released, retried), failed, cancelled
    'trained',            -- its vector is retired     final
    'failed',             -- error says why            final; `reflexd retry` makes a new job
    'cancelled'           -- by a person               final
  )),
  attempt INTEGER NOT NULL DEFAULT 0,       -- charged when claimed
  max_attempts INTEGER NOT NULL,
  available_at INTEGER NOT NULL,            -- not to be claimed before
  lease_owner TEXT,                         -- host:boot:process
  lease_token INTEGER NOT NULL DEFAULT 0,   -- fencing token: grows with every claim, stands in every write
  lease_expires_at INTEGER,
  milestone INTEGER NOT NULL DEFAULT 0,     -- durable progress, over all attempts
  milestone_at_claim INTEGER NOT NULL DEFAULT 0,
  weights_digest TEXT REFERENCES model (digest) DEFERRABLE INITIALLY DEFERRED,
  result TEXT CONSTRAINT training_job_result_json CHECK (result IS NULL OR json_valid(result)),
  error TEXT,
  decided_by TEXT,                          -- who approved, cancelled or retried it
  created_at INTEGER NOT NULL,
  state_since INTEGER NOT NULL,
  finalized_at INTEGER,
  CONSTRAINT attempt_in_range CHECK (attempt BETWEEN 0 AND max_attempts),
  CONSTRAINT leased_iff_training CHECK ((state = 'training') = (lease_owner IS NOT NULL) AND (lease_owner IS NULL) = (lease_expires_at IS NULL)),
  CONSTRAINT finalized_iff_final CHECK ((finalized_at IS NULL) = (state IN ('awaiting_approval', 'queued', 'training'))),
  CONSTRAINT weights_iff_trained CHECK ((state = 'trained') = (weights_digest IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX one_open_job_a_vector ON training_job (vector_id) WHERE state IN ('awaiting_approval', 'queued', 'training', 'trained');
CREATE INDEX claim_order ON training_job (available_at, id) WHERE state = 'queued';

CREATE TABLE training_attempt (       -- how each attempt ended that did not end as trained
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  job_id INTEGER NOT NULL REFERENCES training_job (id) ON DELETE RESTRICT,
  lease_token INTEGER NOT NULL,
  at INTEGER NOT NULL,
  milestone INTEGER NOT NULL,
  charged INTEGER NOT NULL CONSTRAINT training_attempt_charged CHECK (charged IN (0, 1)),
  reason TEXT NOT NULL
) STRICT;

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

CREATE TABLE tick (                   -- the daemon's looks
  name TEXT PRIMARY KEY,
  last_ok_at INTEGER,
  last_error_at INTEGER,
  last_error TEXT                     -- NULL again after a look that went well
) STRICT;

CREATE TABLE legal_move (             -- the state machines, as rows; frozen
  subject TEXT NOT NULL CONSTRAINT legal_move_subject CHECK (subject IN ('vector', 'job')),
  was TEXT NOT NULL,
  now TEXT NOT NULL,
  PRIMARY KEY (subject, was, now)
) STRICT;

CREATE TABLE event (                  -- the history: filled by triggers, append-only
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  subject TEXT NOT NULL CONSTRAINT event_subject CHECK (subject IN ('vector', 'job', 'served', 'pair')),
  subject_id TEXT NOT NULL,
  name TEXT NOT NULL,                 -- listening@3
  was TEXT,
  now TEXT NOT NULL,
  attempt INTEGER,
  lease_token INTEGER,
  actor TEXT,
  detail TEXT CONSTRAINT event_detail_json CHECK (detail IS NULL OR json_valid(detail))
) STRICT;

INSERT INTO legal_move (subject, was, now) VALUES
  ('vector', 'candidate', 'extracted'), ('vector', 'candidate', 'rejected'), ('vector', 'candidate', 'superseded'), ('vector', 'candidate', 'withdrawn'),
  ('vector', 'extracted', 'verified'), ('vector', 'extracted', 'rejected'), ('vector', 'extracted', 'superseded'), ('vector', 'extracted', 'withdrawn'),
  ('vector', 'verified', 'promoted'), ('vector', 'verified', 'superseded'), ('vector', 'verified', 'withdrawn'),
  ('vector', 'promoted', 'retired'), ('vector', 'promoted', 'verified'),
  ('job', 'awaiting_approval', 'queued'), ('job', 'awaiting_approval', 'cancelled'),
  ('job', 'queued', 'training'), ('job', 'queued', 'cancelled'),
  ('job', 'training', 'trained'), ('job', 'training', 'queued'), ('job', 'training', 'failed'), ('job', 'training', 'cancelled');
