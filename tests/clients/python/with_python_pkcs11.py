"""python-pkcs11 as a client: with_python_pkcs11.py MODULE SCENARIO. `cryptography` judges what the token made."""

import hashlib
import hmac
import sys
import threading

import pkcs11
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap
from pkcs11 import KDF, MGF, Attribute, KeyType, MechanismFlag, Mechanism, ObjectClass
from pkcs11.util.ec import encode_ec_public_key, encode_named_curve_parameters
from pkcs11.util.rsa import encode_rsa_public_key

PIN = "user-alpha"
LETTER = b"Dear reader, this client passes no arguments to C_Initialize and uses threads all the same."
CURVES = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
HASHES = {
    "SHA_1": hashes.SHA1(), "SHA224": hashes.SHA224(), "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(), "SHA512": hashes.SHA512(),
}


def private(session, label):
    return session.get_key(object_class=ObjectClass.PRIVATE_KEY, label=label)


def public(session, label):
    return session.get_key(object_class=ObjectClass.PUBLIC_KEY, label=label)


def software(key):
    encode = encode_rsa_public_key if key.key_type == KeyType.RSA else encode_ec_public_key
    der = encode(key)
    if key.key_type == KeyType.RSA:
        # The library gives an RSAPublicKey without what is around it.
        return serialization.load_pem_public_key(pem("RSA PUBLIC KEY", der))
    return serialization.load_der_public_key(der)


def pem(name, der):
    import base64
    return f"-----BEGIN {name}-----\n{base64.encodebytes(der).decode()}-----END {name}-----\n".encode()


def dss(signature):
    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))


def lists(token):
    with token.open() as session:
        public_keys = list(session.get_objects({Attribute.CLASS: ObjectClass.PUBLIC_KEY}))
        assert len(public_keys) == 5, public_keys
        assert not list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
    with token.open(user_pin=PIN) as session:
        labels = {key.label for key in session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY})}
        assert labels == {"rsa", "rsa3072", "p256", "p384", "p521"}, labels
        key = private(session, "rsa")
        assert key.key_type == KeyType.RSA and key.key_length == 2048 and key.id == b"\x01"
        assert key[Attribute.SENSITIVE] and key[Attribute.NEVER_EXTRACTABLE]
        try:
            key[Attribute.PRIVATE_EXPONENT]
            raise AssertionError("the private exponent came out")
        except pkcs11.exceptions.AttributeSensitive:
            pass
    try:
        token.open(user_pin="not the PIN")
        raise AssertionError("a wrong PIN let somebody in")
    except pkcs11.exceptions.PinIncorrect:
        pass


def signs(token):
    with token.open(user_pin=PIN) as session:
        for label in ("rsa", "rsa3072"):
            key, judge = private(session, label), software(public(session, label))
            for name, hash in HASHES.items():
                short = name.replace("_", "")
                signature = key.sign(LETTER, mechanism=Mechanism[f"{short}_RSA_PKCS"])
                judge.verify(signature, LETTER, padding.PKCS1v15(), hash)
                assert public(session, label).verify(LETTER, signature, mechanism=Mechanism[f"{short}_RSA_PKCS"])
                assert not public(session, label).verify(LETTER + b"!", signature, mechanism=Mechanism[f"{short}_RSA_PKCS"])
                pss = (Mechanism[name], MGF[short], hash.digest_size)
                signature = key.sign(LETTER, mechanism=Mechanism[f"{short}_RSA_PKCS_PSS"], mechanism_param=pss)
                judge.verify(signature, LETTER, padding.PSS(padding.MGF1(hash), hash.digest_size), hash)
            # The default, and a message in parts.
            key.sign(LETTER)
            signature = key.sign([LETTER[:10], LETTER[10:]], mechanism=Mechanism.SHA256_RSA_PKCS)
            judge.verify(signature, LETTER, padding.PKCS1v15(), hashes.SHA256())
        for label, curve in CURVES.items():
            key, judge = private(session, label), software(public(session, label))
            assert judge.curve.name == curve.name
            for name, hash in HASHES.items():
                signature = key.sign(LETTER, mechanism=Mechanism[f"ECDSA_{name.replace('_', '')}"])
                judge.verify(dss(signature), LETTER, ec.ECDSA(hash))
            signature = key.sign(hashlib.sha256(LETTER).digest(), mechanism=Mechanism.ECDSA)
            judge.verify(dss(signature), LETTER, ec.ECDSA(hashes.SHA256()))
        # Who gets a signature as two numbers passes them on as long as they are (PKCS#11 v3.1 2.3.1): Java does.
        mine, other = private(session, "p521"), public(session, "p521")
        for _ in range(100):
            signature = mine.sign(LETTER, mechanism=Mechanism.ECDSA_SHA256)
            if signature[0] == signature[66] == 0:
                break
        short = signature[1:66] + signature[67:]
        assert len(short) == 130
        assert other.verify(LETTER, short, mechanism=Mechanism.ECDSA_SHA256), "a signature without leading zeros"
        assert not other.verify(LETTER + b"!", short, mechanism=Mechanism.ECDSA_SHA256)


