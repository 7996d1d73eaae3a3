-- Version 1 of a shared gallery. A change is a new file and a new step in mod.rs, never an edit here.

-- Embedding spaces. The embeddings of each are in a table of their own, embeddings_ID.
CREATE TABLE spaces (
    id INTEGER GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model TEXT NOT NULL,
    alignment TEXT NOT NULL,
    dim INTEGER NOT NULL CHECK (dim > 0),
    -- Little-endian 32-bit floats.
    probe BYTEA NOT NULL
);

CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    schema_version INTEGER NOT NULL,
    -- The space in use, and the one that a roll-back returns to.
    space INTEGER NOT NULL REFERENCES spaces (id),
    previous INTEGER REFERENCES spaces (id),
    -- When the space in use was entered.
    entered TEXT NOT NULL,
    -- Raised by every write, which locks this row first: writers wait for each other.
    generation BIGINT NOT NULL,
    -- Whoever has read an earlier generation has to read everything.
    rewritten BIGINT NOT NULL,
    created TEXT NOT NULL
);

CREATE TABLE persons (
    seq BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL UNIQUE,
    -- JSON.
    attributes TEXT NOT NULL DEFAULT '{}',
    threshold REAL,
    -- Milliseconds since 1970, UTC. NULL: never.
    expires BIGINT,
    created TEXT NOT NULL,
    updated TEXT NOT NULL,
    -- The last one in which what readers keep of the person changed.
    generation BIGINT NOT NULL
);
CREATE INDEX persons_generation ON persons (generation);

CREATE TABLE samples (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person BIGINT NOT NULL REFERENCES persons (seq) ON DELETE CASCADE,
    -- The picture is not this person, though it looks like them.
    negative BOOLEAN NOT NULL DEFAULT FALSE,
    source TEXT NOT NULL,
    created TEXT NOT NULL,
    generation BIGINT NOT NULL,
    -- What the tables of embeddings refer to: they follow every change of it.
    UNIQUE (id, person, negative)
);
CREATE INDEX samples_person ON samples (person);
CREATE INDEX samples_generation ON samples (generation);

-- Aligned pictures, and how they are aligned.
CREATE TABLE crops (
    sample BIGINT PRIMARY KEY REFERENCES samples (id) ON DELETE CASCADE,
    png BYTEA NOT NULL,
    alignment TEXT NOT NULL
);

-- Those that the space in use can be embedded from; the others wait for a roll-back.
CREATE VIEW aligned_crops AS
    SELECT c.sample, c.png FROM crops c, meta, spaces
    WHERE spaces.id = meta.space AND c.alignment = spaces.alignment;

-- `points` are the five landmarks in pixels of the picture: ten little-endian 32-bit floats.
CREATE TABLE loose_crops (
    sample BIGINT PRIMARY KEY REFERENCES samples (id) ON DELETE CASCADE,
    png BYTEA NOT NULL,
    points BYTEA NOT NULL CHECK (length(points) = 40)
);

-- What went, by numbers only, for readers who have it still.
CREATE TABLE gone (
    generation BIGINT NOT NULL,
    person BOOLEAN NOT NULL,
    number BIGINT NOT NULL
);
CREATE INDEX gone_generation ON gone (generation);

CREATE TABLE audit (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at TEXT NOT NULL,
    what TEXT NOT NULL,
    person TEXT,
    count BIGINT NOT NULL
);
CREATE INDEX audit_person ON audit (person);
