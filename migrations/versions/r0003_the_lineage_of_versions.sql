-- The tables that revision 0003 makes anew, frozen.

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
