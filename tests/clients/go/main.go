// A Go program with the PKCS#11 package that Debian has: signs by several goroutines, and crypto/... of Go judges.
package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/big"
	"os"
	"sync"

	"github.com/miekg/pkcs11"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func find(p *pkcs11.Ctx, session pkcs11.SessionHandle, class uint, label string) pkcs11.ObjectHandle {
	must(p.FindObjectsInit(session, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label)}))
	found, _, err := p.FindObjects(session, 2)
	must(err)
	must(p.FindObjectsFinal(session))
	if len(found) != 1 {
		panic(fmt.Sprintf("%d objects %s", len(found), label))
	}
	return found[0]
}

func attribute(p *pkcs11.Ctx, session pkcs11.SessionHandle, object pkcs11.ObjectHandle, kind uint) []byte {
	values, err := p.GetAttributeValue(session, object, []*pkcs11.Attribute{pkcs11.NewAttribute(kind, nil)})
	must(err)
	return values[0].Value
}

func main() {
	p := pkcs11.New(os.Args[1])
	must(p.Initialize())
	defer p.Destroy()
	defer p.Finalize()
	slots, err := p.GetSlotList(true)
	must(err)
	var slot uint
	for _, candidate := range slots {
		if info, err := p.GetTokenInfo(candidate); err == nil && info.Label == "alpha" {
			slot = candidate
		}
	}
	login, err := p.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
	must(err)
	must(p.Login(login, pkcs11.CKU_USER, os.Args[2]))
	var group sync.WaitGroup
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func(number int) {
			defer group.Done()
			session, err := p.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
			must(err)
			message := []byte(fmt.Sprintf("message %d", number))
			digest := sha256.Sum256(message)

			public := find(p, session, pkcs11.CKO_PUBLIC_KEY, "rsa")
			key := &rsa.PublicKey{
				N: new(big.Int).SetBytes(attribute(p, session, public, pkcs11.CKA_MODULUS)),
				E: int(new(big.Int).SetBytes(attribute(p, session, public, pkcs11.CKA_PUBLIC_EXPONENT)).Int64()),
			}
			must(p.SignInit(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_SHA256_RSA_PKCS, nil)},
				find(p, session, pkcs11.CKO_PRIVATE_KEY, "rsa")))
			signature, err := p.Sign(session, message)
			must(err)
			must(rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], signature))

			// An OCTET STRING with the point.
			point := attribute(p, session, find(p, session, pkcs11.CKO_PUBLIC_KEY, "p256"), pkcs11.CKA_EC_POINT)
			x, y := elliptic.Unmarshal(elliptic.P256(), point[2:])
			must(p.SignInit(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)},
				find(p, session, pkcs11.CKO_PRIVATE_KEY, "p256")))
			signature, err = p.Sign(session, digest[:])
			must(err)
			r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
			if !ecdsa.Verify(&ecdsa.PublicKey{Curve: elliptic.P256(), X: x, Y: y}, digest[:], r, s) {
				panic("the signature is wrong")
			}
			must(p.CloseSession(session))
		}(i)
	}
	group.Wait()
	must(p.Logout(login))
	fmt.Println("done")
}
