-- What holds whatever program writes. Re-created after every migration. Needs SQLite 3.37 or newer.
-- The sqlite3 shell leaves foreign keys off, so what matters most is guarded here as well. INSERT OR REPLACE deletes a row
-- without asking its DELETE trigger, so a row that stays is guarded at INSERT too (the `_no_replace` triggers).

-- ---------------------------------------------------------------- the machines

CREATE TRIGGER vector_born_candidate BEFORE INSERT ON vector_version WHEN NEW.state <> 'candidate'
BEGIN SELECT RAISE(ABORT, 'a vector version begins as candidate'); END;

CREATE TRIGGER vector_moves_legally BEFORE UPDATE OF state ON vector_version
WHEN NEW.state <> OLD.state AND NOT EXISTS (SELECT 1 FROM legal_move WHERE subject = 'vector' AND was = OLD.state AND now = NEW.state)
BEGIN SELECT RAISE(ABORT, 'illegal move of a vector version; SELECT * FROM legal_move shows the legal ones'); END;

CREATE TRIGGER vector_promoted_with_job BEFORE UPDATE OF state ON vector_version
WHEN NEW.state = 'promoted' AND OLD.state <> 'promoted' AND NOT EXISTS
  (SELECT 1 FROM training_job WHERE vector_id = OLD.id AND state IN ('awaiting_approval', 'queued'))
BEGIN SELECT RAISE(ABORT, 'a vector is promoted by giving it a training job'); END;

CREATE TRIGGER vector_retired_with_training BEFORE UPDATE OF state ON vector_version
WHEN NEW.state = 'retired' AND OLD.state <> 'retired' AND NOT EXISTS
  (SELECT 1 FROM training_job WHERE vector_id = OLD.id AND state = 'trained')
BEGIN SELECT RAISE(ABORT, 'a vector retires when its training is recorded, and not otherwise'); END;

CREATE TRIGGER vector_back_without_job BEFORE UPDATE OF state ON vector_version
WHEN NEW.state = 'verified' AND OLD.state = 'promoted' AND EXISTS
  (SELECT 1 FROM training_job WHERE vector_id = OLD.id AND state IN ('awaiting_approval', 'queued', 'training', 'trained'))
BEGIN SELECT RAISE(ABORT, 'its training job is still open; cancel that first'); END;

CREATE TRIGGER vector_frozen BEFORE UPDATE OF id, behaviour, version, model_digest, root_digest, template_digest, pairs_digest, recipe, parent_id, created_at ON vector_version
WHEN NEW.id <> OLD.id OR NEW.behaviour <> OLD.behaviour OR NEW.version <> OLD.version OR NEW.model_digest <> OLD.model_digest
  OR NEW.root_digest <> OLD.root_digest OR NEW.template_digest <> OLD.template_digest OR NEW.pairs_digest <> OLD.pairs_digest OR NEW.recipe <> OLD.recipe
  OR NEW.parent_id IS NOT OLD.parent_id OR NEW.created_at <> OLD.created_at
BEGIN SELECT RAISE(ABORT, 'a version''s identity never changes'); END;

CREATE TRIGGER vector_extraction_frozen BEFORE UPDATE OF blob_sha256, lineage ON vector_version
WHEN OLD.blob_sha256 IS NOT NULL AND (NEW.blob_sha256 IS NOT OLD.blob_sha256 OR NEW.lineage <> OLD.lineage)
BEGIN SELECT RAISE(ABORT, 'an extracted version never changes'); END;

CREATE TRIGGER vector_stays_stale BEFORE UPDATE OF stale_at, stale_reason ON vector_version
WHEN OLD.stale_at IS NOT NULL AND (NEW.stale_at IS NOT OLD.stale_at OR NEW.stale_reason IS NOT OLD.stale_reason)
BEGIN SELECT RAISE(ABORT, 'a stale version stays stale; the next look makes a new one'); END;

