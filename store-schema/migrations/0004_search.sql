-- What clients search by, so that a search reads what it finds and no more; and what changed, so that who has read before
-- need not read all again.

CREATE INDEX objects_by_class ON objects (token_id, class, key_type, private);
CREATE INDEX objects_by_label ON objects (token_id, label);
CREATE INDEX objects_by_id ON objects (token_id, cka_id);

-- Long values by their last bytes, which differ even where whole structures begin alike. CKA_VALUE, CKA_ISSUER,
-- CKA_SERIAL_NUMBER, CKA_SUBJECT, CKA_MODULUS, CKA_PUBLIC_KEY_INFO, CKA_EC_POINT: a query says the same list.
CREATE INDEX attributes_by_end ON attributes (type, substr(value, -16)) WHERE type IN (17, 129, 130, 257, 288, 297, 385);

-- The latest changes, oldest first. It says where to look, and nothing is believed for its sake.
CREATE TABLE changes (
    id        INTEGER PRIMARY KEY AUTOINCREMENT CHECK (id > 0),
    token_id  INTEGER NOT NULL,
    -- 0 for all objects of the token.
    object_id INTEGER NOT NULL
) STRICT;
