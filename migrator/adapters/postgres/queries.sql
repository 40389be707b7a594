-- Every statement that the tracker and the lock send. A name, a line of description, the text.
-- :value is replaced by a quoted literal, {tracker} and {lock} by the tables' full names.

-- name: place
-- Where are we: the current schema, and every schema with a table of ours, whatever the search path. A table of that name
-- without our columns is somebody else's. `columns` and `defaults` are those of the tracker and the lock together.
-- `reserved` says that the wanted schema has a comment which lets it have a tracker beside another one.
SELECT pg_catalog.current_schema()::text AS here, pg_catalog.pg_backend_pid() AS pid,
       pg_catalog.pg_is_in_recovery() AS standby, found.schema, found.names, found.columns, found.defaults,
       EXISTS (SELECT FROM pg_catalog.pg_publication) OR EXISTS (SELECT FROM pg_catalog.pg_subscription_rel) AS replicated,
       coalesce(pg_catalog.obj_description(pg_catalog.to_regnamespace(pg_catalog.quote_ident(:wanted))::oid, 'pg_namespace')
                LIKE 'migrator%', false) AS reserved
  FROM (SELECT) AS one
  LEFT JOIN (
        SELECT place.nspname::text AS schema, pg_catalog.array_agg(item.relname::text) AS names,
               pg_catalog.sum(shape.columns)::int AS columns, pg_catalog.sum(shape.defaults)::int AS defaults
          FROM pg_catalog.pg_class AS item
          JOIN pg_catalog.pg_namespace AS place ON place.oid = item.relnamespace
          LEFT JOIN LATERAL (
                SELECT pg_catalog.count(*) AS columns,
                       pg_catalog.count(*) FILTER (WHERE atthasdef) AS defaults,
                       pg_catalog.bool_or(attname = 'fence') AS ours
                  FROM pg_catalog.pg_attribute
                 WHERE attrelid = item.oid AND attnum > 0 AND NOT attisdropped
               ) AS shape ON item.relname IN ('script_run_tracker', 'script_run_lock', 'migrator_lock')
         WHERE item.relname IN ({names})
           AND item.relkind IN ('r', 'p', 'i') AND item.relpersistence <> 't' AND coalesce(shape.ours, true)
         GROUP BY place.nspname
       ) AS found ON true

-- name: version
-- The tracker's version, and the release of migrator that wrote it, which version 1 does not have.
SELECT lock.version, coalesce(pg_catalog.to_jsonb(lock) ->> 'made_by', '') AS made_by
  FROM {lock} AS lock WHERE lock.name = 'deploy'

-- name: lock
-- Try the advisory lock; never wait for it.
SELECT pg_catalog.pg_try_advisory_lock(:class, :key) AS taken

-- name: unlock
-- Give the advisory lock back; false where it was not ours.
SELECT pg_catalog.pg_advisory_unlock(:class, :key) AS freed

-- name: advised
-- Does anybody hold the advisory lock?
SELECT EXISTS (SELECT FROM pg_catalog.pg_locks
                WHERE locktype = 'advisory' AND granted AND objsubid = 2
                  AND classid = :class::bigint::oid AND objid = :key::bigint::oid
                  AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())) AS held

-- name: abandoned
-- Who holds the advisory lock and waits in the middle of a statement (`gap`: for its client's next message), of a COPY, or
-- of a commit (for a standby).
SELECT pid, state_change::text AS since, copy.bytes_processed AS copied,
       wait_event = 'ClientRead' AND copy.pid IS NULL AS gap
  FROM pg_catalog.pg_stat_activity LEFT JOIN pg_catalog.pg_stat_progress_copy AS copy USING (pid)
 WHERE state = 'active' AND wait_event IN ('ClientRead', 'SyncRep')
   AND (wait_event = 'SyncRep' OR copy.pid IS NOT NULL
        OR state_change < clock_timestamp() - :silent * interval '1 second')
   AND pid IN (SELECT pid FROM pg_catalog.pg_locks
                WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND pid <> pg_catalog.pg_backend_pid()
                  AND classid = :class::bigint::oid AND objid = :key::bigint::oid
                  AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))

-- name: end
-- End a session.
SELECT pg_catalog.pg_terminate_backend(:pid, 5000)