CREATE TRIGGER vector_proof_frozen BEFORE UPDATE OF layer, dose, coefficient, effect, effect_low, effect_high ON vector_version
WHEN OLD.effect IS NOT NULL AND (NEW.layer IS NOT OLD.layer OR NEW.dose IS NOT OLD.dose OR NEW.coefficient IS NOT OLD.coefficient
  OR NEW.effect IS NOT OLD.effect OR NEW.effect_low IS NOT OLD.effect_low OR NEW.effect_high IS NOT OLD.effect_high)
BEGIN SELECT RAISE(ABORT, 'a version''s proof never changes; test pairs are used once'); END;

CREATE TRIGGER job_needs_verified_vector BEFORE INSERT ON training_job
WHEN (SELECT state FROM vector_version WHERE id = NEW.vector_id) IS NOT 'verified'
BEGIN SELECT RAISE(ABORT, 'only a verified vector enters the training queue'); END;

CREATE TRIGGER job_born_waiting BEFORE INSERT ON training_job
WHEN NEW.state NOT IN ('awaiting_approval', 'queued') OR NEW.attempt <> 0 OR NEW.lease_token <> 0
BEGIN SELECT RAISE(ABORT, 'a training job begins as awaiting_approval or queued, untried'); END;

CREATE TRIGGER job_moves_legally BEFORE UPDATE OF state ON training_job
WHEN NEW.state <> OLD.state AND NOT EXISTS (SELECT 1 FROM legal_move WHERE subject = 'job' AND was = OLD.state AND now = NEW.state)
BEGIN SELECT RAISE(ABORT, 'illegal move of a training job; SELECT * FROM legal_move shows the legal ones'); END;

CREATE TRIGGER job_identity_frozen BEFORE UPDATE OF id, vector_id, created_at ON training_job
WHEN NEW.id <> OLD.id OR NEW.vector_id <> OLD.vector_id OR NEW.created_at <> OLD.created_at
BEGIN SELECT RAISE(ABORT, 'a job''s identity never changes'); END;

CREATE TRIGGER job_final_frozen BEFORE UPDATE ON training_job
WHEN OLD.state IN ('trained', 'failed', 'cancelled')
BEGIN SELECT RAISE(ABORT, 'a finished job never changes'); END;

CREATE TRIGGER job_token_grows BEFORE UPDATE OF lease_token ON training_job WHEN NEW.lease_token < OLD.lease_token
BEGIN SELECT RAISE(ABORT, 'a fencing token never goes back'); END;

CREATE TRIGGER job_claim_takes_new_token BEFORE UPDATE OF state ON training_job
WHEN NEW.state = 'training' AND OLD.state <> 'training' AND (NEW.lease_token <= OLD.lease_token OR NEW.attempt <> OLD.attempt + 1)
BEGIN SELECT RAISE(ABORT, 'a claim takes a new fencing token and charges an attempt'); END;

CREATE TRIGGER job_milestone_grows BEFORE UPDATE OF milestone ON training_job WHEN NEW.milestone < OLD.milestone
BEGIN SELECT RAISE(ABORT, 'durable progress never goes back'); END;

CREATE TRIGGER job_attempt_refund BEFORE UPDATE OF attempt ON training_job
WHEN NEW.attempt < OLD.attempt AND NOT (OLD.state = 'training' AND NEW.state = 'queued' AND NEW.attempt = OLD.attempt - 1)
BEGIN SELECT RAISE(ABORT, 'an attempt is given back only when a training returns to the queue'); END;

-- ---------------------------------------------------------------- no step without what it rests on

CREATE TRIGGER vector_born_known BEFORE INSERT ON vector_version
WHEN NOT EXISTS (SELECT 1 FROM behaviour WHERE name = NEW.behaviour)
  OR NOT EXISTS (SELECT 1 FROM model WHERE digest = NEW.model_digest AND root_digest = NEW.root_digest)
BEGIN SELECT RAISE(ABORT, 'a version needs a known behaviour, a known model and the root of that model'); END;

