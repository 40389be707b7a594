-- The tables of the tracker, and the steps from version to version. {schema} is the quoted schema; a step names the
-- tables as they were called then, and is never changed once it was released.

-- name: begin
-- One at a time makes or changes a tracker in this database; the catalog is read after that, so read committed.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL lock_timeout = '5s';
SELECT pg_catalog.pg_advisory_xact_lock(1835624306, 0)

-- name: create
-- Everything of the newest version that is not there yet.
CREATE TABLE IF NOT EXISTS {lock} (
    name        text PRIMARY KEY,
    version     integer NOT NULL,
    fence       bigint NOT NULL DEFAULT 0,
    owner       text NOT NULL DEFAULT '',
    host        text NOT NULL DEFAULT '',
    pid         integer NOT NULL DEFAULT 0,
    "user"      text NOT NULL DEFAULT '',
    release     text NOT NULL DEFAULT '',
    acquired_at timestamptz,
    expires_at  timestamptz,
    evictions   jsonb NOT NULL DEFAULT '[]',
    made_by     text NOT NULL DEFAULT '',
    used        boolean NOT NULL DEFAULT false
);
CREATE TABLE IF NOT EXISTS {tracker} (
    seq           bigint GENERATED ALWAYS AS IDENTITY,
    run_id        text COLLATE "C" PRIMARY KEY,
    revision      text NOT NULL,
    title         text NOT NULL DEFAULT '',
    kind          text NOT NULL,
    direction     text NOT NULL CHECK (direction IN ('upgrade', 'downgrade')),
    status        text NOT NULL CHECK (status IN ('pending', 'success', 'failed', 'rolled_back')),
    effect        text NOT NULL CHECK (effect IN ('none', 'partial', 'full', 'unknown')),
    reason        text NOT NULL DEFAULT '',
    forced        boolean NOT NULL DEFAULT false,
    attempt       integer NOT NULL DEFAULT 1,
    transactional boolean NOT NULL DEFAULT true,
    checksum      text NOT NULL DEFAULT '',
    path          text NOT NULL DEFAULT '',
    source        text NOT NULL DEFAULT '',
    params        jsonb,
    progress      jsonb,
    cursor        jsonb,
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at   timestamptz,
    duration_ms   double precision,
    result        jsonb,
    error         text NOT NULL DEFAULT '',
    log_file      text NOT NULL DEFAULT '',
    deploy_id     text NOT NULL DEFAULT '',
    owner         text NOT NULL DEFAULT '',
    host          text NOT NULL DEFAULT '',
    pid           integer NOT NULL DEFAULT 0,
    "user"        text NOT NULL DEFAULT '',
    release       text NOT NULL DEFAULT '',
    fence         bigint NOT NULL,
    superseded_by text NOT NULL DEFAULT '',
    CHECK ((status = 'pending') = (finished_at IS NULL)),
    CHECK (status <> 'success' OR effect = 'full'),
    CHECK (status <> 'rolled_back' OR effect = 'none')
);
CREATE UNIQUE INDEX IF NOT EXISTS script_run_tracker_one_pending
    ON {tracker} ((CASE WHEN kind = 'script' THEN revision ELSE '' END)) WHERE status = 'pending';
CREATE UNIQUE INDEX IF NOT EXISTS script_run_tracker_one_success
    ON {tracker} (revision) WHERE status = 'success' AND superseded_by = '';
CREATE INDEX IF NOT EXISTS script_run_tracker_kept_under
    ON {tracker} (coalesce(cursor ->> 'failed_of', cursor ->> 'origin')) WHERE cursor IS NOT NULL;
