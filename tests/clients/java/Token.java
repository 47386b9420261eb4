import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.nio.charset.StandardCharsets;
import java.security.KeyFactory;
import java.security.KeyPair;
import java.security.KeyPairGenerator;
import java.security.KeyStore;
import java.security.MessageDigest;
import java.security.PrivateKey;
import java.security.Provider;
import java.security.PublicKey;
import java.security.SecureRandom;
import java.security.Security;
import java.security.Signature;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.interfaces.ECPublicKey;
import java.security.spec.ECGenParameterSpec;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PSSParameterSpec;
import java.security.spec.X509EncodedKeySpec;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import javax.crypto.Cipher;
import javax.crypto.KeyAgreement;
import javax.crypto.KeyGenerator;
import javax.crypto.Mac;
import javax.crypto.SecretKey;
import javax.crypto.spec.GCMParameterSpec;
import javax.crypto.spec.IvParameterSpec;
import javax.crypto.spec.SecretKeySpec;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/**
 * SunPKCS11 as a client: {@code Token CONFIGURATION PIN SCENARIO}. Java's own software judges what the token made.
 *
 * <p>A key of the token is an entry of the key store if a certificate with its CKA_ID is there; its alias is CKA_LABEL.
 */
public final class Token {
    private static final byte[] LETTER =
            "Dear reader, an entry of this key store is a certificate and a key.".getBytes(StandardCharsets.UTF_8);

    private final Provider token;
    private final KeyStore store;
    private final char[] pin;

    private Token(String configuration, String pin) throws Exception {
        this.token = Security.getProvider("SunPKCS11").configure(configuration);
        this.pin = pin.toCharArray();
        this.store = KeyStore.getInstance("PKCS11", token);
        store.load(null, this.pin);
    }

    public static void main(String[] arguments) throws Exception {
        Token it = new Token(arguments[0], arguments[1]);
        switch (arguments[2]) {
            case "lists" -> it.lists();
            case "signs" -> it.signs();
            case "decrypts" -> it.decrypts();
            case "digests" -> it.digests();
            case "generates" -> it.generates();
            case "keeps" -> it.keeps();
            case "secrets" -> it.secrets();
            case "agrees" -> it.agrees();
            case "threads" -> it.threads();
            case "serves" -> it.serves();
            default -> throw new IllegalArgumentException(arguments[2]);
        }
        System.out.println(arguments[2] + ": done");
    }

    private static void check(boolean right, String what) {
        if (!right) {
            throw new AssertionError(what);
        }
    }

    private PrivateKey key(String alias) throws Exception {
        return (PrivateKey) store.getKey(alias, null);
    }

    /** The public key as an object of software that knows no token. */
    private PublicKey judge(String alias) throws Exception {
        return software(store.getCertificate(alias).getPublicKey());
    }

    private static PublicKey software(PublicKey key) throws Exception {
        String by = key.getAlgorithm().equals("RSA") ? "SunRsaSign" : "SunEC";
        return KeyFactory.getInstance(key.getAlgorithm(), by).generatePublic(new X509EncodedKeySpec(key.getEncoded()));
    }

    private static String software(String key) {
        return key.equals("RSA") ? "SunRsaSign" : "SunEC";
    }

    private void lists() throws Exception {
        Set<String> aliases = new TreeSet<>(Collections.list(store.aliases()));
        check(aliases.equals(Set.of("rsa", "p256", "p384", "p521")), aliases.toString());
        for (String alias : aliases) {
            check(store.isKeyEntry(alias), alias + " is a key");
            PrivateKey key = key(alias);
            check(key.getEncoded() == null, alias + " came out");
            check(store.getCertificate(alias).getPublicKey().getAlgorithm().equals(key.getAlgorithm()), alias);
        }
    }

    private void sign(String alias, String algorithm, PSSParameterSpec parameters) throws Exception {
        Signature signer = Signature.getInstance(algorithm, token);
        signer.initSign(key(alias));
        if (parameters != null) {
            signer.setParameter(parameters);
        }
        signer.update(LETTER, 0, 10);
        signer.update(LETTER, 10, LETTER.length - 10);
        byte[] signature = signer.sign();
        PublicKey judge = judge(alias);
        for (Object provider : new Object[] {software(judge.getAlgorithm()), token}) {
            for (boolean right : new boolean[] {true, false}) {
                // A new one each time: Java's PSS starts the same operation twice when it is told its parameters again.
                Signature verifier = provider instanceof Provider
                        ? Signature.getInstance(algorithm, (Provider) provider)
                        : Signature.getInstance(algorithm, (String) provider);
                verifier.initVerify(judge);
                if (parameters != null) {
                    verifier.setParameter(parameters);
                }
                verifier.update(LETTER);
                if (!right) {
                    verifier.update((byte) '!');
                }
                check(verifier.verify(signature) == right, alias + " " + algorithm + " " + provider + " " + right);
            }
        }
    }