-- name: take
-- A new holder: the fence grows, unless a lease still runs or another session has the advisory lock, which is taken
-- for this statement. Waits for a transaction that checks the old fence. Says whether a run was interrupted.
UPDATE {lock}
   SET fence = fence + 1, owner = :owner, host = :host, pid = :pid, "user" = :user, release = :release,
       acquired_at = clock_timestamp(),
       expires_at = CASE WHEN :lease > 0 THEN clock_timestamp() + :lease * interval '1 second' END
 WHERE name = 'deploy' AND (expires_at IS NULL OR expires_at <= clock_timestamp())
   AND pg_catalog.pg_try_advisory_xact_lock(:class, :key)
RETURNING fence, used, EXISTS (SELECT FROM {tracker} WHERE status = 'pending') AS interrupted

-- name: orphans
-- End what an interrupted run still does through a pooler, where the server does not notice that its owner is gone.
SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_catalog.pg_backend_pid() AND state <> 'idle'
   AND EXISTS (SELECT FROM {tracker}
                WHERE status = 'pending'
                  AND (application_name = 'migrator:' || run_id
                       OR pg_catalog.starts_with(query, '/* migrator:' || run_id || ' */')))

-- name: renew
-- Keep a lease that still runs; with a lease of 0 it ends now.
UPDATE {lock} SET expires_at = clock_timestamp() + :lease * interval '1 second'
 WHERE name = 'deploy' AND owner = :owner AND expires_at > clock_timestamp()
RETURNING 1

-- name: holder
-- Who holds the lock now, in either form, and the run that is pending.
SELECT lock.host, lock.pid, lock."user",
       pg_catalog.to_char(lock.acquired_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since,
       (SELECT string_agg(revision || ' ' || title, ', ') FROM {tracker} WHERE status = 'pending') AS doing
  FROM {lock} AS lock
 WHERE name = 'deploy'
   AND (expires_at > clock_timestamp()
        OR EXISTS (SELECT FROM pg_catalog.pg_locks
                    WHERE locktype = 'advisory' AND granted AND objsubid = 2
                      AND classid = :class::bigint::oid AND objid = :key::bigint::oid
                      AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())))