CREATE TRIGGER vector_extracted_with_blob BEFORE UPDATE OF state ON vector_version
WHEN NEW.state = 'extracted' AND OLD.state = 'candidate' AND NOT EXISTS (SELECT 1 FROM vector_blob WHERE sha256 = NEW.blob_sha256)
BEGIN SELECT RAISE(ABORT, 'a version is extracted when its numbers are in vector_blob'); END;

CREATE TRIGGER vector_verified_with_proof BEFORE UPDATE OF state ON vector_version
WHEN NEW.state = 'verified' AND OLD.state = 'extracted' AND NOT EXISTS
  (SELECT 1 FROM verification WHERE vector_id = OLD.id AND verdict = 'verified')
BEGIN SELECT RAISE(ABORT, 'a version is verified when its proof is in verification'); END;

CREATE TRIGGER verification_in_time BEFORE INSERT ON verification
WHEN NOT EXISTS (SELECT 1 FROM vector_version WHERE id = NEW.vector_id AND state IN ('candidate', 'extracted'))
BEGIN SELECT RAISE(ABORT, 'a version is measured once, while it is extracted'); END;

CREATE TRIGGER job_trained_with_weights BEFORE UPDATE OF state ON training_job
WHEN NEW.state = 'trained' AND OLD.state <> 'trained' AND (NEW.result IS NULL OR NOT EXISTS
  (SELECT 1 FROM model WHERE digest = NEW.weights_digest AND parent_digest IS NOT NULL))
BEGIN SELECT RAISE(ABORT, 'a job is trained when its result and the weights it made are recorded'); END;

CREATE TRIGGER served_with_proof BEFORE INSERT ON served
WHEN NOT EXISTS (SELECT 1 FROM vector_version WHERE id = NEW.vector_id AND state IN ('verified', 'promoted', 'retired'))
BEGIN SELECT RAISE(ABORT, 'only a verified version is served'); END;

-- ---------------------------------------------------------------- the two machines as one

CREATE TRIGGER job_promotes_vector AFTER INSERT ON training_job
BEGIN UPDATE vector_version SET state = 'promoted', state_since = NEW.state_since WHERE id = NEW.vector_id; END;

CREATE TRIGGER job_retires_vector AFTER UPDATE OF state ON training_job WHEN NEW.state = 'trained' AND OLD.state <> 'trained'
BEGIN UPDATE vector_version SET state = 'retired', state_since = NEW.state_since WHERE id = NEW.vector_id; END;

CREATE TRIGGER job_returns_vector AFTER UPDATE OF state ON training_job WHEN NEW.state IN ('failed', 'cancelled') AND OLD.state NOT IN ('failed', 'cancelled')
BEGIN UPDATE vector_version SET state = 'verified', state_since = NEW.state_since WHERE id = NEW.vector_id; END;

-- ---------------------------------------------------------------- what never changes or goes

