-- Attestation keys, and what authorities say of them and of the TPM. No token owns them, and no search finds them.

CREATE TABLE attestation_keys (
    id           INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
    primary_id   INTEGER NOT NULL REFERENCES primaries (id) ON DELETE CASCADE,
    -- The authority that the key is shown to, by the name that the administrator gives it: no two see the same key.
    authority    TEXT    NOT NULL,
    -- TPM2B_PUBLIC and TPM2B_PRIVATE.
    public       BLOB    NOT NULL,
    private      BLOB    NOT NULL,
    -- TPMS_CREATION_DATA, and the TPMS_ATTEST and TPMT_SIGNATURE by which the key certifies its own creation.
    creation_data      BLOB NOT NULL,
    creation_attest    BLOB NOT NULL,
    creation_signature BLOB NOT NULL,
    -- The certificate that the authority issued for it and those above, DER, one after the other; empty before.
    chain        BLOB    NOT NULL DEFAULT x'',
    created      INTEGER NOT NULL,
    UNIQUE (primary_id, authority)
) STRICT;

-- What the TPM's NV memory has of the certificates of its endorsement keys, read once.
CREATE TABLE endorsement_certificates (
    primary_id INTEGER NOT NULL REFERENCES primaries (id) ON DELETE CASCADE,
    -- The NV index; 0 for the certificates of the authorities above.
    nv_index   INTEGER NOT NULL CHECK (nv_index BETWEEN 0 AND 4294967295),
    content    BLOB    NOT NULL,
    PRIMARY KEY (primary_id, nv_index)
) STRICT, WITHOUT ROWID;