-- name: evict
-- End whoever holds the lock: the session with the advisory lock, and the lease; the fence shuts its writes out.
WITH ended AS (
    SELECT pg_catalog.pg_terminate_backend(pid) AS done FROM pg_catalog.pg_locks
     WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND pid <> pg_catalog.pg_backend_pid()
       AND classid = :class::bigint::oid AND objid = :key::bigint::oid
       AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
UPDATE {lock}
   SET fence = fence + 1, expires_at = NULL,
       evictions = evictions || pg_catalog.jsonb_build_object(
           'at', clock_timestamp(), 'by', :by::text, 'holder', :holder::text, 'reason', :reason::text)
 WHERE name = 'deploy' AND (SELECT count(*) FROM ended) >= 0
RETURNING fence

-- name: runs
-- The {columns} of the live runs, oldest first.
SELECT {columns}
  FROM {tracker}
 WHERE superseded_by = ''
 ORDER BY seq

-- name: copies
-- What copies the tracker to another database, or from one.
SELECT 'publication' AS way, pubname::text AS name FROM pg_catalog.pg_publication_tables
 WHERE schemaname = :schema AND tablename = 'script_run_tracker'
UNION ALL
SELECT 'subscription', subname::text
  FROM pg_catalog.pg_subscription_rel JOIN pg_catalog.pg_subscription AS subscription ON subscription.oid = srsubid
 WHERE srrelid = :table::regclass
 ORDER BY 1, 2

-- name: columns
-- The columns that a table has.
SELECT attname::text AS name FROM pg_catalog.pg_attribute
 WHERE attrelid = :table::regclass AND attnum > 0 AND NOT attisdropped

-- name: sources
-- The text of applied revisions, as it ran.
SELECT revision, path, source
  FROM {tracker}
 WHERE superseded_by = '' AND status = 'success' AND source <> '' AND revision = ANY (:revisions)

-- name: page
-- Runs, newest first: the {columns} of those that are asked for. A condition without a value is folded away.
SELECT {columns}
  FROM {tracker}
 WHERE (:after::text IS NULL OR run_id < :after)
   AND (:run::text IS NULL OR run_id LIKE :run)
   AND (:ids::text[] IS NULL OR run_id = ANY (:ids::text[]))
   AND (:script::text IS NULL OR revision LIKE :script)
   AND (:statuses::text[] IS NULL OR status = ANY (:statuses::text[]))
   AND (:direction::text IS NULL OR direction = :direction)
   AND (:user::text IS NULL OR "user" = :user)
   AND (:host::text IS NULL OR host = :host)
   AND (:since::timestamptz IS NULL OR started_at >= :since::timestamptz)
   AND (:until::timestamptz IS NULL OR started_at < :until::timestamptz)
 ORDER BY run_id DESC
 LIMIT :limit

-- name: totals
-- The runs that are asked for, counted: one row for each sort of them.
SELECT revision, title, kind, status,
       coalesce(pg_catalog.to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD'), '') AS day,
       CASE WHEN status = 'failed' THEN coalesce(nullif(result ->> 'error_class', ''), nullif(reason, ''), 'unknown')
            ELSE '' END AS error,
       count(*) AS runs, max(run_id) AS newest,
       coalesce(array_agg(duration_ms::float8) FILTER (WHERE duration_ms IS NOT NULL), '{}') AS spent
  FROM {tracker}
 WHERE (:run::text IS NULL OR run_id LIKE :run)
   AND (:ids::text[] IS NULL OR run_id = ANY (:ids::text[]))
   AND (:script::text IS NULL OR revision LIKE :script)
   AND (:statuses::text[] IS NULL OR status = ANY (:statuses::text[]))
   AND (:direction::text IS NULL OR direction = :direction)
   AND (:user::text IS NULL OR "user" = :user)
   AND (:host::text IS NULL OR host = :host)
   AND (:since::timestamptz IS NULL OR started_at >= :since::timestamptz)
   AND (:until::timestamptz IS NULL OR started_at < :until::timestamptz)
 GROUP BY 1, 2, 3, 4, 5, 6

-- name: delete
-- Runs go, but none that is live; and what is kept of long changes of which no run is left.
WITH gone AS (
    DELETE FROM {tracker} WHERE run_id = ANY (:ids) AND superseded_by <> '' RETURNING run_id, cursor),
kept AS (
    SELECT cursor ->> 'origin' AS origin FROM gone UNION SELECT cursor ->> 'failed_of' FROM gone),
forgotten AS (
    SELECT origin FROM kept
     WHERE origin <> ''
       AND NOT EXISTS (SELECT FROM {tracker} AS run
                        WHERE run.cursor IS NOT NULL
                          AND coalesce(run.cursor ->> 'failed_of', run.cursor ->> 'origin') = kept.origin
                          AND run.run_id NOT IN (SELECT run_id FROM gone))),
checkpoints AS (DELETE FROM {checkpoint} WHERE origin IN (SELECT origin FROM forgotten)),
controls AS (DELETE FROM {control} WHERE origin IN (SELECT origin FROM forgotten)),
failures AS (DELETE FROM {failures} WHERE origin IN (SELECT origin FROM forgotten))
SELECT count(*) AS runs FROM gone

-- name: start
-- A pending run, if the fence is still ours. No row is an error of its own, which ends the transaction.
WITH started AS (
    INSERT INTO {tracker} (run_id, revision, title, kind, direction, status, effect, forced, attempt, transactional,
                           checksum, path, source, params, progress, cursor, log_file, deploy_id, owner, host, pid, "user",
                           release, fence)
    SELECT :run_id, :revision, :title, :kind, :direction, 'pending', :effect, :forced, :attempt, :transactional,
           :checksum, :path, :source, :params::jsonb, :progress::jsonb, :cursor::jsonb, :log_file, :deploy_id, :owner,
           :host, :pid, :user, :release, fence
      FROM {lock} WHERE name = 'deploy' AND fence = :fence FOR SHARE
    RETURNING 1)
SELECT CASE count(*) WHEN 1 THEN 1 ELSE (count(*) || ' runs: refused')::int END FROM started

-- name: used
-- From here on the tracker has had runs: one without any was emptied.
UPDATE {lock} SET used = true WHERE name = 'deploy' AND fence = :fence AND NOT used

-- name: emptied
-- Has a tracker without runs had some: does the lock's row say so, or is it gone? Version 1 has only its sequence to ask.
SELECT coalesce((pg_catalog.to_jsonb(lock) ->> 'used')::boolean, lock.name IS NULL OR
           CASE WHEN pg_catalog.has_sequence_privilege(counted.name, 'SELECT')
                THEN pg_catalog.pg_sequence_last_value(counted.name::regclass) IS NOT NULL END, false) AS used
  FROM (SELECT pg_catalog.pg_get_serial_sequence(:tracker, 'seq') AS name) AS counted
  LEFT JOIN {lock} AS lock ON lock.name = 'deploy'

-- name: retire_all
-- Before a success: no other finished run of this revision is live any more.
UPDATE {tracker}
   SET superseded_by = :run_id,
       status = CASE WHEN status = 'success' AND :direction = 'downgrade' THEN 'rolled_back' ELSE status END,
       effect = CASE WHEN status = 'success' AND :direction = 'downgrade' THEN 'none' ELSE effect END
 WHERE revision = :revision AND superseded_by = '' AND status <> 'pending'

-- name: retire_failed
-- Before a failure: earlier failures of this revision are not live any more, but for those that left something.
UPDATE {tracker} SET superseded_by = :run_id
 WHERE revision = :revision AND superseded_by = '' AND status = 'failed'
   AND (effect = 'none' OR :effect <> 'none' OR :kind = 'resolve')

-- name: finish
-- The end of a pending run, if the fence is still ours and the step's transaction still the same. `lost` says that the row
-- of the run or of the lock is gone, as this transaction sees it.
WITH fence AS (
    SELECT 1 FROM {lock} WHERE name = 'deploy' AND fence = :fence FOR SHARE),
finished AS (
    UPDATE {tracker}
       SET status = :status, effect = :effect, reason = :reason, error = :error, result = :result::jsonb,
           progress = coalesce(:progress::jsonb, progress),
           log_file = :log_file, finished_at = clock_timestamp(),
           duration_ms = extract(epoch FROM clock_timestamp() - started_at) * 1000
     WHERE run_id = :run_id AND status = 'pending' AND fence <= :fence AND EXISTS (SELECT FROM fence)
       AND coalesce(pg_catalog.current_setting('migrator.run', true), '') = :transaction
    RETURNING 1)
SELECT CASE count(*) WHEN 1 THEN 1
            ELSE (count(*) || CASE WHEN EXISTS (SELECT FROM {tracker} WHERE run_id = :run_id)
                                        AND EXISTS (SELECT FROM {lock} WHERE name = 'deploy')
                                   THEN ' runs: refused' ELSE ' runs: lost' END)::int END FROM finished

-- name: mark
-- How far a pending run is, if the fence is still ours.
WITH fence AS (
    SELECT 1 FROM {lock} WHERE name = 'deploy' AND fence = :fence FOR SHARE),
marked AS (
    UPDATE {tracker} SET progress = :progress::jsonb, result = :result::jsonb
     WHERE run_id = :run_id AND status = 'pending' AND EXISTS (SELECT FROM fence)
    RETURNING 1)
SELECT CASE count(*) WHEN 1 THEN 1 ELSE (count(*) || ' runs: refused')::int END FROM marked

-- name: note
-- A run that has ended and changes no state, so that it is never live.
INSERT INTO {tracker} (run_id, revision, title, kind, direction, status, effect, reason, error, attempt, transactional,
                       checksum, path, params, result, log_file, deploy_id, owner, host, pid, "user", release, fence,
                       superseded_by, duration_ms, started_at, finished_at)
VALUES (:run_id, :revision, :title, :kind, :direction, :status, :effect, :reason, :error, :attempt, :transactional,
        :checksum, :path, :params::jsonb, :result::jsonb, :log_file, :deploy_id, :owner, :host, :pid, :user, :release, :fence,
        :run_id, :duration_ms, clock_timestamp() - :duration_ms * interval '1 millisecond', clock_timestamp())

-- name: firings
-- The last firing of every schedule.
SELECT name, due, next, word, by, message, runs,
       coalesce(pg_catalog.to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), '') AS started_at,
       coalesce(pg_catalog.to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), '') AS finished_at
  FROM {schedule} ORDER BY name

