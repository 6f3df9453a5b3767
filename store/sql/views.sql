-- For people. Re-created after every migration; local time; a vector is named listening@3.

CREATE VIEW queue AS
SELECT j.id AS job, v.behaviour || '@' || v.version AS vector, j.state, j.attempt || '/' || j.max_attempts AS attempt,
  datetime(j.state_since / 1000, 'unixepoch', 'localtime') AS since,
  j.milestone, substr(j.lease_owner, 1, instr(j.lease_owner, ':') - 1) AS owner, substr(j.weights_digest, 1, 12) AS weights, j.error
FROM training_job j JOIN vector_version v ON v.id = j.vector_id
ORDER BY CASE j.state WHEN 'training' THEN 0 WHEN 'queued' THEN 1 WHEN 'awaiting_approval' THEN 2 ELSE 3 END, j.id;

CREATE VIEW history AS
SELECT seq, datetime(at / 1000, 'unixepoch', 'localtime') AS at, name AS subject,
  CASE subject WHEN 'job' THEN 'job ' || subject_id WHEN 'pair' THEN 'pair ' || substr(subject_id, 1, 12) ELSE subject END AS what,
  was, now, attempt, actor, detail
FROM event ORDER BY seq;

CREATE VIEW vectors AS
SELECT v.behaviour || '@' || v.version AS vector, v.behaviour, v.state, v.layer, round(v.dose, 3) AS dose,
  round(v.effect, 3) AS effect, round(v.effect_low, 3) AS effect_low, round(v.effect_high, 3) AS effect_high,
  (SELECT count(*) FROM vector_pair p WHERE p.vector_id = v.id) AS pairs, m.name AS model,
  datetime(v.state_since / 1000, 'unixepoch', 'localtime') AS since, v.reason, v.stale_reason AS stale
FROM vector_version v JOIN model m ON m.digest = v.model_digest ORDER BY v.behaviour, v.version;

CREATE VIEW serving AS                -- for the current weights: what is retired into them is no longer listed; doses as servers get them
WITH RECURSIVE line (digest, parent_digest, job_id) AS (
  SELECT digest, parent_digest, job_id FROM model WHERE current = 1
  UNION ALL SELECT m.digest, m.parent_digest, m.job_id FROM model m JOIN line l ON m.digest = l.parent_digest),
listed AS (
  SELECT v.behaviour, v.behaviour || '@' || v.version AS vector, s.enabled, s.dose, v.layer, s.coefficient, v.state, s.changed_at, s.actor, s.reason
  FROM served s JOIN vector_version v ON v.id = s.vector_id
  WHERE v.state IN ('verified', 'promoted', 'retired') AND v.root_digest = (SELECT root_digest FROM model WHERE current = 1)
    AND NOT EXISTS (SELECT 1 FROM training_job j JOIN line l ON l.job_id = j.id WHERE j.vector_id = v.id)),
joint AS (
  SELECT asked, scales FROM combination WHERE asked IS NOT NULL AND model_digest = (SELECT digest FROM model WHERE current = 1)
    AND (SELECT sum(enabled) FROM listed) > 1 ORDER BY id DESC LIMIT 1),
scaled AS (                           -- a dose that was changed since is served as it is, until all that is on is measured again
  SELECT l.*, coalesce(iif(abs(json_extract(j.asked, '$.doses."' || l.vector || '"') - l.dose) < 1e-9,
    json_extract(j.scales, '$."' || l.vector || '"'), 1), 1) AS scale FROM listed l LEFT JOIN joint j)
SELECT behaviour, vector, enabled, round(dose * scale, 4) AS dose, layer, round(coefficient * scale, 5) AS coefficient, state,
  datetime(changed_at / 1000, 'unixepoch', 'localtime') AS since, actor, reason, round(scale, 3) AS scale
FROM scaled ORDER BY behaviour;

