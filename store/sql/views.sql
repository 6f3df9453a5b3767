-- Views for people: names as in listening@3, local time, columns in reading order. Dropped and created with the triggers.

CREATE VIEW queue AS
SELECT j.id AS job,
  v.behaviour || '@' || v.version AS vector,
  j.state,
  j.attempt || '/' || j.max_attempts AS attempt,
  datetime(j.state_since / 1000, 'unixepoch', 'localtime') AS since,
  j.milestone AS steps_saved,
  j.lease_owner AS worker,
  datetime(j.lease_expires_at / 1000, 'unixepoch', 'localtime') AS lease_until,
  CASE j.state WHEN 'queued' THEN datetime(j.available_at / 1000, 'unixepoch', 'localtime') END AS not_before,
  m.name AS weights,
  j.error
FROM training_job j
JOIN vector_version v ON v.id = j.vector_id
LEFT JOIN model m ON m.digest = j.weights_digest
ORDER BY j.finalized_at IS NOT NULL, j.id;

CREATE VIEW history AS
SELECT e.seq,
  datetime(e.at / 1000, 'unixepoch', 'localtime') AS at,
  coalesce(v.behaviour || '@' || v.version, p.behaviour, m.name, e.subject_id) AS subject,
  CASE e.subject WHEN 'job' THEN 'job ' || j.id WHEN 'pair' THEN 'pair ' || substr(p.id, 1, 12) ELSE e.subject END
    AS what,
  e.was,
  e.now,
  CASE WHEN e.subject = 'job' THEN e.attempt || '/' || j.max_attempts END AS attempt,
  e.actor,
  e.detail
FROM event e
LEFT JOIN training_job j ON e.subject = 'job' AND j.id = e.subject_id
LEFT JOIN vector_version v ON v.id = CASE WHEN e.subject = 'job' THEN j.vector_id
  WHEN e.subject IN ('vector', 'served') THEN e.subject_id END
LEFT JOIN pair p ON e.subject = 'pair' AND p.id = e.subject_id
LEFT JOIN model m ON e.subject = 'model' AND m.digest = e.subject_id
ORDER BY e.seq;

CREATE VIEW vectors AS
SELECT v.behaviour || '@' || v.version AS vector,
  v.behaviour,
  v.state,
  datetime(v.state_since / 1000, 'unixepoch', 'localtime') AS since,
  round(v.effect, 3) AS effect,
  round(v.effect_low, 3) AS effect_low,
  round(v.effect_high, 3) AS effect_high,
  v.layer,
  v.dose,
  (SELECT count(*) FROM vector_pair x WHERE x.vector_id = v.id) AS pairs,
  m.name AS model,
  s.behaviour || '@' || s.version AS superseded_by,
  v.reason
FROM vector_version v
JOIN model m ON m.digest = v.model_digest
LEFT JOIN vector_version s ON s.id = v.superseded_by
ORDER BY v.behaviour, v.version;

CREATE VIEW pairs AS
SELECT p.behaviour,
  s.split,
  p.session,
  CASE json_type(p.prompt) WHEN 'text' THEN json_extract(p.prompt, '$')
    ELSE json_extract(p.prompt, '$[#-1].content') END AS direction,
  p.positive,
  p.negative,
  p.weight,
  a.source_ref AS positive_from,
  b.source_ref AS negative_from,
  p.id AS pair
FROM pair p
JOIN session_split s ON s.session = p.session
LEFT JOIN pair_episode x ON x.pair_id = p.id AND x.pole = 'positive'
LEFT JOIN episode a ON a.id = x.episode_id
LEFT JOIN pair_episode y ON y.pair_id = p.id AND y.pole = 'negative'
LEFT JOIN episode b ON b.id = y.episode_id
WHERE p.gone_at IS NULL AND p.dropped_at IS NULL
ORDER BY p.behaviour, s.split, p.session, p.id;

CREATE VIEW in_weights AS
-- Which vectors live in which weights: those trained into them, and into the weights they began from.
WITH RECURSIVE ancestry (digest, ancestor) AS (
  SELECT digest, digest FROM model
  UNION
  SELECT a.digest, m.parent_digest FROM ancestry a JOIN model m ON m.digest = a.ancestor
  WHERE m.parent_digest IS NOT NULL)
SELECT a.digest AS model_digest, j.vector_id, j.id AS job_id
FROM ancestry a JOIN training_job j ON j.weights_digest = a.ancestor AND j.state = 'trained';

CREATE VIEW serving AS
-- What is served for the current weights: without the vectors that live in them.
SELECT v.behaviour || '@' || v.version AS vector,
  s.behaviour,
  s.enabled,
  s.dose,
  v.layer,
  round(s.coefficient, 6) AS coefficient,
  round(v.effect, 3) AS effect,
  v.state,
  datetime(s.since / 1000, 'unixepoch', 'localtime') AS since,
  s.actor,
  m.name AS model
FROM served s
JOIN vector_version v ON v.id = s.vector_id
JOIN model m ON m.current = 1 AND m.root_digest = s.root_digest
WHERE NOT EXISTS (SELECT 1 FROM in_weights w WHERE w.model_digest = m.digest AND w.vector_id = s.vector_id)
ORDER BY s.behaviour;

