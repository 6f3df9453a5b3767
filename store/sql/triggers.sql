-- The rules that hold whatever program writes. Dropped before every upgrade, created after it, in one transaction.
-- RAISE takes only literal text before SQLite 3.47, and people open this file with older shells.
-- INSERT OR REPLACE deletes without asking a DELETE trigger, so what must stay is guarded at INSERT as well.

-- ---------------------------------------------------------------- vector_version: birth and moves

CREATE TRIGGER vector_born_candidate BEFORE INSERT ON vector_version WHEN NEW.state <> 'candidate'
BEGIN SELECT RAISE(ABORT, 'a vector version begins as candidate'); END;

CREATE TRIGGER vector_born_once BEFORE INSERT ON vector_version
WHEN EXISTS (SELECT 1 FROM vector_version WHERE id = NEW.id OR (behaviour = NEW.behaviour AND version = NEW.version)
  OR (behaviour = NEW.behaviour AND root_digest = NEW.root_digest
      AND pairs_digest = NEW.pairs_digest AND recipe = NEW.recipe))
BEGIN SELECT RAISE(ABORT, 'this version, or a version from the same evidence, exists already'); END;

CREATE TRIGGER vector_born_known BEFORE INSERT ON vector_version
WHEN NOT EXISTS (SELECT 1 FROM behaviour WHERE name = NEW.behaviour)
  OR NOT EXISTS (SELECT 1 FROM model WHERE digest = NEW.model_digest AND root_digest = NEW.root_digest)
BEGIN SELECT RAISE(ABORT, 'a vector version needs a known behaviour, a known model and the root of that model'); END;

CREATE TRIGGER vector_legal BEFORE UPDATE OF state ON vector_version
WHEN NEW.state <> OLD.state
  AND NOT EXISTS (SELECT 1 FROM legal_move WHERE subject = 'vector' AND was = OLD.state AND now = NEW.state)
BEGIN SELECT RAISE(ABORT, 'illegal vector move; SELECT * FROM legal_move shows the legal ones'); END;

CREATE TRIGGER vector_extract_needs_blob BEFORE UPDATE OF state ON vector_version
WHEN NEW.state = 'extracted' AND OLD.state = 'candidate'
  AND NOT EXISTS (SELECT 1 FROM vector_blob WHERE sha256 = NEW.blob_sha256)
BEGIN SELECT RAISE(ABORT, 'a vector version is extracted only with its numbers in vector_blob'); END;

CREATE TRIGGER vector_verify_needs_proof BEFORE UPDATE OF state ON vector_version
WHEN NEW.state = 'verified' AND OLD.state = 'extracted'
  AND NOT EXISTS (SELECT 1 FROM verification WHERE vector_id = OLD.id AND verdict = 'verified')
BEGIN SELECT RAISE(ABORT, 'a vector is verified only with its proof in verification'); END;

CREATE TRIGGER vector_promote_needs_job BEFORE UPDATE OF state ON vector_version
WHEN NEW.state = 'promoted' AND OLD.state <> 'promoted' AND NOT EXISTS (SELECT 1 FROM training_job
  WHERE vector_id = OLD.id AND state IN ('awaiting_approval', 'queued', 'training'))
BEGIN SELECT RAISE(ABORT, 'a vector is promoted only by its training job; insert the job instead'); END;

CREATE TRIGGER vector_demote_needs_no_job BEFORE UPDATE OF state ON vector_version
WHEN NEW.state = 'verified' AND OLD.state = 'promoted' AND EXISTS (SELECT 1 FROM training_job
  WHERE vector_id = OLD.id AND state IN ('awaiting_approval', 'queued', 'training'))
BEGIN SELECT RAISE(ABORT, 'a promoted vector is in the queue; cancel its job instead'); END;

CREATE TRIGGER vector_retire_needs_training BEFORE UPDATE OF state ON vector_version
WHEN NEW.state = 'retired' AND OLD.state <> 'retired'
  AND NOT EXISTS (SELECT 1 FROM training_job WHERE vector_id = OLD.id AND state = 'trained')
BEGIN SELECT RAISE(ABORT, 'a vector retires only when its training is recorded'); END;

