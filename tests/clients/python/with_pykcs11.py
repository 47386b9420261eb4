"""PyKCS11 as a client: with_pykcs11.py MODULE SCENARIO. `cryptography` judges what the token made."""

import hashlib
import hmac
import os
import sys
import threading

import PyKCS11
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from PyKCS11 import Mechanism, PyKCS11Error
from PyKCS11.LowLevel import *

PIN = "user-alpha"
LETTER = b"Dear reader, the child of a fork has to introduce itself again."


class Client:
    def __init__(self, module):
        self.lib = PyKCS11.PyKCS11Lib()
        self.lib.load(module)
        slots = self.lib.getSlotList(tokenPresent=True)
        self.slot = next(slot for slot in slots if self.lib.getTokenInfo(slot).label.strip() == "alpha")

    def session(self, login=True):
        session = self.lib.openSession(self.slot, CKF_SERIAL_SESSION | CKF_RW_SESSION)
        if login:
            session.login(PIN)
        return session


def find(session, kind, label):
    found = session.findObjects([(CKA_CLASS, kind), (CKA_LABEL, label)])
    assert len(found) == 1, (label, found)
    return found[0]


def judge_of(session, label):
    spki = bytes(session.getAttributeValue(find(session, CKO_PUBLIC_KEY, label), [CKA_PUBLIC_KEY_INFO])[0])
    return serialization.load_der_public_key(spki)


def dss(signature):
    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))


def refused(code, call):
    try:
        call()
    except PyKCS11Error as error:
        assert error.value == code, error
    else:
        raise AssertionError("it was not refused")


def lists(client):
    info = client.lib.getInfo()
    assert info.manufacturerID.strip() == "tpm2-cryptoki", info
    token = client.lib.getTokenInfo(client.slot)
    assert token.flags & CKF_LOGIN_REQUIRED and token.flags & CKF_TOKEN_INITIALIZED and token.flags & CKF_USER_PIN_INITIALIZED
    assert "CKM_ECDSA_SHA256" in client.lib.getMechanismList(client.slot)
    assert client.lib.getMechanismInfo(client.slot, "CKM_RSA_PKCS_PSS").ulMaxKeySize >= 2048
    session = client.session(login=False)
    assert len(session.findObjects([(CKA_CLASS, CKO_PUBLIC_KEY)])) == 5
    assert not session.findObjects([(CKA_CLASS, CKO_PRIVATE_KEY)])
    refused(CKR_PIN_INCORRECT, lambda: session.login("not the PIN"))
    session.login(PIN)
    refused(CKR_USER_ALREADY_LOGGED_IN, lambda: session.login(PIN))
    assert len(session.findObjects([(CKA_CLASS, CKO_PRIVATE_KEY)])) == 5
    # Every attribute the library knows, as its own tools ask.
    for thing in session.findObjects():
        attributes = thing.to_dict()
        assert attributes["CKA_LABEL"] and attributes["CKA_ID"], attributes
    session.logout()
    refused(CKR_USER_NOT_LOGGED_IN, session.logout)


def signs(client):
    session = client.session()
    key, judge = find(session, CKO_PRIVATE_KEY, "rsa"), judge_of(session, "rsa")
    signature = bytes(session.sign(key, LETTER, Mechanism(CKM_SHA256_RSA_PKCS, None)))
    judge.verify(signature, LETTER, padding.PKCS1v15(), hashes.SHA256())
    public = find(session, CKO_PUBLIC_KEY, "rsa")
    assert session.verify(public, LETTER, signature, Mechanism(CKM_SHA256_RSA_PKCS, None))
    assert not session.verify(public, LETTER + b"!", signature, Mechanism(CKM_SHA256_RSA_PKCS, None))
    for salt in (0, 20, 32, 222):
        pss = PyKCS11.RSA_PSS_Mechanism(CKM_SHA256_RSA_PKCS_PSS, CKM_SHA256, CKG_MGF1_SHA256, salt)
        signature = bytes(session.sign(key, LETTER, pss))
        judge.verify(signature, LETTER, padding.PSS(padding.MGF1(hashes.SHA256()), salt), hashes.SHA256())
    for label in ("p256", "p384", "p521"):
        key, judge = find(session, CKO_PRIVATE_KEY, label), judge_of(session, label)
        signature = bytes(session.sign(key, hashlib.sha512(LETTER).digest(), Mechanism(CKM_ECDSA, None)))
        judge.verify(dss(signature), LETTER, ec.ECDSA(hashes.SHA512()))
        signature = bytes(session.sign(key, LETTER, Mechanism(CKM_ECDSA_SHA384, None)))
        judge.verify(dss(signature), LETTER, ec.ECDSA(hashes.SHA384()))


