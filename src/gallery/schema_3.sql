-- Version 3: who has read an earlier generation reads only what changed since.

-- The generation of the write that made or changed the row; 0: before this version.
ALTER TABLE persons ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE samples ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
CREATE INDEX persons_generation ON persons (generation);
CREATE INDEX samples_generation ON samples (generation);

-- What was removed, and by which generation. Only numbers, which are never used again: nothing here
-- tells of whom. The oldest rows are dropped when they become many; meta.rewritten is then the last
-- generation dropped. From this version on meta.rewritten says: who has read an earlier generation
-- than this reads everything.
CREATE TABLE removed (
    generation INTEGER NOT NULL,
    -- 0: a person (persons.seq) with all samples, 1: a sample (samples.id).
    kind INTEGER NOT NULL CHECK (kind IN (0, 1)),
    row INTEGER NOT NULL
) STRICT;
CREATE INDEX removed_generation ON removed (generation);