def decrypts(token):
    with token.open(user_pin=PIN) as session:
        for label in ("rsa", "rsa3072"):
            key, judge = private(session, label), software(public(session, label))
            cipher = judge.encrypt(LETTER, padding.PKCS1v15())
            assert key.decrypt(cipher, mechanism=Mechanism.RSA_PKCS) == LETTER
            for name, hash in HASHES.items():
                if 2 * hash.digest_size + 2 + len(LETTER) > judge.key_size // 8:
                    continue
                oaep = padding.OAEP(padding.MGF1(hash), hash, None)
                param = (Mechanism[name], MGF[name.replace("_", "")], None)
                assert key.decrypt(judge.encrypt(LETTER, oaep), mechanism_param=param) == LETTER
                cipher = public(session, label).encrypt(LETTER, mechanism_param=param)
                assert key.decrypt(cipher, mechanism_param=param) == LETTER
            oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA256(), b"a label")
            param = (Mechanism.SHA256, MGF.SHA1, b"a label")
            assert key.decrypt(judge.encrypt(LETTER, oaep), mechanism_param=param) == LETTER


def digests(token):
    with token.open() as session:
        for name, mine in {"SHA_1": "sha1", "SHA224": "sha224", "SHA256": "sha256", "SHA384": "sha384", "SHA512": "sha512"}.items():
            assert session.digest(LETTER, mechanism=Mechanism[name]) == hashlib.new(mine, LETTER).digest()
            assert session.digest([LETTER, LETTER], mechanism=Mechanism[name]) == hashlib.new(mine, LETTER * 2).digest()
        assert len(set(session.generate_random(256) for _ in range(4))) == 4


def generates(token):
    with token.open(user_pin=PIN, rw=True) as session:
        made, mine = session.generate_keypair(KeyType.RSA, 2048, store=True, label="made", id=b"made-1")
        signature = mine.sign(LETTER, mechanism=Mechanism.SHA256_RSA_PKCS)
        software(made).verify(signature, LETTER, padding.PKCS1v15(), hashes.SHA256())
        for name, curve in {"secp256r1": "p256", "secp384r1": "p384", "secp521r1": "p521"}.items():
            parameters = session.create_domain_parameters(
                KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters(name)}, local=True)
            for store in (True, False):
                # With what this library asks for if nothing is said: CKA_SIGN and CKA_DERIVE in one key.
                made, mine = parameters.generate_keypair(store=store, label=name)
                judge = software(made)
                assert judge.curve.name == CURVES[curve].name
                judge.verify(dss(mine.sign(LETTER, mechanism=Mechanism.ECDSA_SHA256)), LETTER, ec.ECDSA(hashes.SHA256()))
    with token.open(user_pin=PIN, rw=True) as session:
        kept = list(session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY}))
        assert len(kept) == 5 + 1 + 3, [key.label for key in kept]
        for label in ("made", "secp256r1", "secp384r1", "secp521r1"):
            private(session, label).destroy()
            public(session, label).destroy()


def imports(token):
    """Keys that were made in software, brought into the TPM."""
    from pkcs11.util.rsa import decode_rsa_private_key
    from pkcs11.util.ec import decode_ec_private_key
    with token.open(user_pin=PIN, rw=True) as session:
        mine = rsa.generate_private_key(65537, 2048)
        der = mine.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
        for store in (False, True):
            template = {Attribute.TOKEN: store, Attribute.LABEL: "imported", Attribute.ID: b"imported"}
            key = session.create_object(decode_rsa_private_key(der) | template)
            signature = key.sign(LETTER, mechanism=Mechanism.SHA256_RSA_PKCS)
            mine.public_key().verify(signature, LETTER, padding.PKCS1v15(), hashes.SHA256())
            key.destroy()
        mine = ec.generate_private_key(ec.SECP256R1())
        der = mine.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
        for store in (False, True):
            template = {Attribute.TOKEN: store, Attribute.LABEL: "imported", Attribute.ID: b"imported"}
            key = session.create_object(decode_ec_private_key(der) | template)
            signature = key.sign(LETTER, mechanism=Mechanism.ECDSA_SHA256)
            mine.public_key().verify(dss(signature), LETTER, ec.ECDSA(hashes.SHA256()))
            key.destroy()