-- name: claim_firing
-- The next firing of a schedule, for the one who knows the last.
INSERT INTO {schedule} AS kept (name, due, next, word, by, runs, started_at)
SELECT :name, :due, :next, :word, :by, :runs, CASE WHEN :word = 'running' THEN clock_timestamp() END
 WHERE :last = '' OR EXISTS (SELECT FROM {schedule} WHERE name = :name)
    ON CONFLICT (name) DO UPDATE
   SET due = excluded.due, next = excluded.next, word = excluded.word, by = excluded.by, runs = excluded.runs,
       started_at = coalesce(excluded.started_at, kept.started_at), finished_at = NULL, message = ''
 WHERE kept.due = :last
RETURNING 1

-- name: end_firing
-- How a firing ended, unless a later one began.
UPDATE {schedule} SET word = :word, message = :message, finished_at = clock_timestamp()
 WHERE name = :name AND due = :due

-- name: journal_begin
-- An entry of the audit, unless its caller has used its key.
INSERT INTO {audit} (entry_id, who, role, via, action, address, databases, subject, asked, key, instance, word, message)
VALUES (:entry_id, :who, :role, :via, :action, :address, :databases, :subject, :asked, :key, :instance, :word, :message)
    ON CONFLICT (who, key) WHERE key <> '' DO NOTHING
