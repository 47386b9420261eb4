-- What a store of tpm2-pkcs11 brings with it when it is taken over.

-- How a PIN becomes the authorization of its TPM object: PBKDF2-HMAC-SHA256, or the first half of
-- SHA-256 over PIN and salt in hexadecimal digits, as that software has it.
ALTER TABLE pins ADD COLUMN derivation TEXT NOT NULL DEFAULT 'pbkdf2'
      CHECK (derivation IN ('pbkdf2', 'sha256'));

-- What a primary without a handle is derived from.
ALTER TABLE primaries ADD COLUMN template TEXT NOT NULL DEFAULT 'srk'
      CHECK (template IN ('srk', 'rsa', 'rsa-noda', 'ecc', 'ecc-noda'));
