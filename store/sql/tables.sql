-- The tables of a reflexd store, as they are now. Times are UTC integer milliseconds. JSON columns hold JSON text.
-- A change here needs a revision in migrations/versions that brings an older store to the same text.

CREATE TABLE source (
  -- A memory that is watched. A removed source keeps its row, and what was learnt from it.
  id           INTEGER PRIMARY KEY,
  kind         TEXT NOT NULL,           -- node-link, graphml, ...
  path         TEXT NOT NULL,
  added_at     INTEGER NOT NULL,
  removed_at   INTEGER,                 -- set: no longer watched
  cursor       TEXT,                    -- JSON: how far it was read; commits with the rows it produced
  last_read_at INTEGER,
  last_error   TEXT,                    -- why the last reading failed; NULL when it went well
  CONSTRAINT one_source_a_path UNIQUE (kind, path),
  CONSTRAINT source_cursor_is_json CHECK (cursor IS NULL OR json_valid(cursor))
) STRICT;

CREATE TABLE episode (
  -- direction -> response -> outcome, as a source tells it. Never deleted: what vanished from every source has gone_at.
  id           TEXT PRIMARY KEY,        -- sha256 of source, native ids and texts
  session      TEXT NOT NULL,
  direction_id TEXT NOT NULL,
  direction    TEXT NOT NULL,           -- what the human asked for
  response     TEXT NOT NULL,           -- what the agent then said or proposed
  outcome      TEXT NOT NULL,
  signal       TEXT NOT NULL,           -- what told us the outcome
  weight       REAL NOT NULL,
  pairable     INTEGER NOT NULL,        -- 0: evidence that must never make a pair
  source_ref   TEXT NOT NULL,           -- where it stands in its source
  ts           INTEGER NOT NULL,        -- when it happened
  words        TEXT NOT NULL DEFAULT '',-- the human's own words about the outcome
  seen_at      INTEGER NOT NULL,
  gone_at      INTEGER,
  CONSTRAINT episode_has_id CHECK (id <> ''),
  CONSTRAINT episode_outcome_known CHECK (outcome IN ('accepted', 'rejected', 'corrected', 'neutral')),
  CONSTRAINT episode_weight_in_range CHECK (weight BETWEEN 0 AND 1),
  CONSTRAINT episode_pairable_is_flag CHECK (pairable IN (0, 1))
) STRICT;