    private void signs() throws Exception {
        for (String hash : new String[] {"SHA1", "SHA224", "SHA256", "SHA384", "SHA512"}) {
            sign("rsa", hash + "withRSA", null);
            for (String alias : new String[] {"p256", "p384", "p521"}) {
                sign(alias, hash + "withECDSA", null);
            }
        }
        sign("rsa", "RSASSA-PSS", new PSSParameterSpec("SHA-256", "MGF1", MGF1ParameterSpec.SHA256, 32, 1));
        sign("rsa", "RSASSA-PSS", new PSSParameterSpec("SHA-384", "MGF1", MGF1ParameterSpec.SHA384, 48, 1));
        Signature raw = Signature.getInstance("NONEwithECDSA", token);
        raw.initSign(key("p256"));
        raw.update(MessageDigest.getInstance("SHA-256", "SUN").digest(LETTER));
        Signature verifier = Signature.getInstance("SHA256withECDSA", "SunEC");
        verifier.initVerify(judge("p256"));
        verifier.update(LETTER);
        check(verifier.verify(raw.sign()), "NONEwithECDSA");
    }

    private void decrypts() throws Exception {
        Cipher judge = Cipher.getInstance("RSA/ECB/PKCS1Padding", "SunJCE");
        judge.init(Cipher.ENCRYPT_MODE, judge("rsa"));
        Cipher cipher = Cipher.getInstance("RSA/ECB/PKCS1Padding", token);
        cipher.init(Cipher.DECRYPT_MODE, key("rsa"));
        check(Arrays.equals(cipher.doFinal(judge.doFinal(LETTER)), LETTER), "decryption");
        cipher.init(Cipher.ENCRYPT_MODE, judge("rsa"));
        byte[] encrypted = cipher.doFinal(LETTER);
        cipher.init(Cipher.DECRYPT_MODE, key("rsa"));
        check(Arrays.equals(cipher.doFinal(encrypted), LETTER), "both ways");
        // A key wrapped for the token.
        SecretKey secret = new SecretKeySpec(Arrays.copyOf(LETTER, 16), "AES");
        judge.init(Cipher.WRAP_MODE, judge("rsa"));
        byte[] wrapped = judge.wrap(secret);
        cipher.init(Cipher.UNWRAP_MODE, key("rsa"));
        SecretKey unwrapped = (SecretKey) cipher.unwrap(wrapped, "AES", Cipher.SECRET_KEY);
        byte[] iv = new byte[16];
        Cipher ours = Cipher.getInstance("AES/CBC/PKCS5Padding", token);
        ours.init(Cipher.ENCRYPT_MODE, unwrapped, new IvParameterSpec(iv));
        Cipher theirs = Cipher.getInstance("AES/CBC/PKCS5Padding", "SunJCE");
        theirs.init(Cipher.DECRYPT_MODE, secret, new IvParameterSpec(iv));
        check(Arrays.equals(theirs.doFinal(ours.doFinal(LETTER)), LETTER), "the wrapped key");
    }

    private void digests() throws Exception {
        for (String name : new String[] {"SHA-1", "SHA-224", "SHA-256", "SHA-384", "SHA-512"}) {
            MessageDigest ours = MessageDigest.getInstance(name, token);
            byte[] expected = MessageDigest.getInstance(name, "SUN").digest(LETTER);
            check(Arrays.equals(ours.digest(LETTER), expected), name);
            ours.update(LETTER, 0, 20);
            ours.update(LETTER, 20, LETTER.length - 20);
            check(Arrays.equals(ours.digest(), expected), name + " in parts");
        }
        byte[] random = new byte[100];
        SecureRandom.getInstance("PKCS11", token).nextBytes(random);
        check(!Arrays.equals(random, new byte[100]), "random bytes");
    }