CREATE TRIGGER vector_superseded_by_known BEFORE UPDATE OF superseded_by ON vector_version
WHEN NEW.superseded_by IS NOT NULL AND NOT EXISTS (SELECT 1 FROM vector_version
  WHERE id = NEW.superseded_by AND behaviour = OLD.behaviour)
BEGIN SELECT RAISE(ABORT, 'a vector is superseded by a version of the same behaviour'); END;

-- ---------------------------------------------------------------- vector_version: what never changes

CREATE TRIGGER vector_identity_frozen BEFORE UPDATE ON vector_version
WHEN NEW.id <> OLD.id OR NEW.behaviour <> OLD.behaviour OR NEW.version <> OLD.version
  OR NEW.model_digest <> OLD.model_digest OR NEW.root_digest <> OLD.root_digest
  OR NEW.pairs_digest <> OLD.pairs_digest OR NEW.recipe <> OLD.recipe
  OR NEW.parent_id IS NOT OLD.parent_id OR NEW.created_at <> OLD.created_at
BEGIN SELECT RAISE(ABORT, 'what a vector version was made for never changes; a new extraction is a new version'); END;

CREATE TRIGGER vector_frozen BEFORE UPDATE ON vector_version
WHEN OLD.state <> 'candidate' AND (NEW.blob_sha256 IS NOT OLD.blob_sha256 OR NEW.lineage <> OLD.lineage)
BEGIN SELECT RAISE(ABORT, 'an extracted version never changes'); END;

CREATE TRIGGER vector_numbers_frozen BEFORE UPDATE ON vector_version
WHEN NOT (OLD.state = 'extracted' AND NEW.state = 'verified') AND (
  NEW.layer IS NOT OLD.layer OR NEW.dose IS NOT OLD.dose OR NEW.coefficient IS NOT OLD.coefficient
  OR NEW.effect IS NOT OLD.effect OR NEW.effect_low IS NOT OLD.effect_low OR NEW.effect_high IS NOT OLD.effect_high)
BEGIN SELECT RAISE(ABORT, 'the numbers of a vector are written once, when it is verified'); END;

CREATE TRIGGER vector_reason_frozen BEFORE UPDATE ON vector_version
WHEN (OLD.reason IS NOT NULL AND NEW.reason IS NOT OLD.reason)
  OR (OLD.superseded_by IS NOT NULL AND NEW.superseded_by IS NOT OLD.superseded_by)
BEGIN SELECT RAISE(ABORT, 'the reason of a move never changes'); END;

CREATE TRIGGER vector_no_delete BEFORE DELETE ON vector_version
BEGIN SELECT RAISE(ABORT, 'a vector version is never deleted; withdraw it instead'); END;

-- ---------------------------------------------------------------- vector_version: what follows from a birth or a move
-- An event bears the time of the row. A person who types a move and leaves state_since alone gets the machine's time.

CREATE TRIGGER vector_born AFTER INSERT ON vector_version
BEGIN
  INSERT INTO event (at, subject, subject_id, was, now, actor, detail)
  VALUES (NEW.created_at, 'vector', NEW.id, NULL, NEW.state, NEW.actor, json_object('pairs', NEW.pairs_digest));
END;

