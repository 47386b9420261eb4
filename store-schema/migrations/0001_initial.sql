-- The store: primary keys of the TPM, tokens under them, their PINs, and the objects of the tokens.
--
-- Every id is AUTOINCREMENT: an id is never given twice, so that a handle made from it never comes
-- to mean something else. Whatever is searched or ruled by has a column of its own; all other
-- attributes of an object stand in "attributes".

CREATE TABLE primaries (
    id           INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
    -- 'o' owner, 'e' endorsement, 'p' platform, 'n' null.
    hierarchy    TEXT    NOT NULL CHECK (hierarchy IN ('o', 'e', 'p', 'n')),
    -- The persistent handle; NULL for a primary that is made anew when needed.
    handle       INTEGER CHECK (handle BETWEEN 0 AND 4294967295),
    -- TPMT_PUBLIC and the name of the object.
    public       BLOB    NOT NULL,
    name         BLOB    NOT NULL,
    -- The authorization of the primary itself, usually empty: it protects nothing by itself.
    auth         BLOB    NOT NULL,
    -- What this TPM was found to be able to do; JSON.
    capabilities TEXT    NOT NULL,
    created      INTEGER NOT NULL
) STRICT;

CREATE TABLE tokens (
    id             INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
    primary_id     INTEGER NOT NULL REFERENCES primaries (id) ON DELETE RESTRICT,
    label          TEXT    NOT NULL,
    serial         TEXT    NOT NULL UNIQUE
                   CHECK (length(serial) = 16 AND serial NOT GLOB '*[^0-9A-Fa-f]*'),
    -- The slot the token is seen in. It stays the same as long as the token lives.
    slot           INTEGER NOT NULL UNIQUE CHECK (slot BETWEEN 0 AND 4294967295),
    initialized    INTEGER NOT NULL CHECK (initialized IN (0, 1)),
    login_required INTEGER NOT NULL CHECK (login_required IN (0, 1)),
    -- Settings of the token; JSON.
    config         TEXT    NOT NULL,
    created        INTEGER NOT NULL
) STRICT;

CREATE INDEX tokens_of_primary ON tokens (primary_id);

CREATE TABLE pins (
    token_id      INTEGER NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    role          TEXT    NOT NULL CHECK (role IN ('so', 'user')),
    -- The TPM object that the PIN unlocks: TPM2B_PUBLIC and TPM2B_PRIVATE.
    public        BLOB    NOT NULL,
    private       BLOB    NOT NULL,
    salt          BLOB    NOT NULL,
    iterations    INTEGER NOT NULL CHECK (iterations BETWEEN 0 AND 4294967295),
    to_be_changed INTEGER NOT NULL CHECK (to_be_changed IN (0, 1)),
    PRIMARY KEY (token_id, role)
) STRICT, WITHOUT ROWID;

CREATE TABLE objects (
    id           INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
    token_id     INTEGER NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    -- Chosen at random when the object is made; what is sealed for it is bound to it.
    uid          BLOB    NOT NULL UNIQUE CHECK (length(uid) = 16),
    class        INTEGER NOT NULL CHECK (class BETWEEN 0 AND 4294967295),
    key_type     INTEGER CHECK (key_type BETWEEN 0 AND 4294967295),
    label        BLOB,
    cka_id       BLOB,
    private      INTEGER NOT NULL CHECK (private IN (0, 1)),
    tpm_name     BLOB,
    tpm_public   BLOB,
    tpm_private  BLOB,
    -- The authorization of the key, sealed under the token's wrapping key.
    wrapped_auth BLOB,
    -- The authorization policy of the key; JSON.
    policy       TEXT,
    -- Over the whole row and its attributes, under a key derived from the wrapping key.
    mac          BLOB
) STRICT;

CREATE INDEX objects_of_token ON objects (token_id);

CREATE TABLE attributes (
    object_id INTEGER NOT NULL REFERENCES objects (id) ON DELETE CASCADE,
    -- An unsigned number of 64 bits in the place of a signed one.
    type      INTEGER NOT NULL,
    value     BLOB    NOT NULL,
    PRIMARY KEY (object_id, type)
) STRICT, WITHOUT ROWID;