CREATE VIEW rechecks AS                -- served versions that were measured again, the latest first
SELECT v.behaviour || '@' || v.version AS vector, datetime(r.at / 1000, 'unixepoch', 'localtime') AS at, r.because, r.verdict,
  round(r.effect, 3) AS effect, round(r.effect_low, 3) AS effect_low, round(r.effect_high, 3) AS effect_high,
  round(v.effect, 3) AS effect_at_proof, round(r.kl_p95, 3) AS kl_p95, r.reason
FROM recheck r JOIN vector_version v ON v.id = r.vector_id ORDER BY r.id DESC;

CREATE VIEW combinations AS            -- vectors that were measured together, the latest first
SELECT datetime(c.at / 1000, 'unixepoch', 'localtime') AS at, m.name AS model, iif(c.asked IS NULL, 'a person', 'reflexd') AS asked_by,
  (SELECT group_concat(value, ', ') FROM json_each(c.members)) AS vectors,
  (SELECT group_concat(key || ' × ' || round(value, 3), ', ') FROM json_each(c.scales)) AS scales, round(c.kl_p95, 3) AS kl_p95, c.reason
FROM combination c JOIN model m ON m.digest = c.model_digest ORDER BY c.id DESC;

CREATE VIEW behaviours AS
SELECT b.name AS behaviour, b.description,
  (SELECT count(*) FROM pair p WHERE p.behaviour = b.name AND p.gone_at IS NULL AND p.dropped_at IS NULL) AS pairs,
  (SELECT count(DISTINCT p.session) FROM pair p WHERE p.behaviour = b.name AND p.gone_at IS NULL AND p.dropped_at IS NULL) AS sessions,
  v.vector, v.state, v.effect,
  (SELECT iif(s.enabled, 'on', 'off') || ' at ' || s.dose FROM serving s WHERE s.behaviour = b.name) AS served,
  (SELECT group_concat(vector, ', ') FROM vectors r WHERE r.behaviour = b.name AND r.state = 'retired') AS in_weights
FROM behaviour b LEFT JOIN vectors v ON v.vector = b.name || '@' || (SELECT max(version) FROM vector_version x WHERE x.behaviour = b.name)
ORDER BY b.name;

CREATE VIEW waiting AS                -- what came and went since the newest version for the current model, or since ever
WITH newest AS (SELECT max(id) AS id FROM vector_version WHERE root_digest = (SELECT root_digest FROM model WHERE current = 1) GROUP BY behaviour),
live AS (SELECT p.id, p.behaviour, s.split FROM pair p JOIN session_split s ON s.session = p.session WHERE p.gone_at IS NULL AND p.dropped_at IS NULL),
came AS (SELECT b.name AS behaviour, v.id, v.version, v.stale_reason AS stale,
  (SELECT count(*) FROM live l WHERE l.behaviour = b.name AND l.split = 'train'
    AND NOT EXISTS (SELECT 1 FROM vector_pair f WHERE f.vector_id = v.id AND f.pair_id = l.id)) AS new_training,
  (SELECT count(*) FROM vector_pair f WHERE f.vector_id = v.id AND f.split = 'train' AND f.pair_id NOT IN (SELECT id FROM live)) AS gone_training,
  (SELECT count(*) FROM live l WHERE l.behaviour = b.name AND l.split <> 'train'
    AND NOT EXISTS (SELECT 1 FROM vector_pair f WHERE f.vector_id = v.id AND f.pair_id = l.id))
  + (SELECT count(*) FROM vector_pair f WHERE f.vector_id = v.id AND f.split <> 'train' AND f.pair_id NOT IN (SELECT id FROM live)) AS held_out_changed
  FROM behaviour b LEFT JOIN vector_version v ON v.behaviour = b.name AND v.id IN (SELECT id FROM newest))
SELECT behaviour, behaviour || '@' || version AS since, new_training, gone_training, held_out_changed, stale FROM came
WHERE new_training + gone_training + held_out_changed > 0 OR stale IS NOT NULL ORDER BY behaviour;