CREATE TRIGGER vector_kept BEFORE DELETE ON vector_version BEGIN SELECT RAISE(ABORT, 'versions are never deleted; withdraw it'); END;
CREATE TRIGGER recheck_kept BEFORE DELETE ON recheck BEGIN SELECT RAISE(ABORT, 'measurements are never deleted'); END;
CREATE TRIGGER recheck_frozen BEFORE UPDATE ON recheck BEGIN SELECT RAISE(ABORT, 'measurements never change'); END;
CREATE TRIGGER combination_kept BEFORE DELETE ON combination BEGIN SELECT RAISE(ABORT, 'measurements are never deleted'); END;
CREATE TRIGGER combination_frozen BEFORE UPDATE ON combination BEGIN SELECT RAISE(ABORT, 'measurements never change'); END;
CREATE TRIGGER job_kept BEFORE DELETE ON training_job BEGIN SELECT RAISE(ABORT, 'jobs are never deleted; cancel it'); END;
CREATE TRIGGER event_no_update BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
CREATE TRIGGER event_no_delete BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
CREATE TRIGGER legal_move_no_insert BEFORE INSERT ON legal_move BEGIN SELECT RAISE(ABORT, 'the state machines are frozen'); END;
CREATE TRIGGER legal_move_no_update BEFORE UPDATE ON legal_move BEGIN SELECT RAISE(ABORT, 'the state machines are frozen'); END;
CREATE TRIGGER legal_move_no_delete BEFORE DELETE ON legal_move BEGIN SELECT RAISE(ABORT, 'the state machines are frozen'); END;
-- The same evidence makes a second version only where the first is stale, or where a later one took its place that is stale now.
CREATE TRIGGER vector_no_replace BEFORE INSERT ON vector_version
WHEN EXISTS (SELECT 1 FROM vector_version WHERE id = NEW.id OR (behaviour = NEW.behaviour AND version = NEW.version))
  OR EXISTS (SELECT 1 FROM vector_version v WHERE v.behaviour = NEW.behaviour AND v.root_digest = NEW.root_digest
    AND v.template_digest = NEW.template_digest AND v.pairs_digest = NEW.pairs_digest AND v.recipe = NEW.recipe AND v.stale_at IS NULL
    AND NOT (v.state IN ('verified', 'superseded') AND EXISTS (SELECT 1 FROM vector_version later WHERE later.id > v.id
      AND later.behaviour = v.behaviour AND later.root_digest = v.root_digest AND later.effect IS NOT NULL AND later.stale_at IS NOT NULL)))
BEGIN SELECT RAISE(ABORT, 'this version, or one made of the same evidence, is there already'); END;
CREATE TRIGGER job_no_replace BEFORE INSERT ON training_job
WHEN EXISTS (SELECT 1 FROM training_job WHERE id = NEW.id
  OR (vector_id = NEW.vector_id AND state IN ('awaiting_approval', 'queued', 'training', 'trained')))
BEGIN SELECT RAISE(ABORT, 'this version has its training job already'); END;
CREATE TRIGGER event_no_replace BEFORE INSERT ON event WHEN NEW.seq > 0 AND EXISTS (SELECT 1 FROM event WHERE seq >= NEW.seq)
BEGIN SELECT RAISE(ABORT, 'the history is append-only'); END;
CREATE TRIGGER verification_no_replace BEFORE INSERT ON verification
WHEN EXISTS (SELECT 1 FROM verification WHERE vector_id = NEW.vector_id)
BEGIN SELECT RAISE(ABORT, 'a proof never changes'); END;
CREATE TRIGGER blob_no_replace BEFORE INSERT ON vector_blob
WHEN EXISTS (SELECT 1 FROM vector_blob WHERE sha256 = NEW.sha256
  AND (data <> NEW.data OR n_layers <> NEW.n_layers OR dim <> NEW.dim))