CREATE TRIGGER vector_moved AFTER UPDATE OF state ON vector_version WHEN NEW.state <> OLD.state
BEGIN
  INSERT INTO event (at, subject, subject_id, was, now, actor, detail)
  VALUES (
    CASE WHEN NEW.state_since <> OLD.state_since THEN NEW.state_since
      ELSE CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) END,
    'vector', NEW.id, OLD.state, NEW.state, NEW.actor,
    CASE
      WHEN NEW.state = 'extracted' THEN json_object('sha256', NEW.blob_sha256)
      WHEN NEW.state = 'verified' AND OLD.state = 'extracted' THEN json_object(
        'layer', NEW.layer, 'dose', NEW.dose, 'effect', NEW.effect,
        'interval', json_array(NEW.effect_low, NEW.effect_high))
      WHEN NEW.state = 'verified' THEN json_object('reason', (
        SELECT error FROM training_job WHERE vector_id = NEW.id ORDER BY id DESC LIMIT 1))
      WHEN NEW.state IN ('rejected', 'withdrawn') THEN json_object('reason', NEW.reason)
      WHEN NEW.state = 'superseded' THEN json_object('by', (
        SELECT behaviour || '@' || version FROM vector_version WHERE id = NEW.superseded_by))
    END);
  UPDATE training_job
    SET state = 'cancelled', error = 'its vector was ' || NEW.state, finalized_at = NEW.state_since,
      state_since = NEW.state_since, lease_owner = NULL, lease_expires_at = NULL, actor = NEW.actor
    WHERE vector_id = NEW.id AND NEW.state IN ('superseded', 'withdrawn')
      AND state IN ('awaiting_approval', 'queued', 'training');
  UPDATE served SET since = NEW.state_since, actor = NEW.actor
    WHERE vector_id = NEW.id AND NEW.state IN ('superseded', 'withdrawn');
  DELETE FROM served WHERE vector_id = NEW.id AND NEW.state IN ('superseded', 'withdrawn');
END;

-- ---------------------------------------------------------------- training_job: birth and moves

CREATE TRIGGER job_born_waiting BEFORE INSERT ON training_job
WHEN NEW.state NOT IN ('awaiting_approval', 'queued') OR NEW.attempt <> 0 OR NEW.lease_token <> 0 OR NEW.milestone <> 0
BEGIN SELECT RAISE(ABORT, 'a training job begins as awaiting_approval or queued, at attempt 0'); END;

CREATE TRIGGER job_born_once BEFORE INSERT ON training_job
WHEN EXISTS (SELECT 1 FROM training_job WHERE id = NEW.id
  OR (vector_id = NEW.vector_id AND state IN ('awaiting_approval', 'queued', 'training')))
BEGIN SELECT RAISE(ABORT, 'this vector is in the queue already'); END;

CREATE TRIGGER job_born_verified BEFORE INSERT ON training_job
WHEN NOT EXISTS (SELECT 1 FROM vector_version WHERE id = NEW.vector_id AND state = 'verified')
BEGIN SELECT RAISE(ABORT, 'only a verified vector can be queued for training'); END;

CREATE TRIGGER job_legal BEFORE UPDATE OF state ON training_job
WHEN NEW.state <> OLD.state
  AND NOT EXISTS (SELECT 1 FROM legal_move WHERE subject = 'job' AND was = OLD.state AND now = NEW.state)
BEGIN SELECT RAISE(ABORT, 'illegal job move; SELECT * FROM legal_move shows the legal ones'); END;

CREATE TRIGGER job_claim_charges BEFORE UPDATE OF state ON training_job
WHEN OLD.state = 'queued' AND NEW.state = 'training' AND (NEW.attempt <> OLD.attempt + 1
  OR NEW.lease_token <> OLD.lease_token + 1 OR NEW.claimed_milestone <> OLD.milestone)
BEGIN SELECT RAISE(ABORT, 'a claim charges one attempt, takes the next token and notes the milestone'); END;

CREATE TRIGGER job_trained_has_weights BEFORE UPDATE OF state ON training_job
WHEN NEW.state = 'trained' AND OLD.state <> 'trained'
  AND NOT EXISTS (SELECT 1 FROM model WHERE digest = NEW.weights_digest AND parent_digest IS NOT NULL)
BEGIN SELECT RAISE(ABORT, 'a job is trained only when the weights it made are in model'); END;

-- ---------------------------------------------------------------- training_job: what never changes, never falls

CREATE TRIGGER job_identity_frozen BEFORE UPDATE ON training_job
WHEN NEW.id <> OLD.id OR NEW.vector_id <> OLD.vector_id OR NEW.created_at <> OLD.created_at
BEGIN SELECT RAISE(ABORT, 'what a job was made for never changes'); END;

CREATE TRIGGER job_final_frozen BEFORE UPDATE ON training_job WHEN OLD.finalized_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a finished job never changes; a retry is a new job'); END;

CREATE TRIGGER job_token_never_falls BEFORE UPDATE OF lease_token ON training_job
WHEN NEW.lease_token < OLD.lease_token
BEGIN SELECT RAISE(ABORT, 'a fencing token never falls'); END;