RETURNING 1

-- name: journal_used
-- The entry with which a caller used a key.
SELECT entry_id, who, role, via, action, address, databases, subject, asked, key, instance, word, message, result,
       pg_catalog.to_char(begun_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS begun_at,
       coalesce(pg_catalog.to_char(ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), '') AS ended_at
  FROM {audit} WHERE who = :who AND key = :key AND key <> ''

-- name: journal_end
-- How an entry ended, unless it has ended already.
UPDATE {audit} SET word = :word, message = :message, result = :result, ended_at = clock_timestamp()
 WHERE entry_id = :entry_id AND ended_at IS NULL

-- name: journal_entries
-- Entries of the audit, newest first. A condition without a value is folded away.
SELECT entry_id, who, role, via, action, address, databases, subject, asked, key, instance, word, message, result,
       pg_catalog.to_char(begun_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS begun_at,
       coalesce(pg_catalog.to_char(ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), '') AS ended_at
  FROM {audit}
 WHERE (:entry_id::text IS NULL OR entry_id = :entry_id)
   AND (:action::text IS NULL OR action = :action)
   AND (:after::text IS NULL OR entry_id < :after)
 ORDER BY entry_id DESC
 LIMIT :limit

-- name: journal_tokens
-- Every token, revoked ones too.
SELECT token_id, name, sha256, role, databases, made_at, made_by, expires_at, revoked_at
  FROM {token} ORDER BY name COLLATE "C", token_id COLLATE "C"

-- name: journal_keep_token
-- A token, in place of the one with its id.
INSERT INTO {token} (token_id, name, sha256, role, databases, made_at, made_by, expires_at, revoked_at)
VALUES (:token_id, :name, :hash, :role, :databases, :made_at, :made_by, :expires_at, :revoked_at)
    ON CONFLICT (token_id) DO UPDATE
   SET name = excluded.name, sha256 = excluded.sha256, role = excluded.role, databases = excluded.databases,
       made_at = excluded.made_at, made_by = excluded.made_by, expires_at = excluded.expires_at,
       revoked_at = excluded.revoked_at

-- name: standing
-- Why a write was refused: the fence now (none where the row is gone), and what is known of the run.
SELECT (SELECT fence FROM {lock} WHERE name = 'deploy') AS fence,
       (SELECT status FROM {tracker} WHERE run_id = :run_id) AS status

-- name: guarded
-- Is the advisory lock still that of this session? An error of its own where it is not.
SELECT CASE count(*) WHEN 0 THEN (count(*) || ' locks: gone')::int END
  FROM pg_catalog.pg_locks
 WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND pid = pg_catalog.pg_backend_pid()
   AND classid = :class::bigint::oid AND objid = :key::bigint::oid

-- name: lease
-- The right to do a chore, where nobody has it.
INSERT INTO {lock} AS held (name, version, fence, owner, host, pid, "user", release, acquired_at, expires_at)
SELECT :chore, 0, 1, :owner, :host, :pid, :user, :release, clock_timestamp(), clock_timestamp() + :lease * interval '1 second'
    ON CONFLICT (name) DO UPDATE
   SET fence = held.fence + 1, owner = excluded.owner, host = excluded.host, pid = excluded.pid, "user" = excluded."user",
       release = excluded.release, acquired_at = excluded.acquired_at, expires_at = excluded.expires_at
 WHERE held.expires_at <= clock_timestamp()
RETURNING fence

-- name: leased
-- Who does a chore now.
SELECT host, pid, "user", pg_catalog.to_char(acquired_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS since
  FROM {lock} WHERE name = :chore AND expires_at > clock_timestamp()

-- name: keep
-- Keep a chore for another while, or with a lease of 0 give it back.
UPDATE {lock} SET expires_at = clock_timestamp() + :lease * interval '1 second'
 WHERE name = :chore AND owner = :owner AND expires_at > clock_timestamp()
RETURNING 1

-- name: claim
-- A checkpoint becomes ours: a new one, or an earlier holder's. No row is an error, which ends the transaction.
WITH claimed AS (
    INSERT INTO {checkpoint} AS kept (origin, name, slice, run_id, fence, low, high, cursor, total, done)
    SELECT :origin, :name, :slice, :run_id, :fence, :low::jsonb, :high::jsonb, :cursor::jsonb, :total, :done
      FROM {lock} AS lock WHERE lock.name = 'deploy' AND lock.fence = :fence FOR SHARE
    ON CONFLICT (origin, name, slice) DO UPDATE
       SET run_id = excluded.run_id, fence = excluded.fence, waiting = '', done = kept.done AND NOT :reopen
     WHERE kept.fence <= excluded.fence
    RETURNING kept.*)
SELECT * FROM claimed

-- name: join
-- The checkpoint of a slice, if it still belongs to the run that made it.
SELECT * FROM {checkpoint}
 WHERE origin = :origin AND name = :name AND slice = :slice AND run_id = :run_id AND fence = :fence

-- name: withdraw
-- Take checkpoints away from a run: of one loop, or of all. Waits for the batches that are open.
UPDATE {checkpoint} SET run_id = ''
 WHERE origin = :origin AND run_id = :run_id AND (:name::text IS NULL OR name = :name)

-- name: moved
-- A checkpoint moves from where we know it, if it and the fence are still ours. No row is an error of its own.
WITH moved AS (
    UPDATE {checkpoint}
       SET low = :low::jsonb, cursor = :cursor::jsonb, rows = :rows, batches = :batches, retries = :retries,
           splits = :splits, skipped = :skipped, size = :size, rate = :rate, waiting = :waiting,
           throttled = :throttled::jsonb, done = :done, updated_at = clock_timestamp()
     WHERE origin = :origin AND name = :name AND slice = :slice AND run_id = :run_id AND fence = :fence
       AND cursor IS NOT DISTINCT FROM :was::jsonb
       AND EXISTS (SELECT FROM {lock} AS lock WHERE lock.name = 'deploy' AND lock.fence = :fence FOR SHARE)
    RETURNING 1)
SELECT CASE count(*) WHEN 1 THEN 1 ELSE (count(*) || ' runs: refused')::int END FROM moved

-- name: failed_row
-- A row that was passed over.
INSERT INTO {failures} (origin, name, key, run_id, error) VALUES (:origin, :name, :key::jsonb, :run_id, :error)
ON CONFLICT (origin, name, key) DO UPDATE SET run_id = excluded.run_id, error = excluded.error, at = excluded.at

-- name: mended
-- A row that was passed over is done by now.
DELETE FROM {failures} WHERE origin = :origin AND name = :name AND key = :key::jsonb RETURNING 1

-- name: control
-- What people want of a long change.
SELECT desired, by, reason, settings,
       pg_catalog.to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS at
  FROM {control} WHERE origin = :origin

-- name: ask
-- What people want of a long change, in place of what they wanted before.
INSERT INTO {control} (origin, desired, by, reason, settings)
VALUES (:origin, :desired, :by, :reason, :settings::jsonb)
    ON CONFLICT (origin) DO UPDATE
   SET desired = excluded.desired, by = excluded.by, reason = excluded.reason, settings = excluded.settings,
       at = excluded.at

-- name: checkpoints
-- How far the loops of a long change have come.
SELECT * FROM {checkpoint} WHERE origin = :origin ORDER BY name, slice

-- name: failures
-- The rows that the loops of a long change passed over, oldest first.
SELECT name, key, run_id, error,
       pg_catalog.to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS at
  FROM {failures} AS failed WHERE origin = :origin ORDER BY failed.at, name, key