BEGIN SELECT RAISE(ABORT, 'a blob never changes'); END;
CREATE TRIGGER vector_pair_no_replace BEFORE INSERT ON vector_pair
WHEN EXISTS (SELECT 1 FROM vector_pair WHERE vector_id = NEW.vector_id AND pair_id = NEW.pair_id)
BEGIN SELECT RAISE(ABORT, 'a version''s evidence never changes'); END;
CREATE TRIGGER attempt_no_replace BEFORE INSERT ON training_attempt
WHEN EXISTS (SELECT 1 FROM training_attempt WHERE id = NEW.id OR (job_id = NEW.job_id AND lease_token = NEW.lease_token))
BEGIN SELECT RAISE(ABORT, 'how an attempt ended never changes'); END;
CREATE TRIGGER split_no_replace BEFORE INSERT ON session_split
WHEN EXISTS (SELECT 1 FROM session_split WHERE session = NEW.session AND split <> NEW.split)
BEGIN SELECT RAISE(ABORT, 'a session never changes its side of the split'); END;
CREATE TRIGGER verification_no_update BEFORE UPDATE ON verification BEGIN SELECT RAISE(ABORT, 'a proof never changes'); END;
CREATE TRIGGER verification_no_delete BEFORE DELETE ON verification BEGIN SELECT RAISE(ABORT, 'a proof never changes'); END;
CREATE TRIGGER blob_no_update BEFORE UPDATE ON vector_blob BEGIN SELECT RAISE(ABORT, 'a blob never changes'); END;
CREATE TRIGGER blob_no_delete BEFORE DELETE ON vector_blob BEGIN SELECT RAISE(ABORT, 'a blob never changes'); END;
CREATE TRIGGER vector_pair_no_update BEFORE UPDATE ON vector_pair BEGIN SELECT RAISE(ABORT, 'a version''s evidence never changes'); END;
CREATE TRIGGER vector_pair_no_delete BEFORE DELETE ON vector_pair BEGIN SELECT RAISE(ABORT, 'a version''s evidence never changes'); END;
CREATE TRIGGER vector_pair_early BEFORE INSERT ON vector_pair
WHEN (SELECT state FROM vector_version WHERE id = NEW.vector_id) IS NOT 'candidate'
BEGIN SELECT RAISE(ABORT, 'a version''s evidence never changes'); END;
CREATE TRIGGER attempt_no_update BEFORE UPDATE ON training_attempt BEGIN SELECT RAISE(ABORT, 'how an attempt ended never changes'); END;
CREATE TRIGGER attempt_no_delete BEFORE DELETE ON training_attempt BEGIN SELECT RAISE(ABORT, 'how an attempt ended never changes'); END;
CREATE TRIGGER split_no_update BEFORE UPDATE ON session_split BEGIN SELECT RAISE(ABORT, 'a session never changes its side of the split'); END;
CREATE TRIGGER split_no_delete BEFORE DELETE ON session_split BEGIN SELECT RAISE(ABORT, 'a session never changes its side of the split'); END;
CREATE TRIGGER pair_content_frozen BEFORE UPDATE OF id, behaviour, prompt, positive, negative, session ON pair
WHEN NEW.id <> OLD.id OR NEW.behaviour <> OLD.behaviour OR NEW.prompt <> OLD.prompt OR NEW.positive <> OLD.positive
  OR NEW.negative <> OLD.negative OR NEW.session <> OLD.session
BEGIN SELECT RAISE(ABORT, 'a pair''s content never changes'); END;
CREATE TRIGGER pair_no_replace BEFORE INSERT ON pair WHEN EXISTS (SELECT 1 FROM pair WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'this pair is there already; UPDATE it'); END;
CREATE TRIGGER pair_stays_dropped BEFORE UPDATE OF dropped_at ON pair WHEN OLD.dropped_at IS NOT NULL AND NEW.dropped_at IS NOT OLD.dropped_at
BEGIN SELECT RAISE(ABORT, 'a dropped pair stays dropped'); END;
CREATE TRIGGER pair_pinned_or_dropped BEFORE UPDATE OF dropped_at, pinned_at ON pair WHEN NEW.dropped_at IS NOT NULL AND NEW.pinned_at IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a pair is pinned or dropped, not both; unpin it first'); END;
CREATE TRIGGER pair_kept BEFORE DELETE ON pair BEGIN SELECT RAISE(ABORT, 'pairs are never deleted; drop it: UPDATE pair SET dropped_at = ...'); END;

-- ---------------------------------------------------------------- the history writes itself

CREATE TRIGGER vector_born AFTER INSERT ON vector_version BEGIN
  INSERT INTO event (at, subject, subject_id, name, was, now)
  VALUES (NEW.created_at, 'vector', NEW.id, NEW.behaviour || '@' || NEW.version, NULL, NEW.state); END;

CREATE TRIGGER vector_moved AFTER UPDATE OF state ON vector_version WHEN NEW.state <> OLD.state BEGIN
  INSERT INTO event (at, subject, subject_id, name, was, now, detail)
  VALUES (NEW.state_since, 'vector', NEW.id, NEW.behaviour || '@' || NEW.version, OLD.state, NEW.state, CASE
    WHEN NEW.state = 'verified' AND OLD.state = 'extracted' THEN json_object('layer', NEW.layer, 'dose', NEW.dose, 'effect', round(NEW.effect, 3))
    WHEN NEW.state IN ('rejected', 'withdrawn') THEN json_object('reason', NEW.reason)
    WHEN NEW.state = 'superseded' THEN (SELECT json_object('by', behaviour || '@' || version) FROM vector_version WHERE id = NEW.superseded_by) END); END;

