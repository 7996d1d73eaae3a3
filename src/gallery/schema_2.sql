-- Version 2: expiry, negative samples, loose pictures, the audit log, and what is being forgotten.

-- When the person stops being matched: milliseconds since 1970, UTC. NULL: never.
ALTER TABLE persons ADD COLUMN expires INTEGER;

-- 1: the picture is not this person, though it looks like them.
ALTER TABLE samples ADD COLUMN negative INTEGER NOT NULL DEFAULT 0 CHECK (negative IN (0, 1));

-- The face with its surroundings, from which another alignment can be cut. `points` are the five
-- landmarks in pixels of the picture: ten little-endian 32-bit floats, x before y.
CREATE TABLE loose_crops (
    sample INTEGER PRIMARY KEY REFERENCES samples (id) ON DELETE CASCADE,
    png BLOB NOT NULL,
    points BLOB NOT NULL CHECK (length(points) = 40)
) STRICT;

-- What was done. Never a name; the person's id, which goes with the person when they are forgotten.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    what TEXT NOT NULL,
    person TEXT,
    -- Samples, or people, that it was done to.
    count INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_person ON audit (person);

-- One row per person whose rows are deleted and of whom the files may still have remnants: keyed
-- hashes of what must not be found there.
CREATE TABLE forgetting (
    id INTEGER PRIMARY KEY,
    needles BLOB NOT NULL
) STRICT;