CREATE TRIGGER job_milestone_never_falls BEFORE UPDATE OF milestone ON training_job
WHEN NEW.milestone < OLD.milestone
BEGIN SELECT RAISE(ABORT, 'a milestone never falls'); END;

CREATE TRIGGER job_attempt_counts BEFORE UPDATE OF attempt ON training_job
WHEN NEW.attempt <> OLD.attempt AND NOT (OLD.state = 'queued' AND NEW.state = 'training')
  AND NOT (OLD.state = 'training' AND NEW.state = 'queued' AND NEW.attempt = OLD.attempt - 1)
BEGIN SELECT RAISE(ABORT, 'an attempt is charged at a claim and given back only when a training goes back to the queue');
END;

CREATE TRIGGER job_no_delete BEFORE DELETE ON training_job
BEGIN SELECT RAISE(ABORT, 'a training job is never deleted; cancel it instead'); END;

-- ---------------------------------------------------------------- training_job: what follows from a birth or a move

CREATE TRIGGER job_born AFTER INSERT ON training_job
BEGIN
  INSERT INTO event (at, subject, subject_id, was, now, attempt, lease_token, actor)
  VALUES (NEW.created_at, 'job', NEW.id, NULL, NEW.state, NEW.attempt, NEW.lease_token, NEW.actor);
  UPDATE vector_version SET state = 'promoted', state_since = NEW.state_since, actor = NEW.actor
    WHERE id = NEW.vector_id;
END;

CREATE TRIGGER job_moved AFTER UPDATE OF state ON training_job WHEN NEW.state <> OLD.state
BEGIN
  INSERT INTO event (at, subject, subject_id, was, now, attempt, lease_token, actor, detail)
  VALUES (
    CASE WHEN NEW.state_since <> OLD.state_since THEN NEW.state_since
      ELSE CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) END,
    'job', NEW.id, OLD.state, NEW.state, NEW.attempt, NEW.lease_token, NEW.actor,
    CASE
      WHEN NEW.state = 'trained' THEN json_object('weights', NEW.weights_digest)
      WHEN NEW.error IS NOT NULL AND NEW.state <> 'training' THEN json_object('reason', NEW.error)
    END);
  INSERT INTO training_attempt
    (job_id, lease_token, attempt, owner, started_at, ended_at, became, charged, milestone, reason)
  SELECT NEW.id, OLD.lease_token, OLD.attempt, OLD.lease_owner, OLD.state_since, NEW.state_since, NEW.state,
    NEW.attempt = OLD.attempt, NEW.milestone, NEW.error
  WHERE OLD.state = 'training';
  UPDATE vector_version SET state = 'retired', state_since = NEW.state_since, actor = NEW.actor
    WHERE id = NEW.vector_id AND NEW.state = 'trained';
  UPDATE vector_version SET state = 'verified', state_since = NEW.state_since, actor = NEW.actor
    WHERE id = NEW.vector_id AND state = 'promoted' AND NEW.state IN ('failed', 'cancelled');
END;

-- ---------------------------------------------------------------- rows that are written once

CREATE TRIGGER event_no_update BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'event is append-only'); END;
CREATE TRIGGER event_no_delete BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'event is append-only'); END;
CREATE TRIGGER event_no_replace BEFORE INSERT ON event WHEN EXISTS (SELECT 1 FROM event WHERE seq >= NEW.seq AND NEW.seq > 0)
BEGIN SELECT RAISE(ABORT, 'event is append-only'); END;

CREATE TRIGGER blob_no_update BEFORE UPDATE ON vector_blob
BEGIN SELECT RAISE(ABORT, 'the numbers of a vector never change'); END;
CREATE TRIGGER blob_no_delete BEFORE DELETE ON vector_blob
BEGIN SELECT RAISE(ABORT, 'the numbers of a vector are never deleted'); END;
CREATE TRIGGER blob_no_replace BEFORE INSERT ON vector_blob
WHEN EXISTS (SELECT 1 FROM vector_blob WHERE sha256 = NEW.sha256)
BEGIN SELECT RAISE(ABORT, 'the numbers of a vector never change'); END;