CREATE TRIGGER job_born AFTER INSERT ON training_job BEGIN
  INSERT INTO event (at, subject, subject_id, name, was, now, attempt, lease_token, actor)
  SELECT NEW.created_at, 'job', NEW.id, behaviour || '@' || version, NULL, NEW.state, 0, 0, NEW.decided_by FROM vector_version WHERE id = NEW.vector_id; END;

CREATE TRIGGER job_moved AFTER UPDATE OF state ON training_job WHEN NEW.state <> OLD.state BEGIN
  INSERT INTO event (at, subject, subject_id, name, was, now, attempt, lease_token, actor, detail)
  SELECT NEW.state_since, 'job', NEW.id, behaviour || '@' || version, OLD.state, NEW.state, NEW.attempt, NEW.lease_token,
    CASE WHEN OLD.state = 'awaiting_approval' OR NEW.state = 'cancelled' THEN NEW.decided_by ELSE coalesce(NEW.lease_owner, OLD.lease_owner) END, CASE
      WHEN NEW.state = 'trained' THEN json_object('weights', substr(NEW.weights_digest, 1, 12))
      WHEN NEW.state IN ('queued', 'failed', 'cancelled') AND NEW.error IS NOT NULL THEN json_object('reason', NEW.error) END
  FROM vector_version WHERE id = NEW.vector_id; END;

CREATE TRIGGER served_born AFTER INSERT ON served BEGIN
  INSERT INTO event (at, subject, subject_id, name, was, now, actor, detail)
  SELECT NEW.changed_at, 'served', NEW.vector_id, behaviour || '@' || version, NULL, iif(NEW.enabled, 'on', 'off'), NEW.actor,
    json_object('dose', round(NEW.dose, 4)) FROM vector_version WHERE id = NEW.vector_id; END;

CREATE TRIGGER served_changed AFTER UPDATE ON served WHEN NEW.enabled <> OLD.enabled OR NEW.dose <> OLD.dose BEGIN
  INSERT INTO event (at, subject, subject_id, name, was, now, actor, detail)
  SELECT NEW.changed_at, 'served', NEW.vector_id, behaviour || '@' || version, iif(OLD.enabled, 'on', 'off'), iif(NEW.enabled, 'on', 'off'),
    NEW.actor, iif(NEW.reason IS NULL, json_object('dose', round(NEW.dose, 4)), json_object('dose', round(NEW.dose, 4), 'reason', NEW.reason))
  FROM vector_version WHERE id = NEW.vector_id; END;

CREATE TRIGGER served_scaled AFTER INSERT ON combination WHEN NEW.scales IS NOT NULL BEGIN
  INSERT INTO event (at, subject, subject_id, name, was, now, actor, detail)
  SELECT NEW.at, 'served', v.id, s.key, 'on', 'on', 'reflexd',
    json_object('dose', round(s.value * json_extract(NEW.asked, '$.doses."' || s.key || '"'), 4), 'scale', round(s.value, 3))
  FROM json_each(NEW.scales) s JOIN vector_version v ON v.behaviour || '@' || v.version = s.key
  WHERE s.value <> coalesce((SELECT json_extract(c.scales, '$."' || s.key || '"') FROM combination c
    WHERE c.model_digest = NEW.model_digest AND c.scales IS NOT NULL AND c.id < NEW.id ORDER BY c.id DESC LIMIT 1), 1); END;