CREATE TABLE IF NOT EXISTS {checkpoint} (
    origin     text NOT NULL,
    name       text NOT NULL,
    slice      integer NOT NULL,
    run_id     text NOT NULL,
    fence      bigint NOT NULL,
    low        jsonb,
    high       jsonb,
    cursor     jsonb,
    rows       bigint NOT NULL DEFAULT 0,
    total      bigint NOT NULL DEFAULT -1,
    batches    bigint NOT NULL DEFAULT 0,
    retries    bigint NOT NULL DEFAULT 0,
    splits     bigint NOT NULL DEFAULT 0,
    skipped    bigint NOT NULL DEFAULT 0,
    size       bigint NOT NULL DEFAULT 0,
    rate       double precision NOT NULL DEFAULT 0,
    waiting    text NOT NULL DEFAULT '',
    throttled  jsonb NOT NULL DEFAULT '{}',
    done       boolean NOT NULL DEFAULT false,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (origin, name, slice)
);
CREATE TABLE IF NOT EXISTS {control} (
    origin   text PRIMARY KEY,
    desired  text NOT NULL CHECK (desired IN ('run', 'pause', 'cancel')),
    by       text NOT NULL DEFAULT '',
    reason   text NOT NULL DEFAULT '',
    settings jsonb NOT NULL DEFAULT '{}',
    at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS {failures} (
    origin text NOT NULL,
    name   text NOT NULL,
    key    jsonb NOT NULL,
    run_id text NOT NULL,
    error  text NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (origin, name, key)
);
CREATE TABLE IF NOT EXISTS {schedule} (
    name        text PRIMARY KEY,
    due         text NOT NULL,
    next        text NOT NULL DEFAULT '',
    word        text NOT NULL,
    by          text NOT NULL DEFAULT '',
    started_at  timestamptz,
    finished_at timestamptz,
    message     text NOT NULL DEFAULT '',
    runs        bigint NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS {audit} (
    entry_id  text COLLATE "C" PRIMARY KEY,
    who       text NOT NULL,
    role      text NOT NULL,
    via       text NOT NULL,
    action    text NOT NULL,
    address   text NOT NULL DEFAULT '',
    databases text[] NOT NULL DEFAULT '{}',
    subject   text NOT NULL DEFAULT '',
    asked     json NOT NULL DEFAULT '{}',
    key       text NOT NULL DEFAULT '',
    instance  text NOT NULL DEFAULT '',
    word      text NOT NULL,
    message   text NOT NULL DEFAULT '',
    result    json,
    begun_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at  timestamptz
);
CREATE UNIQUE INDEX IF NOT EXISTS script_run_audit_used ON {audit} (who, key) WHERE key <> '';
CREATE TABLE IF NOT EXISTS {token} (
    token_id   text PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    role       text NOT NULL,
    databases  text[] NOT NULL DEFAULT '{}',
    made_at    text NOT NULL DEFAULT '',
    made_by    text NOT NULL DEFAULT '',
    expires_at text NOT NULL DEFAULT '',
    revoked_at text NOT NULL DEFAULT ''
);
COMMENT ON TABLE {tracker} IS 'migrator: one row for each run';
COMMENT ON TABLE {lock} IS 'migrator: who may change this database, and the version of these tables';
COMMENT ON TABLE {checkpoint} IS 'migrator: how far long changes have come';
COMMENT ON TABLE {control} IS 'migrator: what was asked of long changes';
COMMENT ON TABLE {failures} IS 'migrator: rows that long changes skipped';
COMMENT ON TABLE {schedule} IS 'migrator: the last firing of each schedule';
COMMENT ON TABLE {audit} IS 'migrator: changes that were asked for over HTTP';
COMMENT ON TABLE {token} IS 'migrator: tokens of the HTTP API'

-- name: step_2
-- One prefix for all tables. `migrator_lock` stays as a view, in which version 1 reads that it is too old.
ALTER TABLE {schema}.migrator_lock RENAME TO script_run_lock;
ALTER INDEX IF EXISTS {schema}.migrator_lock_pkey RENAME TO script_run_lock_pkey;
ALTER TABLE {schema}.script_run_lock ADD COLUMN IF NOT EXISTS made_by text NOT NULL DEFAULT '',
                                     ADD COLUMN IF NOT EXISTS used boolean NOT NULL DEFAULT false;
CREATE VIEW {schema}.migrator_lock AS SELECT name, version, fence FROM {schema}.script_run_lock;
COMMENT ON VIEW {schema}.migrator_lock IS 'migrator: tells a release that knows version 1 only that it is too old';
ALTER TABLE IF EXISTS {schema}.script_schedule RENAME TO script_run_schedule;
ALTER INDEX IF EXISTS {schema}.script_schedule_pkey RENAME TO script_run_schedule_pkey;
ALTER TABLE IF EXISTS {schema}.script_audit RENAME TO script_run_audit;
ALTER INDEX IF EXISTS {schema}.script_audit_pkey RENAME TO script_run_audit_pkey;
ALTER INDEX IF EXISTS {schema}.script_audit_used RENAME TO script_run_audit_used;
ALTER TABLE IF EXISTS {schema}.script_token RENAME TO script_run_token;
ALTER INDEX IF EXISTS {schema}.script_token_pkey RENAME TO script_run_token_pkey

-- name: movable
-- May the tracker be changed: does no lease run, and is the advisory lock free or ours?
SELECT NOT EXISTS (SELECT FROM {lock} WHERE name = 'deploy' AND expires_at > clock_timestamp())
       AND pg_catalog.pg_try_advisory_xact_lock(:class, :key) AS free

-- name: seal
-- The row of the lock, with a fence that is not below any that was given out, and the version. Where the row was not there
-- in a tracker that was, somebody emptied it, so it counts as used.
INSERT INTO {lock} AS lock (name, version, fence, made_by, used)
SELECT 'deploy', :version, coalesce(max(fence), 0), :made_by, :existed FROM {tracker}
    ON CONFLICT (name) DO UPDATE
   SET version = excluded.version, made_by = excluded.made_by,
       used = lock.used OR :was < 2 AND (EXISTS (SELECT FROM {tracker}) OR pg_catalog.pg_sequence_last_value(
           pg_catalog.pg_get_serial_sequence(:tracker, 'seq')::regclass) IS NOT NULL)

-- name: missing
-- The statements that add what the tables lack, compared with those that were made in pg_temp.
WITH pair AS (
    SELECT wanted.oid AS wanted, there.oid AS there
      FROM pg_catalog.pg_class AS wanted
      JOIN pg_catalog.pg_class AS there ON there.relname = wanted.relname AND there.relkind IN ('r', 'p')
      JOIN pg_catalog.pg_namespace AS place ON place.oid = there.relnamespace AND place.nspname = :schema
     WHERE wanted.relnamespace = pg_catalog.pg_my_temp_schema() AND wanted.relkind = 'r'
       AND wanted.relname = ANY (:names)),
columns AS (
    SELECT pair.there, want.attname AS name, want.attnum, have.attname IS NULL AS absent,
           pg_catalog.format_type(want.atttypid, want.atttypmod) AS type, want.attnotnull AS needed,
           pg_catalog.pg_get_expr(base.adbin, base.adrelid) AS base,
           want.attidentity <> '' AS counts,
           coalesce(have.atthasdef, false) AS based
      FROM pair
      JOIN pg_catalog.pg_attribute AS want ON want.attrelid = pair.wanted AND want.attnum > 0
      LEFT JOIN pg_catalog.pg_attribute AS have
             ON have.attrelid = pair.there AND have.attname = want.attname AND NOT have.attisdropped
      LEFT JOIN pg_catalog.pg_attrdef AS base ON base.adrelid = want.attrelid AND base.adnum = want.attnum)
SELECT pg_catalog.format('ALTER TABLE %s ADD COLUMN %I %s', there::regclass, name, type)
       || CASE WHEN counts THEN ' GENERATED ALWAYS AS IDENTITY' WHEN base IS NOT NULL THEN ' DEFAULT ' || base ELSE '' END
       || CASE WHEN needed AND base IS NOT NULL THEN ' NOT NULL' ELSE '' END AS text
  FROM columns WHERE absent
UNION ALL
SELECT pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', there::regclass, name, base)
  FROM columns WHERE NOT absent AND base IS NOT NULL AND NOT based
UNION ALL
SELECT pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I %s',
                         pair.there::regclass, want.conname, pg_catalog.pg_get_constraintdef(want.oid))
  FROM pair
  JOIN pg_catalog.pg_constraint AS want ON want.conrelid = pair.wanted AND want.contype IN ('p', 'c')
 WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS have
                    WHERE have.conrelid = pair.there AND have.conname = want.conname)