def decrypts(client):
    session = client.session()
    key, judge = find(session, CKO_PRIVATE_KEY, "rsa"), judge_of(session, "rsa")
    cipher = judge.encrypt(LETTER, padding.PKCS1v15())
    assert bytes(session.decrypt(key, cipher, Mechanism(CKM_RSA_PKCS, None))) == LETTER
    for hash, mechanism, mgf in ((hashes.SHA1(), CKM_SHA_1, CKG_MGF1_SHA1), (hashes.SHA256(), CKM_SHA256, CKG_MGF1_SHA256)):
        for label in (None, b"a label"):
            cipher = judge.encrypt(LETTER, padding.OAEP(padding.MGF1(hash), hash, label))
            oaep = PyKCS11.RSAOAEPMechanism(mechanism, mgf, label)
            assert bytes(session.decrypt(key, cipher, oaep)) == LETTER


def digests(client):
    session = client.session(login=False)
    for mechanism, name in ((CKM_SHA_1, "sha1"), (CKM_SHA256, "sha256"), (CKM_SHA384, "sha384"), (CKM_SHA512, "sha512")):
        assert bytes(session.digest(LETTER, Mechanism(mechanism, None))) == hashlib.new(name, LETTER).digest()
    parts = session.digestSession(Mechanism(CKM_SHA256, None))
    parts.update(LETTER)
    parts.update(LETTER)
    assert bytes(parts.final()) == hashlib.sha256(LETTER * 2).digest()
    assert len(bytes(session.generateRandom(1000))) == 1000
    session.seedRandom([1, 2, 3])


def generates(client):
    session = client.session()
    common = [(CKA_TOKEN, CK_TRUE), (CKA_LABEL, "made"), (CKA_ID, (0x77,))]
    hidden = common + [(CKA_PRIVATE, CK_TRUE), (CKA_SENSITIVE, CK_TRUE), (CKA_SIGN, CK_TRUE)]
    public, private = session.generateKeyPair(
        common + [(CKA_MODULUS_BITS, 2048), (CKA_PUBLIC_EXPONENT, (1, 0, 1)), (CKA_VERIFY, CK_TRUE)],
        hidden, Mechanism(CKM_RSA_PKCS_KEY_PAIR_GEN, None))
    signature = bytes(session.sign(private, LETTER, Mechanism(CKM_SHA256_RSA_PKCS, None)))
    judge_of(session, "made").verify(signature, LETTER, padding.PKCS1v15(), hashes.SHA256())
    session.destroyObject(public)
    session.destroyObject(private)
    p256 = (0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07)
    public, private = session.generateKeyPair(
        common + [(CKA_EC_PARAMS, p256), (CKA_VERIFY, CK_TRUE)], hidden, Mechanism(CKM_EC_KEY_PAIR_GEN, None))
    signature = bytes(session.sign(private, LETTER, Mechanism(CKM_ECDSA_SHA256, None)))
    judge_of(session, "made").verify(dss(signature), LETTER, ec.ECDSA(hashes.SHA256()))
    session.setAttributeValue(private, [(CKA_LABEL, "renamed")])
    assert find(session, CKO_PRIVATE_KEY, "renamed").to_dict()["CKA_ID"] == (0x77,)
    session.destroyObject(public)
    session.destroyObject(private)
    assert not session.findObjects([(CKA_LABEL, "made")]) and not session.findObjects([(CKA_LABEL, "renamed")])


