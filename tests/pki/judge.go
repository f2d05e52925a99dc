// Judges PKIs by crypto/x509: reads a case a line in JSON, writes a verdict a line.
package main

import (
	"bufio"
	"bytes"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

type pki struct {
	Roots, Chain, Crls [][]byte
}

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	decoder := json.NewDecoder(in)
	for decoder.More() {
		var one pki
		if err := decoder.Decode(&one); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		verdict, _ := json.Marshal(judge(one))
		fmt.Fprintf(out, "%s\n", verdict)
	}
}

// What is wrong with a PKI, or nothing.
func judge(one pki) string {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	for _, der := range one.Roots {
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return "root: " + err.Error()
		}
		roots.AddCert(root)
	}
	leaf, err := x509.ParseCertificate(one.Chain[0])
	if err != nil {
		return "leaf: " + err.Error()
	}
	for _, der := range one.Chain[1:] {
		if ca, err := x509.ParseCertificate(der); err == nil {
			intermediates.AddCert(ca)
		}
	}
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return "verify: " + err.Error()
	}
	if len(one.Crls) == 0 {
		return ""
	}
	crls := []*x509.RevocationList{}
	for _, der := range one.Crls {
		crl, err := x509.ParseRevocationList(der)
		if err != nil {
			return "crl: " + err.Error()
		}
		crls = append(crls, crl)
	}
	why := ""
	for _, chain := range chains {
		if why = revoked(chain, crls); why == "" {
			return ""
		}
	}
	return why
}

// The plain reading of RFC 5280, without distribution points: every certificate has a current CRL
// by its issuer, and no CRL by its issuer lists it.
func revoked(chain []*x509.Certificate, crls []*x509.RevocationList) string {
	now := time.Now()
	for place, certificate := range chain[:len(chain)-1] {
		issuer, covered := chain[place+1], false
		for _, crl := range crls {
			if !bytes.Equal(crl.RawIssuer, issuer.RawSubject) || crl.CheckSignatureFrom(issuer) != nil || !understood(crl) {
				continue
			}
			for _, entry := range crl.RevokedCertificates {
				if entry.SerialNumber.Cmp(certificate.SerialNumber) == 0 {
					return "revoked"
				}
			}
			if !now.Before(crl.ThisUpdate) && now.Before(crl.NextUpdate) {
				covered = true
			}
		}
		if !covered {
			return "no current crl"
		}
	}
	return ""
}

// Whether nothing critical but an issuing distribution point is in it.
func understood(crl *x509.RevocationList) bool {
	extensions := crl.Extensions
	for _, entry := range crl.RevokedCertificates {
		extensions = append(extensions, entry.Extensions...)
	}
	for _, extension := range extensions {
		if extension.Critical && extension.Id.String() != "2.5.29.28" {
			return false
		}
	}
	return true
}