CREATE TRIGGER verification_while_extracted BEFORE INSERT ON verification
WHEN NOT EXISTS (SELECT 1 FROM vector_version WHERE id = NEW.vector_id AND state IN ('candidate', 'extracted'))
  OR EXISTS (SELECT 1 FROM verification WHERE vector_id = NEW.vector_id)
BEGIN SELECT RAISE(ABORT, 'a vector is verified once, while it is extracted'); END;
CREATE TRIGGER verification_no_update BEFORE UPDATE ON verification
BEGIN SELECT RAISE(ABORT, 'a verification never changes'); END;
CREATE TRIGGER verification_no_delete BEFORE DELETE ON verification
BEGIN SELECT RAISE(ABORT, 'a verification is never deleted'); END;

CREATE TRIGGER vector_pair_while_candidate BEFORE INSERT ON vector_pair
WHEN NOT EXISTS (SELECT 1 FROM vector_version WHERE id = NEW.vector_id AND state = 'candidate')
  OR NOT EXISTS (SELECT 1 FROM pair WHERE id = NEW.pair_id)
  OR EXISTS (SELECT 1 FROM vector_pair WHERE vector_id = NEW.vector_id AND pair_id = NEW.pair_id)
BEGIN SELECT RAISE(ABORT, 'the evidence of a vector is written once, while it is a candidate'); END;
CREATE TRIGGER vector_pair_no_update BEFORE UPDATE ON vector_pair
BEGIN SELECT RAISE(ABORT, 'the evidence of a vector never changes'); END;
CREATE TRIGGER vector_pair_no_delete BEFORE DELETE ON vector_pair
BEGIN SELECT RAISE(ABORT, 'the evidence of a vector is never deleted'); END;

CREATE TRIGGER attempt_of_a_job BEFORE INSERT ON training_attempt
WHEN NOT EXISTS (SELECT 1 FROM training_job WHERE id = NEW.job_id AND lease_token >= NEW.lease_token)
  OR EXISTS (SELECT 1 FROM training_attempt WHERE job_id = NEW.job_id AND lease_token = NEW.lease_token)
BEGIN SELECT RAISE(ABORT, 'an attempt is written once, when it ends'); END;
CREATE TRIGGER attempt_no_update BEFORE UPDATE ON training_attempt
BEGIN SELECT RAISE(ABORT, 'an attempt that ended never changes'); END;
CREATE TRIGGER attempt_no_delete BEFORE DELETE ON training_attempt
BEGIN SELECT RAISE(ABORT, 'an attempt that ended is never deleted'); END;

CREATE TRIGGER legal_move_no_insert BEFORE INSERT ON legal_move
BEGIN SELECT RAISE(ABORT, 'the state machines change only with a release'); END;
CREATE TRIGGER legal_move_no_update BEFORE UPDATE ON legal_move
BEGIN SELECT RAISE(ABORT, 'the state machines change only with a release'); END;
CREATE TRIGGER legal_move_no_delete BEFORE DELETE ON legal_move
BEGIN SELECT RAISE(ABORT, 'the state machines change only with a release'); END;

CREATE TRIGGER split_set_once BEFORE INSERT ON session_split
WHEN EXISTS (SELECT 1 FROM session_split WHERE session = NEW.session AND split <> NEW.split)
BEGIN SELECT RAISE(ABORT, 'the split of a session never changes'); END;
CREATE TRIGGER split_no_update BEFORE UPDATE ON session_split
WHEN NEW.session <> OLD.session OR NEW.split <> OLD.split
BEGIN SELECT RAISE(ABORT, 'the split of a session never changes'); END;
CREATE TRIGGER split_no_delete BEFORE DELETE ON session_split
BEGIN SELECT RAISE(ABORT, 'the split of a session never changes'); END;

-- ---------------------------------------------------------------- pairs, models, what is served

CREATE TRIGGER pair_content_frozen BEFORE UPDATE ON pair
WHEN NEW.id <> OLD.id OR NEW.behaviour <> OLD.behaviour OR NEW.prompt <> OLD.prompt
  OR NEW.positive <> OLD.positive OR NEW.negative <> OLD.negative