CREATE VIEW behaviours AS
SELECT b.name AS behaviour,
  (SELECT count(*) FROM pair p WHERE p.behaviour = b.name AND p.gone_at IS NULL AND p.dropped_at IS NULL) AS pairs,
  (SELECT count(DISTINCT p.session) FROM pair p
    WHERE p.behaviour = b.name AND p.gone_at IS NULL AND p.dropped_at IS NULL) AS sessions,
  v.behaviour || '@' || v.version AS newest,
  v.state,
  round(v.effect, 3) AS effect,
  (SELECT s.vector || CASE s.enabled WHEN 1 THEN ' on' ELSE ' off' END || ', dose ' || s.dose
    FROM serving s WHERE s.behaviour = b.name) AS served,
  (SELECT group_concat(x.behaviour || '@' || x.version, ', ') FROM in_weights w
    JOIN model m ON m.digest = w.model_digest AND m.current = 1
    JOIN vector_version x ON x.id = w.vector_id WHERE x.behaviour = b.name) AS in_weights,
  b.origin,
  b.description
FROM behaviour b
LEFT JOIN vector_version v ON v.id = (SELECT max(id) FROM vector_version WHERE behaviour = b.name)
ORDER BY b.name;

CREATE VIEW sources AS
SELECT s.id AS source,
  s.kind,
  s.path,
  (SELECT count(*) FROM episode_source x JOIN episode e ON e.id = x.episode_id
    WHERE x.source_id = s.id AND e.gone_at IS NULL) AS episodes,
  datetime(s.last_read_at / 1000, 'unixepoch', 'localtime') AS last_read,
  s.last_error AS error
FROM source s
WHERE s.removed_at IS NULL
ORDER BY s.id;

CREATE VIEW attempts AS
SELECT t.job_id AS job,
  v.behaviour || '@' || v.version AS vector,
  t.attempt || '/' || j.max_attempts AS attempt,
  t.became,
  CASE t.charged WHEN 1 THEN 'charged' ELSE 'given back' END AS charged,
  t.milestone AS steps_saved,
  datetime(t.started_at / 1000, 'unixepoch', 'localtime') AS started,
  datetime(t.ended_at / 1000, 'unixepoch', 'localtime') AS ended,
  t.owner AS worker,
  t.reason
FROM training_attempt t
JOIN training_job j ON j.id = t.job_id
JOIN vector_version v ON v.id = j.vector_id
ORDER BY t.job_id, t.lease_token;

CREATE VIEW health AS
-- Each line is ok or says how many rows to look at, and where. The last four are rules that the triggers hold.
SELECT "check", CASE n WHEN 0 THEN 'ok' ELSE 'look' END AS result, n, look FROM (
  SELECT 1 AS o, 'sources that cannot be read' AS "check", count(*) AS n, 'SELECT * FROM sources' AS look
    FROM source WHERE removed_at IS NULL AND last_error IS NOT NULL
  UNION ALL SELECT 2, 'looks that failed', count(*), 'SELECT * FROM tick' FROM tick WHERE last_error IS NOT NULL
  UNION ALL SELECT 3, 'jobs waiting for approval', count(*), 'SELECT * FROM queue'
    FROM training_job WHERE state = 'awaiting_approval'
  UNION ALL SELECT 4, 'trainings whose lease ran out', count(*), 'SELECT * FROM queue' FROM training_job
    WHERE state = 'training' AND lease_expires_at < (julianday('now') - 2440587.5) * 86400000
  UNION ALL SELECT 5, 'jobs that failed and were not retried', count(*), 'SELECT * FROM attempts' FROM training_job j
    WHERE state = 'failed' AND id = (SELECT max(id) FROM training_job WHERE vector_id = j.vector_id)
  UNION ALL SELECT 6, 'promoted vectors without an open job', count(*), 'SELECT * FROM vectors' FROM vector_version v
    WHERE state = 'promoted' AND NOT EXISTS (SELECT 1 FROM training_job
      WHERE vector_id = v.id AND state IN ('awaiting_approval', 'queued', 'training'))
  UNION ALL SELECT 7, 'open jobs without a promoted vector', count(*), 'SELECT * FROM queue' FROM training_job j
    JOIN vector_version v ON v.id = j.vector_id
    WHERE j.state IN ('awaiting_approval', 'queued', 'training') AND v.state <> 'promoted'
  UNION ALL SELECT 8, 'retired but not trained, or trained but not retired', count(*), 'SELECT * FROM vectors'
    FROM vector_version v WHERE (state = 'retired') <>
      EXISTS (SELECT 1 FROM training_job WHERE vector_id = v.id AND state = 'trained')
  UNION ALL SELECT 9, 'states that the history does not tell', count(*), 'SELECT * FROM history' FROM (
    SELECT 'vector' AS subject, id, state FROM vector_version UNION ALL SELECT 'job', id, state FROM training_job) r
    WHERE r.state IS NOT (SELECT now FROM event
      WHERE subject = r.subject AND subject_id = r.id ORDER BY seq DESC LIMIT 1))
ORDER BY o;
