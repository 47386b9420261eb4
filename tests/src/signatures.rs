//! The parameters of every function of the interface, for tests that call them all.

/// A parameter, or a pointer and its length that go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A session handle.
    Session,
    /// A slot id.
    Slot,
    /// An object handle.
    Object,
    /// The flags of a session.
    SessionFlags,
    /// A type, flags, or something else that is a number.
    Number,
    /// A pointer to a structure or number that the call fills.
    Place,
    /// A pointer that may be null whatever happens.
    Optional,
    /// A pointer to a mechanism.
    Mechanism,
    /// Input bytes and their number.
    Bytes,
    /// Attributes and their number.
    Attributes,
    /// An output buffer or list, and a pointer to its length.
    Output,
    /// A list, its room, and a pointer to its length.
    UpTo,
    /// 32 bytes.
    Label,
}

/// A function and its parameters.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// Its name.
    pub name: &'static str,
    /// Its parameters in order.
    pub parameters: &'static [Kind],
}

macro_rules! signatures {
    ($($name:ident($($kind:ident)*))*) => {
        &[$(Signature { name: stringify!($name), parameters: &[$($kind),*] }),*]
    };
}

use Kind::{
    Attributes as A, Bytes as B, Label as L, Mechanism as M, Number as N, Object as H, Optional as Q, Output as O,
    Place as P, Session as S, SessionFlags as F, Slot as D, UpTo as U,
};

/// Every function but `C_Initialize`, `C_Finalize` and those that find functions: the ones that need an initialised library.
pub static SIGNATURES: &[Signature] = signatures! {
    C_GetInfo(P) C_GetSlotList(N O) C_GetSlotInfo(D P) C_GetTokenInfo(D P) C_GetMechanismList(D O) C_GetMechanismInfo(D N P)
    C_InitToken(D B L) C_InitPIN(S B) C_SetPIN(S B B) C_WaitForSlotEvent(N P Q)
    C_OpenSession(D F Q Q P) C_CloseSession(S) C_CloseAllSessions(D) C_GetSessionInfo(S P) C_GetOperationState(S O)
    C_SetOperationState(S B H H) C_Login(S N B) C_Logout(S) C_LoginUser(S N B B) C_SessionCancel(S N)
    C_CreateObject(S A P) C_CopyObject(S H A P) C_DestroyObject(S H) C_GetObjectSize(S H P)
    C_GetAttributeValue(S H A) C_SetAttributeValue(S H A) C_FindObjectsInit(S A) C_FindObjects(S U) C_FindObjectsFinal(S)
    C_EncryptInit(S M H) C_Encrypt(S B O) C_EncryptUpdate(S B O) C_EncryptFinal(S O)
    C_DecryptInit(S M H) C_Decrypt(S B O) C_DecryptUpdate(S B O) C_DecryptFinal(S O)
    C_DigestInit(S M) C_Digest(S B O) C_DigestUpdate(S B) C_DigestKey(S H) C_DigestFinal(S O)
    C_SignInit(S M H) C_Sign(S B O) C_SignUpdate(S B) C_SignFinal(S O) C_SignRecoverInit(S M H) C_SignRecover(S B O)
    C_VerifyInit(S M H) C_Verify(S B B) C_VerifyUpdate(S B) C_VerifyFinal(S B) C_VerifyRecoverInit(S M H) C_VerifyRecover(S B O)
    C_DigestEncryptUpdate(S B O) C_DecryptDigestUpdate(S B O) C_SignEncryptUpdate(S B O) C_DecryptVerifyUpdate(S B O)
    C_GenerateKey(S M A P) C_GenerateKeyPair(S M A A P P) C_WrapKey(S M H H O) C_UnwrapKey(S M H B A P) C_DeriveKey(S M H A P)
    C_SeedRandom(S B) C_GenerateRandom(S B) C_GetFunctionStatus(S) C_CancelFunction(S)
    C_MessageEncryptInit(S M H) C_EncryptMessage(S B B B O) C_EncryptMessageBegin(S B B) C_EncryptMessageNext(S B B O N)
    C_MessageEncryptFinal(S)
    C_MessageDecryptInit(S M H) C_DecryptMessage(S B B B O) C_DecryptMessageBegin(S B B) C_DecryptMessageNext(S B B O N)
    C_MessageDecryptFinal(S)
    C_MessageSignInit(S M H) C_SignMessage(S B B O) C_SignMessageBegin(S B) C_SignMessageNext(S B B O) C_MessageSignFinal(S)
    C_MessageVerifyInit(S M H) C_VerifyMessage(S B B B) C_VerifyMessageBegin(S B) C_VerifyMessageNext(S B B B)
    C_MessageVerifyFinal(S)
    C_EncapsulateKey(S M H A O P) C_DecapsulateKey(S M H A B P)
    C_VerifySignatureInit(S M H B) C_VerifySignature(S B) C_VerifySignatureUpdate(S B) C_VerifySignatureFinal(S)
    C_GetSessionValidationFlags(S N P) C_AsyncComplete(S Q Q) C_AsyncGetID(S Q Q) C_AsyncJoin(S Q N B)
    C_WrapKeyAuthenticated(S M H H B O) C_UnwrapKeyAuthenticated(S M H B A B P)
};
