-- Version 1 of a gallery file. A change is a new file and a new step in store.rs, never an edit here.
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    -- The embedding space of all samples.
    model TEXT NOT NULL,
    alignment TEXT NOT NULL,
    dim INTEGER NOT NULL CHECK (dim > 0),
    probe BLOB NOT NULL,
    -- Raised by every write.
    generation INTEGER NOT NULL,
    -- The generation of the last write that removed or replaced samples or people. Who has read a
    -- later one needs to read only what was added since.
    rewritten INTEGER NOT NULL,
    created TEXT NOT NULL
) STRICT;

CREATE TABLE persons (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    attributes TEXT NOT NULL DEFAULT '{}',
    threshold REAL,
    created TEXT NOT NULL,
    updated TEXT NOT NULL
) STRICT;

-- Ids are never used twice: readers ask for those above the highest they know.
CREATE TABLE samples (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    person INTEGER NOT NULL REFERENCES persons (seq) ON DELETE CASCADE,
    -- Little-endian 32-bit floats of unit length, and the checksum of these bytes.
    embedding BLOB NOT NULL,
    sha256 BLOB NOT NULL CHECK (length(sha256) = 32),
    source TEXT NOT NULL,
    created TEXT NOT NULL,
    UNIQUE (person, sha256)
) STRICT;

-- Aligned pictures, apart from the embeddings: reading all embeddings stays a scan of few pages.
CREATE TABLE crops (
    sample INTEGER PRIMARY KEY REFERENCES samples (id) ON DELETE CASCADE,
    png BLOB NOT NULL
) STRICT;