    private KeyPair pair(String algorithm, Object size) throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance(algorithm, token);
        if (size instanceof Integer) {
            generator.initialize((Integer) size);
        } else {
            generator.initialize(new ECGenParameterSpec((String) size));
        }
        return generator.generateKeyPair();
    }

    private void generates() throws Exception {
        Object[][] kinds = {{"RSA", 2048}, {"EC", "secp256r1"}, {"EC", "secp384r1"}, {"EC", "secp521r1"}};
        for (Object[] kind : kinds) {
            KeyPair pair = pair((String) kind[0], kind[1]);
            String algorithm = kind[0].equals("RSA") ? "SHA256withRSA" : "SHA256withECDSA";
            Signature signer = Signature.getInstance(algorithm, token);
            signer.initSign(pair.getPrivate());
            signer.update(LETTER);
            Signature verifier = Signature.getInstance(algorithm, software((String) kind[0]));
            verifier.initVerify(software(pair.getPublic()));
            verifier.update(LETTER);
            check(verifier.verify(signer.sign()), Arrays.toString(kind));
        }
    }

    /** What keytool left in the token, by the aliases it was given; then gone. */
    private void keeps() throws Exception {
        for (String alias : new String[] {"kept-rsa", "kept-ec"}) {
            check(store.isKeyEntry(alias), alias + " was kept");
            Certificate certificate = store.getCertificate(alias);
            certificate.verify(software(certificate.getPublicKey()), software(certificate.getPublicKey().getAlgorithm()));
            sign(alias, alias.equals("kept-rsa") ? "SHA256withRSA" : "SHA256withECDSA", null);
            store.deleteEntry(alias);
            check(!store.containsAlias(alias), alias + " is gone");
        }
        // A key of software, brought in with its certificate.
        KeyStore file = KeyStore.getInstance("PKCS12", "SunJSSE");
        try (InputStream in = java.nio.file.Files.newInputStream(java.nio.file.Path.of("imported.p12"))) {
            file.load(in, "password".toCharArray());
        }
        for (String alias : Collections.list(file.aliases())) {
            store.setKeyEntry(alias, file.getKey(alias, "password".toCharArray()), null, file.getCertificateChain(alias));
            check(store.isKeyEntry(alias) && key(alias).getEncoded() == null, alias + " was brought in");
            sign(alias, alias.equals("imported-rsa") ? "SHA256withRSA" : "SHA256withECDSA", null);
            store.deleteEntry(alias);
        }
    }

    private void secrets() throws Exception {
        SecretKey known = new SecretKeySpec(Arrays.copyOf(LETTER, 32), "AES");
        byte[] iv = Arrays.copyOf(LETTER, 16);
        for (String mode : new String[] {"AES/CBC/PKCS5Padding", "AES/CTR/NoPadding"}) {
            Cipher ours = Cipher.getInstance(mode, token);
            Cipher theirs = Cipher.getInstance(mode, "SunJCE");
            ours.init(Cipher.ENCRYPT_MODE, known, new IvParameterSpec(iv));
            theirs.init(Cipher.ENCRYPT_MODE, known, new IvParameterSpec(iv));
            check(Arrays.equals(ours.doFinal(LETTER), theirs.doFinal(LETTER)), mode);
        }
        Cipher ours = Cipher.getInstance("AES/GCM/NoPadding", token);
        Cipher theirs = Cipher.getInstance("AES/GCM/NoPadding", "SunJCE");
        GCMParameterSpec nonce = new GCMParameterSpec(128, Arrays.copyOf(LETTER, 12));
        ours.init(Cipher.ENCRYPT_MODE, known, nonce);
        ours.updateAAD(iv);
        theirs.init(Cipher.DECRYPT_MODE, known, nonce);
        theirs.updateAAD(iv);
        check(Arrays.equals(theirs.doFinal(ours.doFinal(LETTER)), LETTER), "GCM");
        KeyGenerator generator = KeyGenerator.getInstance("AES", token);
        generator.init(256);
        SecretKey made = generator.generateKey();
        Cipher cipher = Cipher.getInstance("AES/CBC/PKCS5Padding", token);
        cipher.init(Cipher.ENCRYPT_MODE, made, new IvParameterSpec(iv));
        byte[] encrypted = cipher.doFinal(LETTER);
        cipher.init(Cipher.DECRYPT_MODE, made, new IvParameterSpec(iv));
        check(Arrays.equals(cipher.doFinal(encrypted), LETTER), "a key that was made here");
        for (String name : new String[] {"HmacSHA1", "HmacSHA224", "HmacSHA256", "HmacSHA384", "HmacSHA512"}) {
            SecretKey key = new SecretKeySpec(Arrays.copyOf(LETTER, 32), name);
            Mac mac = Mac.getInstance(name, token);
            mac.init(key);
            Mac judge = Mac.getInstance(name, "SunJCE");
            judge.init(key);
            check(Arrays.equals(mac.doFinal(LETTER), judge.doFinal(LETTER)), name);
        }
    }

    private void agrees() throws Exception {
        for (String[] kind : new String[][] {{"p256", "secp256r1"}, {"p384", "secp384r1"}, {"p521", "secp521r1"}}) {
            KeyPairGenerator generator = KeyPairGenerator.getInstance("EC", "SunEC");
            generator.initialize(new ECGenParameterSpec(kind[1]));
            KeyPair other = generator.generateKeyPair();
            KeyAgreement ours = KeyAgreement.getInstance("ECDH", token);
            ours.init(key(kind[0]));
            ours.doPhase((ECPublicKey) other.getPublic(), true);
            KeyAgreement theirs = KeyAgreement.getInstance("ECDH", "SunEC");
            theirs.init(other.getPrivate());
            theirs.doPhase(judge(kind[0]), true);
            check(Arrays.equals(ours.generateSecret(), theirs.generateSecret()), kind[0]);
        }
    }

    private void threads() throws Exception {
        ExecutorService workers = Executors.newFixedThreadPool(8);
        List<Future<Object>> results = new ArrayList<>();
        for (int i = 0; i < 8; i++) {
            String alias = i % 2 == 0 ? "p256" : "rsa";
            Callable<Object> work = () -> {
                for (int n = 0; n < 6; n++) {
                    sign(alias, alias.equals("rsa") ? "SHA256withRSA" : "SHA256withECDSA", null);
                }
                return null;
            };
            results.add(workers.submit(work));
        }
        for (Future<Object> result : results) {
            result.get();
        }
        workers.shutdown();
    }

    /** A TLS server with the token's key, and a client that trusts its certificate. */
    private void serves() throws Exception {
        // Newer releases of Java disable the key exchange by RSA encryption, which is wanted here: the token decrypts in it.
        Security.setProperty("jdk.tls.disabledAlgorithms", "SSLv3");
        KeyStore trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        try (InputStream in = java.nio.file.Files.newInputStream(java.nio.file.Path.of("authority"))) {
            trusted.setCertificateEntry("authority", factory.generateCertificate(in));
        }
        // TLS looks for whoever can use the key among the providers of the process.
        Security.addProvider(token);
        TrustManagerFactory trust = TrustManagerFactory.getInstance("PKIX");
        trust.init(trusted);
        KeyManagerFactory keys = KeyManagerFactory.getInstance("SunX509");
        keys.init(store, null);
        SSLContext server = SSLContext.getInstance("TLS");
        server.init(keys.getKeyManagers(), null, null);
        SSLContext client = SSLContext.getInstance("TLS");
        client.init(null, trust.getTrustManagers(), null);
        String[][] kinds = {
            {"TLSv1.3", "TLS_AES_128_GCM_SHA256"},
            {"TLSv1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"},
            {"TLSv1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"},
            // Here the client's secret is decrypted by the token's key.
            {"TLSv1.2", "TLS_RSA_WITH_AES_128_GCM_SHA256"},
        };
        for (String[] kind : kinds) {
            InetAddress here = InetAddress.getByName("127.0.0.1");
            try (SSLServerSocket listener =
                    (SSLServerSocket) server.getServerSocketFactory().createServerSocket(0, 1, here)) {
                listener.setEnabledProtocols(new String[] {kind[0]});
                listener.setEnabledCipherSuites(new String[] {kind[1]});
                Throwable[] failure = new Throwable[1];
                Thread serving = new Thread(() -> {
                    try (SSLSocket peer = (SSLSocket) listener.accept()) {
                        peer.getOutputStream().write(peer.getInputStream().readNBytes(LETTER.length));
                    } catch (Throwable thrown) {
                        failure[0] = thrown;
                    }
                });
                serving.start();
                try (SSLSocket socket =
                        (SSLSocket) client.getSocketFactory().createSocket(here, listener.getLocalPort())) {
                    socket.setSoTimeout(20_000);
                    socket.setEnabledProtocols(new String[] {kind[0]});
                    socket.setEnabledCipherSuites(new String[] {kind[1]});
                    OutputStream out = socket.getOutputStream();
                    out.write(LETTER);
                    out.flush();
                    check(Arrays.equals(socket.getInputStream().readNBytes(LETTER.length), LETTER), "the echo");
                    check(socket.getSession().getProtocol().equals(kind[0]), kind[0]);
                } catch (Exception thrown) {
                    serving.join(5_000);
                    if (failure[0] != null) {
                        thrown.addSuppressed(failure[0]);
                    }
                    throw new AssertionError(Arrays.toString(kind), thrown);
                }
                serving.join();
                check(failure[0] == null, Arrays.toString(kind) + " " + failure[0]);
            }
        }
    }
}
