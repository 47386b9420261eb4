// SunPKCS11 on a token without PIN: java OpenToken.java CONFIG. Nothing logs in.

import java.security.*;
import java.security.spec.ECGenParameterSpec;

public class OpenToken {
    public static void main(String[] arguments) throws Exception {
        Provider token = Security.getProvider("SunPKCS11").configure(arguments[0]);
        KeyStore store = KeyStore.getInstance("PKCS11", token);
        store.load(null, null);
        KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", token);
        generator.initialize(new ECGenParameterSpec("secp256r1"));
        KeyPair pair = generator.generateKeyPair();
        byte[] letter = "Dear reader, nobody asked me who I am.".getBytes();
        Signature signing = Signature.getInstance("SHA256withECDSA", token);
        signing.initSign(pair.getPrivate());
        signing.update(letter);
        byte[] signature = signing.sign();
        // By the JDK's own cryptography.
        PublicKey published = KeyFactory.getInstance("EC", "SunEC").generatePublic(
            new java.security.spec.X509EncodedKeySpec(pair.getPublic().getEncoded()));
        Signature judge = Signature.getInstance("SHA256withECDSA", "SunEC");
        judge.initVerify(published);
        judge.update(letter);
        System.out.println(judge.verify(signature) ? "open: done" : "open: a bad signature");
    }
}