CREATE VIEW pairs AS
SELECT substr(p.id, 1, 12) AS pair, p.behaviour, s.split, p.session,
  coalesce(json_extract(p.prompt, '$[#-1].content'), p.prompt) AS direction, p.positive, p.negative, p.weight,
  p.pinned_at IS NOT NULL AS pinned, ep.source_ref AS positive_from, en.source_ref AS negative_from
FROM pair p JOIN session_split s ON s.session = p.session
LEFT JOIN pair_episode pp ON pp.pair_id = p.id AND pp.side = 'positive' LEFT JOIN episode ep ON ep.id = pp.episode_id
LEFT JOIN pair_episode pn ON pn.pair_id = p.id AND pn.side = 'negative' LEFT JOIN episode en ON en.id = pn.episode_id
WHERE p.gone_at IS NULL AND p.dropped_at IS NULL
ORDER BY p.behaviour, CASE s.split WHEN 'train' THEN 0 WHEN 'validation' THEN 1 ELSE 2 END, p.session, p.id;

CREATE VIEW sources AS
SELECT id, kind, path, datetime(last_read_at / 1000, 'unixepoch', 'localtime') AS last_read,
  (SELECT count(*) FROM source_unit u WHERE u.source_id = source.id) AS units,
  (SELECT count(*) FROM episode e WHERE e.source_id = source.id AND e.gone_at IS NULL) AS episodes,
  (SELECT coalesce(sum(u.problems), 0) FROM source_unit u WHERE u.source_id = source.id) AS problems,
  (SELECT coalesce(sum(j.value), 0) FROM source_unit u, json_each(u.unknown) j WHERE u.source_id = source.id) AS unknown,
  last_error AS error
FROM source WHERE removed_at IS NULL ORDER BY id;

CREATE VIEW unknown_records AS        -- record types that this version does not understand
SELECT s.kind || ' ' || s.path AS source, u.unit, j.key AS type, j.value AS n
FROM source s JOIN source_unit u ON u.source_id = s.id, json_each(u.unknown) j
WHERE s.removed_at IS NULL ORDER BY s.id, n DESC, type, u.unit;

CREATE VIEW health AS                 -- each row should say 0
SELECT 'sources that cannot be read' AS what, count(*) AS n FROM source WHERE removed_at IS NULL AND last_error IS NOT NULL
UNION ALL SELECT 'ticks that failed', count(*) FROM tick WHERE last_error IS NOT NULL
UNION ALL SELECT 'jobs that failed and were not tried again', count(*) FROM training_job j WHERE j.state = 'failed'
  AND NOT EXISTS (SELECT 1 FROM training_job k WHERE k.vector_id = j.vector_id AND k.id > j.id)
UNION ALL SELECT 'stale vectors that are still served', count(*)
  FROM serving s JOIN vectors v ON v.vector = s.vector WHERE s.enabled = 1 AND v.stale IS NOT NULL
UNION ALL SELECT 'vectors that reflexd switched off', count(*) FROM serving WHERE enabled = 0 AND reason IS NOT NULL
UNION ALL SELECT 'sets of vectors over their joint budget', count(*) FROM (
  SELECT reason FROM combination WHERE asked IS NOT NULL AND model_digest = (SELECT digest FROM model WHERE current = 1) ORDER BY id DESC LIMIT 1)
  WHERE reason IS NOT NULL AND (SELECT sum(enabled) FROM serving) > 1
UNION ALL SELECT 'promoted without an open job', count(*) FROM vector_version v WHERE v.state = 'promoted'
  AND NOT EXISTS (SELECT 1 FROM training_job j WHERE j.vector_id = v.id AND j.state IN ('awaiting_approval', 'queued', 'training'))
UNION ALL SELECT 'retired without a recorded training', count(*) FROM vector_version v WHERE v.state = 'retired'
  AND NOT EXISTS (SELECT 1 FROM training_job j WHERE j.vector_id = v.id AND j.state = 'trained');