CREATE TRIGGER pair_dropped AFTER UPDATE OF dropped_at ON pair WHEN NEW.dropped_at IS NOT NULL AND OLD.dropped_at IS NULL BEGIN
  INSERT INTO event (at, subject, subject_id, name, was, now, actor, detail)
  SELECT NEW.dropped_at, 'pair', NEW.id, NEW.behaviour, NULL, 'dropped', NEW.changed_by, iif(count(*), json_object('stale', group_concat(vector, ', ')), NULL)
  FROM (SELECT v.behaviour || '@' || v.version AS vector FROM vector_pair p JOIN vector_version v ON v.id = p.vector_id
    WHERE p.pair_id = NEW.id AND v.stale_at IS NULL AND v.state NOT IN ('rejected', 'superseded', 'withdrawn') ORDER BY v.id);
  UPDATE vector_version SET stale_at = NEW.dropped_at, stale_reason = 'pair ' || substr(NEW.id, 1, 12) || ' dropped'
  WHERE stale_at IS NULL AND state NOT IN ('rejected', 'superseded', 'withdrawn')
    AND id IN (SELECT vector_id FROM vector_pair WHERE pair_id = NEW.id); END;

CREATE TRIGGER vector_born_stale AFTER INSERT ON vector_pair WHEN (SELECT dropped_at FROM pair WHERE id = NEW.pair_id) IS NOT NULL BEGIN
  UPDATE vector_version SET stale_at = created_at, stale_reason = 'pair ' || substr(NEW.pair_id, 1, 12) || ' dropped'
  WHERE id = NEW.vector_id AND stale_at IS NULL; END;

CREATE TRIGGER vector_called_stale AFTER UPDATE OF stale_at ON vector_version WHEN NEW.stale_at IS NOT NULL AND OLD.stale_at IS NULL BEGIN
  INSERT INTO event (at, subject, subject_id, name, was, now, detail)
  VALUES (NEW.stale_at, 'vector', NEW.id, NEW.behaviour || '@' || NEW.version, NEW.state, 'stale', json_object('reason', NEW.stale_reason)); END;

CREATE TRIGGER model_retold AFTER UPDATE OF template_digest ON model WHEN NEW.template_digest <> OLD.template_digest BEGIN
  UPDATE vector_version SET stale_at = coalesce(NEW.changed_at, CAST(strftime('%s', 'now') AS INTEGER) * 1000),
    stale_reason = 'tokenizer or chat template of ' || NEW.name || ' changed'
  WHERE model_digest = NEW.digest AND template_digest <> NEW.template_digest
    AND template_digest NOT IN (SELECT template_digest FROM model c WHERE c.current = 1 AND c.root_digest = NEW.root_digest)
    AND stale_at IS NULL AND state NOT IN ('rejected', 'superseded', 'withdrawn'); END;

CREATE TRIGGER model_replaced AFTER INSERT ON model BEGIN
  UPDATE vector_version SET stale_at = NEW.added_at, stale_reason = 'weights in ' || NEW.path || ' changed'
  WHERE model_digest IN (SELECT digest FROM model WHERE path = NEW.path AND digest <> NEW.digest)
    AND stale_at IS NULL AND state NOT IN ('rejected', 'superseded', 'withdrawn'); END;

CREATE TRIGGER model_replaced_again AFTER UPDATE OF path ON model BEGIN
  UPDATE vector_version SET stale_at = coalesce(NEW.changed_at, CAST(strftime('%s', 'now') AS INTEGER) * 1000),
    stale_reason = 'weights in ' || NEW.path || ' changed'
  WHERE model_digest IN (SELECT digest FROM model WHERE path = NEW.path AND digest <> NEW.digest)
    AND stale_at IS NULL AND state NOT IN ('rejected', 'superseded', 'withdrawn'); END;

CREATE TRIGGER pair_pinned AFTER UPDATE OF pinned_at ON pair WHEN (NEW.pinned_at IS NULL) <> (OLD.pinned_at IS NULL) BEGIN
  INSERT INTO event (at, subject, subject_id, name, was, now, actor)
  VALUES (coalesce(NEW.pinned_at, NEW.changed_at, OLD.pinned_at), 'pair', NEW.id, NEW.behaviour, NULL, iif(NEW.pinned_at IS NULL, 'unpinned', 'pinned'), NEW.changed_by); END;