CREATE TABLE episode_source (
  -- Which sources tell an episode now; two copies of one memory tell the same episodes.
  episode_id TEXT NOT NULL REFERENCES episode (id),
  source_id  INTEGER NOT NULL REFERENCES source (id),
  PRIMARY KEY (episode_id, source_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX episodes_of_source ON episode_source (source_id);

CREATE TABLE episode_label (
  -- The pole of a behaviour that an episode's response shows, and how that is known.
  episode_id     TEXT NOT NULL REFERENCES episode (id),
  behaviour      TEXT NOT NULL,         -- may name a behaviour that is not configured (yet)
  pole           TEXT NOT NULL,
  method         TEXT NOT NULL,         -- marker (the source says so), rule, model
  method_version TEXT NOT NULL,
  weight         REAL NOT NULL,
  PRIMARY KEY (episode_id, behaviour, method),
  CONSTRAINT label_pole_known CHECK (pole IN ('positive', 'negative')),
  CONSTRAINT label_method_known CHECK (method IN ('marker', 'rule', 'model')),
  CONSTRAINT label_weight_in_range CHECK (weight BETWEEN 0 AND 1)
) STRICT, WITHOUT ROWID;

CREATE TABLE behaviour (
  -- A named pattern over episodes with two poles.
  name          TEXT PRIMARY KEY,
  description   TEXT NOT NULL,
  positive      TEXT NOT NULL,
  negative      TEXT NOT NULL,
  positive_cues TEXT NOT NULL,          -- JSON list of regular expressions
  negative_cues TEXT NOT NULL,
  version       TEXT NOT NULL,
  origin        TEXT NOT NULL,          -- who defines it
  updated_at    INTEGER NOT NULL,
  CONSTRAINT behaviour_cues_are_json CHECK (json_valid(positive_cues) AND json_valid(negative_cues)),
  CONSTRAINT behaviour_origin_known CHECK (origin IN ('builtin', 'config', 'graph'))
) STRICT;

CREATE TABLE session_split (
  -- The side of the split on which all pairs of a session lie. Once set, for ever.
  session TEXT PRIMARY KEY,
  split   TEXT NOT NULL,
  set_at  INTEGER NOT NULL,
  CONSTRAINT split_known CHECK (split IN ('train', 'validation', 'test'))
) STRICT;

CREATE TABLE pair (
  -- A positive and a negative response to the same, or a matched, direction.
  id         TEXT PRIMARY KEY,          -- sha256 of behaviour, prompt and both responses
  behaviour  TEXT NOT NULL REFERENCES behaviour (name),
  prompt     TEXT NOT NULL,             -- JSON: a string, or a list of chat messages
  positive   TEXT NOT NULL,
  negative   TEXT NOT NULL,
  session    TEXT NOT NULL REFERENCES session_split (session),
  weight     REAL NOT NULL,
  mined_at   INTEGER NOT NULL,
  gone_at    INTEGER,                   -- its evidence vanished; it comes back when the evidence does
  dropped_at INTEGER,                   -- a person dropped it; mining does not bring it back
  actor      TEXT NOT NULL DEFAULT 'reflexd',
  CONSTRAINT pair_prompt_is_json CHECK (json_valid(prompt)),
  CONSTRAINT pair_poles_differ CHECK (positive <> negative),
  CONSTRAINT pair_weight_in_range CHECK (weight > 0 AND weight <= 1)
) STRICT;
CREATE INDEX pairs_of_behaviour ON pair (behaviour);

CREATE TABLE pair_episode (
  -- The evidence behind a pair.
  pair_id    TEXT NOT NULL REFERENCES pair (id),
  pole       TEXT NOT NULL,
  episode_id TEXT NOT NULL REFERENCES episode (id),
  PRIMARY KEY (pair_id, pole),
  CONSTRAINT evidence_pole_known CHECK (pole IN ('positive', 'negative'))
) STRICT, WITHOUT ROWID;

CREATE TABLE model (
  -- Weights that vectors are extracted from, or that a training produced.
  digest          TEXT PRIMARY KEY,     -- of the weights
  name            TEXT NOT NULL,
  path            TEXT NOT NULL,
  hidden_size     INTEGER NOT NULL,
  n_layers        INTEGER NOT NULL,
  template_digest TEXT NOT NULL,        -- of the chat template
  root_digest     TEXT NOT NULL REFERENCES model (digest),  -- the weights that all trainings began from; itself for those
  parent_digest   TEXT REFERENCES model (digest),           -- the weights that this training began from
  job_id          INTEGER REFERENCES training_job (id),     -- the training that made it
  added_at        INTEGER NOT NULL,
  current         INTEGER NOT NULL DEFAULT 0,               -- 1: the weights to serve, and to train next
  current_since   INTEGER,
  CONSTRAINT model_has_shape CHECK (hidden_size > 0 AND n_layers > 0),
  CONSTRAINT model_current_is_flag CHECK (current IN (0, 1)),
  CONSTRAINT model_root_has_no_parent CHECK ((parent_digest IS NULL) = (root_digest = digest))
) STRICT;
CREATE UNIQUE INDEX one_current_model ON model (current) WHERE current = 1;

CREATE TABLE vector_blob (
  -- The numbers of a vector, addressed by their content. Never changed, never deleted.
  sha256   TEXT PRIMARY KEY,
  dtype    TEXT NOT NULL,
  n_layers INTEGER NOT NULL,
  dim      INTEGER NOT NULL,
  data     BLOB NOT NULL,               -- matrix (n_layers, dim), row by row, float32 little-endian
  CONSTRAINT blob_is_addressed CHECK (length(sha256) = 64),
  CONSTRAINT blob_dtype_known CHECK (dtype = 'float32-le'),
  CONSTRAINT blob_has_shape CHECK (n_layers > 0 AND dim > 0),
  CONSTRAINT blob_length_fits CHECK (length(data) = 4 * n_layers * dim)
) STRICT;

CREATE TABLE vector_version (
  -- One extraction for a behaviour and a model. New evidence makes a new version, never a changed one.
  --
  --   candidate -> extracted -> verified -> promoted -> retired
  --       +------------+--> rejected        promoted -> verified  (its job failed for good, or was cancelled)
  --   candidate, extracted, verified, promoted -> superseded | withdrawn
  --
  -- promoted: exactly while an open job exists. retired: exactly when its job is trained. Both moves follow the job.
  id            INTEGER PRIMARY KEY,
  behaviour     TEXT NOT NULL REFERENCES behaviour (name),
  version       INTEGER NOT NULL,
  model_digest  TEXT NOT NULL REFERENCES model (digest),
  root_digest   TEXT NOT NULL REFERENCES model (digest),
  pairs_digest  TEXT NOT NULL,          -- of the evidence
  recipe        TEXT NOT NULL,          -- JSON: how it is extracted
  state         TEXT NOT NULL DEFAULT 'candidate',
  blob_sha256   TEXT REFERENCES vector_blob (sha256),
  parent_id     INTEGER REFERENCES vector_version (id),     -- the version before it
  lineage       TEXT NOT NULL,          -- JSON: code, data and model it came from
  layer         INTEGER,                -- 0-based block output, chosen on validation pairs
  dose          REAL,                   -- in units of the layer's median residual norm
  coefficient   REAL,                   -- multiplies the vector as stored
  effect        REAL,                   -- nats a token on test pairs
  effect_low    REAL,
  effect_high   REAL,
  reason        TEXT,                   -- why it was rejected or withdrawn
  superseded_by INTEGER REFERENCES vector_version (id),
  state_since   INTEGER NOT NULL,
  created_at    INTEGER NOT NULL,
  actor         TEXT NOT NULL DEFAULT 'reflexd',            -- who made the last move
  CONSTRAINT one_row_a_version UNIQUE (behaviour, version),
  CONSTRAINT one_version_an_evidence UNIQUE (behaviour, root_digest, pairs_digest, recipe),
  CONSTRAINT served_points_here UNIQUE (id, behaviour, root_digest),
  CONSTRAINT version_counts_from_one CHECK (version >= 1),
  CONSTRAINT vector_state_known CHECK (state IN (
    'candidate', 'extracted', 'verified', 'promoted', 'retired', 'rejected', 'superseded', 'withdrawn')),
  CONSTRAINT recipe_is_json CHECK (json_valid(recipe)),
  CONSTRAINT lineage_is_json CHECK (json_valid(lineage)),
  CONSTRAINT candidate_has_no_blob CHECK (state <> 'candidate' OR blob_sha256 IS NULL),
  CONSTRAINT blob_after_extract CHECK (
    blob_sha256 IS NOT NULL OR state IN ('candidate', 'rejected', 'superseded', 'withdrawn')),
  CONSTRAINT numbers_after_verify CHECK (state NOT IN ('verified', 'promoted', 'retired') OR (
    layer IS NOT NULL AND dose IS NOT NULL AND coefficient IS NOT NULL
    AND effect IS NOT NULL AND effect_low IS NOT NULL AND effect_high IS NOT NULL)),
  CONSTRAINT layer_counts_from_zero CHECK (layer >= 0),
  CONSTRAINT dose_does_something CHECK (dose <> 0),
  CONSTRAINT interval_is_ordered CHECK (effect_low <= effect_high),
  CONSTRAINT refusal_says_why CHECK (state NOT IN ('rejected', 'withdrawn') OR coalesce(reason, '') <> ''),
  CONSTRAINT superseded_iff_by CHECK ((state = 'superseded') = (superseded_by IS NOT NULL)),
  CONSTRAINT superseded_by_another CHECK (superseded_by <> id)
) STRICT;
CREATE INDEX vectors_in_state ON vector_version (state);

CREATE TABLE vector_pair (
  -- The evidence of a version, as it was at its extraction, with the side on which each pair lay. Never changed.
  vector_id INTEGER NOT NULL REFERENCES vector_version (id),
  pair_id   TEXT NOT NULL REFERENCES pair (id),
  split     TEXT NOT NULL,
  PRIMARY KEY (vector_id, pair_id),
  CONSTRAINT vector_pair_split_known CHECK (split IN ('train', 'validation', 'test'))
) STRICT, WITHOUT ROWID;

CREATE TABLE verification (
  -- The proof of a version, or its refusal: one row a version, never changed.
  vector_id INTEGER PRIMARY KEY REFERENCES vector_version (id),
  verdict   TEXT NOT NULL,
  report    TEXT NOT NULL,              -- JSON: every number that was measured
  at        INTEGER NOT NULL,
  CONSTRAINT verdict_known CHECK (verdict IN ('verified', 'refused')),
  CONSTRAINT report_is_json CHECK (json_valid(report))
) STRICT;

CREATE TABLE training_job (
  -- The training queue. An insert promotes its vector; the row that says `trained` retires it, in the same statement.
  --
  --   awaiting_approval -> queued -> training -> trained
  --          |               ^ |         +-> queued     (rescued, released at shutdown, or to be tried again)
  --          |               | |         +-> failed     (attempts used up, or a fault that will not pass)
  --          +---------------|-+---------+-> cancelled  (by a person, or with its vector)
  --                          +- a retry is a new row
  id                INTEGER PRIMARY KEY AUTOINCREMENT,
  vector_id         INTEGER NOT NULL REFERENCES vector_version (id),
  state             TEXT NOT NULL DEFAULT 'awaiting_approval',
  attempt           INTEGER NOT NULL DEFAULT 0,   -- charged when it is claimed
  max_attempts      INTEGER NOT NULL DEFAULT 3,
  available_at      INTEGER NOT NULL,             -- not claimed before
  lease_owner       TEXT,                         -- who trains it now: host, boot, process
  lease_token       INTEGER NOT NULL DEFAULT 0,   -- grows with each claim; only the holder of the newest may write
  lease_expires_at  INTEGER,
  milestone         INTEGER NOT NULL DEFAULT 0,   -- newest durable checkpoint, over all attempts
  milestone_at      INTEGER,
  claimed_milestone INTEGER NOT NULL DEFAULT 0,   -- what it was when the running attempt began
  result            TEXT,                         -- JSON: what training measured
  weights_digest    TEXT REFERENCES model (digest),
  error             TEXT,                         -- why it last failed, was put back or cancelled
  state_since       INTEGER NOT NULL,
  created_at        INTEGER NOT NULL,
  finalized_at      INTEGER,
  actor             TEXT NOT NULL DEFAULT 'reflexd',
  CONSTRAINT job_state_known CHECK (state IN (
    'awaiting_approval', 'queued', 'training', 'trained', 'failed', 'cancelled')),
  CONSTRAINT attempt_in_range CHECK (max_attempts >= 1 AND attempt BETWEEN 0 AND max_attempts),
  CONSTRAINT queued_has_attempts_left CHECK (state NOT IN ('awaiting_approval', 'queued') OR attempt < max_attempts),
  CONSTRAINT training_is_charged CHECK (state NOT IN ('training', 'trained', 'failed') OR attempt >= 1),
  CONSTRAINT leased_iff_training CHECK (
    (state = 'training') = (lease_owner IS NOT NULL) AND (lease_owner IS NULL) = (lease_expires_at IS NULL)),
  CONSTRAINT finalized_iff_final CHECK (
    (finalized_at IS NULL) = (state IN ('awaiting_approval', 'queued', 'training'))),
  CONSTRAINT result_iff_trained CHECK (
    (state = 'trained') = (weights_digest IS NOT NULL) AND (state <> 'trained' OR result IS NOT NULL)
    AND (result IS NULL OR state IN ('trained', 'failed'))),
  CONSTRAINT result_is_json CHECK (result IS NULL OR json_valid(result)),
  CONSTRAINT failure_says_why CHECK (state NOT IN ('failed', 'cancelled') OR coalesce(error, '') <> ''),
  CONSTRAINT milestone_in_range CHECK (milestone >= claimed_milestone AND claimed_milestone >= 0)
) STRICT;
CREATE UNIQUE INDEX one_open_job_a_vector ON training_job (vector_id)
  WHERE state IN ('awaiting_approval', 'queued', 'training');
CREATE INDEX claim_order ON training_job (available_at, id) WHERE state = 'queued';

CREATE TABLE training_attempt (
  -- How each attempt ended, written by a trigger when it does. Never changed.
  job_id      INTEGER NOT NULL REFERENCES training_job (id),
  lease_token INTEGER NOT NULL,
  attempt     INTEGER NOT NULL,         -- its number when it was claimed
  owner       TEXT NOT NULL,
  started_at  INTEGER NOT NULL,
  ended_at    INTEGER NOT NULL,
  became      TEXT NOT NULL,            -- the job's state after it
  charged     INTEGER NOT NULL,         -- 0: given back, for it moved forward or was told to stop
  milestone   INTEGER NOT NULL,
  reason      TEXT,
  PRIMARY KEY (job_id, lease_token)
) STRICT, WITHOUT ROWID;

CREATE TABLE served (
  -- What servers are told to add. One version for a behaviour and a family of weights.
  vector_id   INTEGER PRIMARY KEY,
  behaviour   TEXT NOT NULL,
  root_digest TEXT NOT NULL,
  dose        REAL NOT NULL,
  coefficient REAL NOT NULL,
  enabled     INTEGER NOT NULL,         -- 0: listed, but switched off
  since       INTEGER NOT NULL,         -- of the last change
  actor       TEXT NOT NULL DEFAULT 'reflexd',
  CONSTRAINT one_served_version UNIQUE (behaviour, root_digest),
  CONSTRAINT served_is_a_version FOREIGN KEY (vector_id, behaviour, root_digest)
    REFERENCES vector_version (id, behaviour, root_digest),
  CONSTRAINT served_enabled_is_flag CHECK (enabled IN (0, 1))
) STRICT;

CREATE TABLE tick (
  -- How each periodic look of the daemon went last.
  name          TEXT PRIMARY KEY,
  last_ok_at    INTEGER,
  last_error_at INTEGER,
  last_error    TEXT,                   -- NULL once it goes well again
  failures      INTEGER NOT NULL DEFAULT 0                  -- in a row
) STRICT;

CREATE TABLE event (
  -- What happened, in order. Written by triggers; append-only.
  seq         INTEGER PRIMARY KEY AUTOINCREMENT,
  at          INTEGER NOT NULL,
  subject     TEXT NOT NULL,
  subject_id  ANY NOT NULL,             -- vector and served: vector_version.id; job: training_job.id; pair, model: their ids
  was         TEXT,                     -- NULL: its beginning
  now         TEXT NOT NULL,
  attempt     INTEGER,
  lease_token INTEGER,
  actor       TEXT NOT NULL,
  detail      TEXT,                     -- JSON
  CONSTRAINT event_subject_known CHECK (subject IN ('vector', 'job', 'served', 'pair', 'model')),
  CONSTRAINT event_detail_is_json CHECK (detail IS NULL OR json_valid(detail))
) STRICT;
CREATE INDEX events_of_subject ON event (subject, subject_id);

CREATE TABLE legal_move (
  -- The two state machines as rows. Any other move is refused.
  subject TEXT NOT NULL,
  was     TEXT NOT NULL,
  now     TEXT NOT NULL,
  PRIMARY KEY (subject, was, now)
) STRICT, WITHOUT ROWID;

INSERT INTO legal_move (subject, was, now) VALUES
  ('vector', 'candidate', 'extracted'),
  ('vector', 'candidate', 'rejected'),
  ('vector', 'candidate', 'superseded'),
  ('vector', 'candidate', 'withdrawn'),
  ('vector', 'extracted', 'verified'),
  ('vector', 'extracted', 'rejected'),
  ('vector', 'extracted', 'superseded'),
  ('vector', 'extracted', 'withdrawn'),
  ('vector', 'verified', 'promoted'),
  ('vector', 'verified', 'superseded'),
  ('vector', 'verified', 'withdrawn'),
  ('vector', 'promoted', 'retired'),
  ('vector', 'promoted', 'verified'),
  ('vector', 'promoted', 'superseded'),
  ('vector', 'promoted', 'withdrawn'),
  ('job', 'awaiting_approval', 'queued'),
  ('job', 'awaiting_approval', 'cancelled'),
  ('job', 'queued', 'training'),
  ('job', 'queued', 'cancelled'),
  ('job', 'training', 'trained'),
  ('job', 'training', 'queued'),
  ('job', 'training', 'failed'),
  ('job', 'training', 'cancelled');