def secrets(token):
    """AES, HMAC, and keys wrapped in keys."""
    with token.open(user_pin=PIN, rw=True) as session:
        # What this library asks for if nothing is said: a key that does everything. It wraps nothing that is hidden, as it
        # could decrypt it.
        everything = session.generate_key(KeyType.AES, 256)
        iv = session.generate_random(128)
        assert everything.decrypt(everything.encrypt(LETTER, mechanism_param=iv), mechanism_param=iv) == LETTER
        hidden = session.generate_key(KeyType.AES, 128, template={Attribute.EXTRACTABLE: True})
        try:
            everything.wrap_key(hidden, mechanism=Mechanism.AES_KEY_WRAP)
            raise AssertionError("a hidden key was wrapped for who can decrypt it")
        except pkcs11.exceptions.KeyNotWrappable:
            pass
        for store in (False, True):
            key = session.generate_key(KeyType.AES, 256, store=store, label="aes",
                                       capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
                                       template={Attribute.SENSITIVE: store, Attribute.EXTRACTABLE: not store})
            iv = session.generate_random(128)
            cipher = key.encrypt(LETTER, mechanism_param=iv)
            assert key.decrypt(cipher, mechanism_param=iv) == LETTER
            assert key.decrypt(b"".join(key.encrypt([LETTER, LETTER], mechanism_param=iv)), mechanism_param=iv) == LETTER * 2
            if not store:
                judge = Cipher(algorithms.AES(key[Attribute.VALUE]), modes.CBC(iv)).decryptor()
                plain = judge.update(cipher) + judge.finalize()
                assert plain[:-plain[-1]] == LETTER
            key.destroy()
        key = session.create_object({
            Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.GENERIC_SECRET, Attribute.TOKEN: False,
            Attribute.VALUE: b"k" * 32, Attribute.SIGN: True, Attribute.VERIFY: True})
        tag = key.sign(LETTER, mechanism=Mechanism.SHA256_HMAC)
        assert tag == hmac.new(b"k" * 32, LETTER, "sha256").digest()
        assert key.verify(LETTER, tag, mechanism=Mechanism.SHA256_HMAC)
        assert not key.verify(LETTER, tag[::-1], mechanism=Mechanism.SHA256_HMAC)
        wrapping = session.create_object({
            Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.TOKEN: False,
            Attribute.VALUE: b"w" * 32, Attribute.WRAP: True, Attribute.UNWRAP: True,
            # What it unwraps can be read, as it can itself.
            Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True})
        wrapped = session.generate_key(KeyType.AES, 128, store=False, capabilities=MechanismFlag.ENCRYPT,
                                       template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True})
        sealed = wrapping.wrap_key(wrapped, mechanism=Mechanism.AES_KEY_WRAP)
        assert aes_key_unwrap(b"w" * 32, sealed) == wrapped[Attribute.VALUE]
        again = wrapping.unwrap_key(ObjectClass.SECRET_KEY, KeyType.AES, sealed, mechanism=Mechanism.AES_KEY_WRAP,
                                    capabilities=MechanismFlag.DECRYPT,
                                    template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True})
        assert again[Attribute.VALUE] == wrapped[Attribute.VALUE]


def derives(token):
    with token.open(user_pin=PIN, rw=True) as session:
        for label, curve in CURVES.items():
            mine = ec.generate_private_key(curve)
            point = mine.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
            expected = mine.exchange(ec.ECDH(), software(public(session, label)))
            secret = private(session, label).derive_key(
                KeyType.GENERIC_SECRET, len(expected) * 8, mechanism_param=(KDF.NULL, None, point), store=False,
                capabilities=MechanismFlag.SIGN, template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True})
            assert secret[Attribute.VALUE] == expected, label
            aes = private(session, label).derive_key(
                KeyType.AES, 128, mechanism_param=(KDF.SHA256, b"shared", point), store=False,
                capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
                template={Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True})
            assert aes[Attribute.VALUE] == hashlib.sha256(expected + b"\0\0\0\1shared").digest()[:16]


def threads(token):
    with token.open(user_pin=PIN) as login:
        judges = {label: software(public(login, label)) for label in ("rsa", "p256", "p384")}
        failures = []

        def work(label):
            try:
                with token.open() as session:
                    for _ in range(6):
                        if label == "rsa":
                            signature = private(session, label).sign(LETTER, mechanism=Mechanism.SHA256_RSA_PKCS)
                            judges[label].verify(signature, LETTER, padding.PKCS1v15(), hashes.SHA256())
                        else:
                            signature = private(session, label).sign(LETTER, mechanism=Mechanism.ECDSA_SHA256)
                            judges[label].verify(dss(signature), LETTER, ec.ECDSA(hashes.SHA256()))
            except BaseException as error:
                failures.append((label, repr(error)))

        workers = [threading.Thread(target=work, args=(label,)) for label in ("rsa", "p256", "p384", "p256") * 2]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert not failures, failures


SCENARIOS = {f.__name__: f for f in (lists, signs, decrypts, digests, generates, imports, secrets, derives, threads)}

if __name__ == "__main__":
    module, scenario = sys.argv[1:]
    SCENARIOS[scenario](pkcs11.lib(module).get_token(token_label="alpha"))
    print(f"{scenario}: done")
