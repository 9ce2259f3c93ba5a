-- The store, format 1. One row of `commits` is one revision; everything else hangs on it.
--
-- A "number" is revision * 65536 + place in the commit: rows that share a commit keep their order, tables grow at their
-- end only, and every index ends in it, so a list that is newest first is an index walked backwards.

-- format · epoch · device, inode (of this file when it was opened last) · log_inode (of its -wal then) · verified (the
-- revision up to which opening has counted) · floor (the latest revision of which compaction took something; after it
-- every commit has all of its versions) · backup (only in a marked copy: the next opening begins a new epoch) · probe
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE commits (
  revision INTEGER PRIMARY KEY,
  epoch    TEXT NOT NULL,
  at_ms    INTEGER NOT NULL,
  cause    BLOB NOT NULL            -- canonical JSON
);

-- Every version of every document from its floor on: the patch from the version before, and the whole document at the floor
-- and at every 64th version, so that no version is more than 63 patches away from bytes.
CREATE TABLE versions (
  number    INTEGER PRIMARY KEY,
  kind      TEXT NOT NULL,
  id        TEXT NOT NULL,
  version   INTEGER NOT NULL,
  old_state TEXT NOT NULL,
  new_state TEXT NOT NULL,
  digest    TEXT NOT NULL,
  patch     BLOB,                   -- NULL at version 1
  full      BLOB                    -- NULL where the patch is enough
);
-- `id` first: `kind` alone would tempt the planner to walk every run.
CREATE UNIQUE INDEX versions_by_document ON versions (id, kind, version);

-- The latest version of every document, ready to be sent. What never or rarely changes stands before the bytes.
CREATE TABLE heads (
  number    INTEGER PRIMARY KEY,    -- of version 1: the order of creation
  kind      TEXT NOT NULL,
  id        TEXT NOT NULL,
  pipeline  TEXT NOT NULL,
  state     TEXT NOT NULL,          -- '' for a pipeline, as its status
  status    TEXT NOT NULL,
  floor     INTEGER NOT NULL,       -- oldest version kept
  version   INTEGER NOT NULL,
  revision  INTEGER NOT NULL,
  epoch     TEXT NOT NULL,
  at_ms     INTEGER NOT NULL,
  old_state TEXT NOT NULL,
  digest    TEXT NOT NULL,
  encoded   BLOB NOT NULL
);
CREATE UNIQUE INDEX heads_by_document ON heads (id, kind);
CREATE INDEX pipelines ON heads (id) WHERE kind = 'pipeline';
CREATE INDEX active_runs ON heads (number) WHERE kind = 'run' AND state NOT IN ('success', 'failed', 'stopped');
CREATE INDEX runs_by_pipeline ON heads (pipeline) WHERE kind = 'run';
CREATE INDEX runs_by_status ON heads (status) WHERE kind = 'run';
CREATE INDEX runs_by_state ON heads (state) WHERE kind = 'run';
CREATE INDEX runs_by_pipeline_and_status ON heads (pipeline, status) WHERE kind = 'run';
CREATE INDEX runs_by_pipeline_and_state ON heads (pipeline, state) WHERE kind = 'run';

CREATE TABLE notes (
  kind  TEXT NOT NULL,
  id    TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (kind, id)
) WITHOUT ROWID;
