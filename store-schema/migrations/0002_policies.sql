-- Authorization policies: of whole tokens, and the machine states that authorities approved.

-- The policy that the user's seal has besides the PIN; JSON.
ALTER TABLE tokens ADD COLUMN policy TEXT;

-- Nothing here is trusted for standing here: an approval counts for its signature.
CREATE TABLE approvals (
    id            INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
    -- SHA-256 of the authority's public key.
    authority     BLOB    NOT NULL CHECK (length(authority) = 32),
    -- The PCR bank by the name of its hash, and the PCRs: bit n is PCR n.
    bank          TEXT    NOT NULL,
    pcrs          INTEGER NOT NULL CHECK (pcrs BETWEEN 1 AND 16777215),
    -- The digest of the approved policy, and the signature over it.
    policy_digest BLOB    NOT NULL,
    signature     BLOB    NOT NULL,
    -- The counter that the policy also looks at, for approvals that can be revoked; JSON.
    counter_limit TEXT,
    comment       TEXT,
    created       INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX approvals_once ON approvals (authority, policy_digest, bank, pcrs);