BEGIN SELECT RAISE(ABORT, 'the content of a pair never changes; drop it, and another content is another pair'); END;

CREATE TRIGGER pair_dropped AFTER UPDATE OF dropped_at ON pair WHEN (NEW.dropped_at IS NULL) <> (OLD.dropped_at IS NULL)
BEGIN
  INSERT INTO event (at, subject, subject_id, was, now, actor)
  VALUES (coalesce(NEW.dropped_at, CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)),
    'pair', NEW.id, CASE WHEN OLD.dropped_at IS NULL THEN 'kept' ELSE 'dropped' END,
    CASE WHEN NEW.dropped_at IS NULL THEN 'kept' ELSE 'dropped' END, NEW.actor);
END;

CREATE TRIGGER model_frozen BEFORE UPDATE ON model
WHEN NEW.digest <> OLD.digest OR NEW.hidden_size <> OLD.hidden_size OR NEW.n_layers <> OLD.n_layers
  OR NEW.root_digest <> OLD.root_digest OR NEW.parent_digest IS NOT OLD.parent_digest OR NEW.job_id IS NOT OLD.job_id
BEGIN SELECT RAISE(ABORT, 'what weights are never changes; other weights are another model'); END;

CREATE TRIGGER model_no_delete BEFORE DELETE ON model
BEGIN SELECT RAISE(ABORT, 'a model is never deleted: vectors and trainings refer to it'); END;

CREATE TRIGGER model_current AFTER UPDATE OF current ON model WHEN NEW.current <> OLD.current AND NEW.current = 1
BEGIN
  INSERT INTO event (at, subject, subject_id, was, now, actor, detail)
  VALUES (coalesce(NEW.current_since, NEW.added_at), 'model', NEW.digest, 'known', 'current', 'reflexd',
    json_object('name', NEW.name));
END;

CREATE TRIGGER served_needs_proof BEFORE INSERT ON served
WHEN NOT EXISTS (SELECT 1 FROM vector_version WHERE id = NEW.vector_id AND behaviour = NEW.behaviour
  AND root_digest = NEW.root_digest AND state IN ('verified', 'promoted', 'retired'))
BEGIN SELECT RAISE(ABORT, 'only a verified vector is served'); END;

CREATE TRIGGER served_identity_frozen BEFORE UPDATE ON served
WHEN NEW.vector_id <> OLD.vector_id OR NEW.behaviour <> OLD.behaviour OR NEW.root_digest <> OLD.root_digest
BEGIN SELECT RAISE(ABORT, 'serve another version by its own row'); END;

CREATE TRIGGER served_begins AFTER INSERT ON served
BEGIN
  INSERT INTO event (at, subject, subject_id, was, now, actor, detail)
  VALUES (NEW.since, 'served', NEW.vector_id, NULL, CASE NEW.enabled WHEN 1 THEN 'on' ELSE 'off' END, NEW.actor,
    json_object('dose', NEW.dose, 'coefficient', NEW.coefficient));
END;

CREATE TRIGGER served_changes AFTER UPDATE OF dose, coefficient, enabled ON served
WHEN NEW.enabled <> OLD.enabled OR NEW.dose <> OLD.dose OR NEW.coefficient <> OLD.coefficient
BEGIN
  INSERT INTO event (at, subject, subject_id, was, now, actor, detail)
  VALUES (
    CASE WHEN NEW.since <> OLD.since THEN NEW.since
      ELSE CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) END,
    'served', NEW.vector_id, CASE OLD.enabled WHEN 1 THEN 'on' ELSE 'off' END,
    CASE NEW.enabled WHEN 1 THEN 'on' ELSE 'off' END, NEW.actor,
    json_object('dose', NEW.dose, 'coefficient', NEW.coefficient, 'dose_before', OLD.dose));
END;

CREATE TRIGGER served_ends AFTER DELETE ON served
BEGIN
  INSERT INTO event (at, subject, subject_id, was, now, actor)
  VALUES (OLD.since, 'served', OLD.vector_id, CASE OLD.enabled WHEN 1 THEN 'on' ELSE 'off' END, 'gone', OLD.actor);
END;