def secrets(client):
    session = client.session()
    value = tuple(range(32))
    key = session.createObject([
        (CKA_CLASS, CKO_SECRET_KEY), (CKA_KEY_TYPE, CKK_AES), (CKA_TOKEN, CK_FALSE), (CKA_VALUE, value),
        (CKA_ENCRYPT, CK_TRUE), (CKA_DECRYPT, CK_TRUE)])
    iv = os.urandom(12)
    gcm = PyKCS11.AES_GCM_Mechanism(iv, b"the address", 128)
    cipher = bytes(session.encrypt(key, LETTER, gcm))
    assert AESGCM(bytes(value)).decrypt(iv, cipher, b"the address") == LETTER
    assert bytes(session.decrypt(key, cipher, PyKCS11.AES_GCM_Mechanism(iv, b"the address", 128))) == LETTER
    for token in (CK_FALSE, CK_TRUE):
        key = session.generateKey([
            (CKA_CLASS, CKO_SECRET_KEY), (CKA_KEY_TYPE, CKK_AES), (CKA_TOKEN, token), (CKA_VALUE_LEN, 16),
            (CKA_ENCRYPT, CK_TRUE), (CKA_DECRYPT, CK_TRUE), (CKA_LABEL, "aes")], Mechanism(CKM_AES_KEY_GEN, None))
        iv = os.urandom(16)
        for mechanism in (CKM_AES_CBC_PAD,):
            cipher = bytes(session.encrypt(key, LETTER, Mechanism(mechanism, iv)))
            assert LETTER not in cipher and len(cipher) == 64
            assert bytes(session.decrypt(key, cipher, Mechanism(mechanism, iv))) == LETTER
        session.destroyObject(key)
    key = session.createObject([
        (CKA_CLASS, CKO_SECRET_KEY), (CKA_KEY_TYPE, CKK_GENERIC_SECRET), (CKA_TOKEN, CK_FALSE), (CKA_VALUE, value),
        (CKA_SIGN, CK_TRUE), (CKA_VERIFY, CK_TRUE)])
    for mechanism, name in ((CKM_SHA_1_HMAC, "sha1"), (CKM_SHA256_HMAC, "sha256"), (CKM_SHA512_HMAC, "sha512")):
        tag = bytes(session.sign(key, LETTER, Mechanism(mechanism, None)))
        assert tag == hmac.new(bytes(value), LETTER, name).digest()


def derives(client):
    session = client.session()
    for label, curve in (("p256", ec.SECP256R1()), ("p384", ec.SECP384R1()), ("p521", ec.SECP521R1())):
        mine = ec.generate_private_key(curve)
        point = mine.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        secret = session.deriveKey(find(session, CKO_PRIVATE_KEY, label), [
            (CKA_CLASS, CKO_SECRET_KEY), (CKA_KEY_TYPE, CKK_GENERIC_SECRET), (CKA_TOKEN, CK_FALSE),
            (CKA_SENSITIVE, CK_FALSE), (CKA_EXTRACTABLE, CK_TRUE)], PyKCS11.ECDH1_DERIVE_Mechanism(point))
        made = bytes(session.getAttributeValue(secret, [CKA_VALUE])[0])
        assert made == mine.exchange(ec.ECDH(), judge_of(session, label)), label


def forks(client):
    """The parent signs on while its child starts anew."""
    session = client.session()
    key, judge = find(session, CKO_PRIVATE_KEY, "p256"), judge_of(session, "p256")

    def sign(session, key):
        signature = bytes(session.sign(key, LETTER, Mechanism(CKM_ECDSA_SHA256, None)))
        judge.verify(dss(signature), LETTER, ec.ECDSA(hashes.SHA256()))

    sign(session, key)
    child = os.fork()
    if child == 0:
        try:
            # What it had is the parent's.
            refused(CKR_CRYPTOKI_NOT_INITIALIZED, lambda: session.sign(key, LETTER, Mechanism(CKM_ECDSA_SHA256, None)))
            assert client.lib.lib.C_Initialize() == CKR_OK
            own = client.session()
            for _ in range(10):
                sign(own, find(own, CKO_PRIVATE_KEY, "p256"))
            own.closeSession()
            assert client.lib.lib.C_Finalize() == CKR_OK
            os._exit(0)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    for _ in range(10):
        sign(session, key)
    assert os.waitpid(child, 0)[1] == 0, "the child failed"
    sign(session, key)


def threads(client):
    login = client.session()
    judge, failures = judge_of(login, "p256"), []

    def work():
        try:
            session = client.session(login=False)
            for _ in range(10):
                key = find(session, CKO_PRIVATE_KEY, "p256")
                signature = bytes(session.sign(key, LETTER, Mechanism(CKM_ECDSA_SHA256, None)))
                judge.verify(dss(signature), LETTER, ec.ECDSA(hashes.SHA256()))
            session.closeSession()
        except BaseException as error:
            failures.append(repr(error))

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures, failures


SCENARIOS = {f.__name__: f for f in (lists, signs, decrypts, digests, generates, secrets, derives, forks, threads)}

if __name__ == "__main__":
    module, scenario = sys.argv[1:]
    SCENARIOS[scenario](Client(module))
    print(f"{scenario}: done")
