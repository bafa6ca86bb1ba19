package sign

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// oracle signs as Oracle's cloud wants it (draft-cavage-http-signatures, version 1 of Oracle's), with
// the secret oci_private_key (PEM) for the options oci_tenancy, oci_user and oci_fingerprint. An account
// that has an API key instead sends that as a bearer's token. The option oci_compartment_id says who
// pays.
type oracle struct{ now func() time.Time }

// sign implements method.
func (o oracle) sign(_ context.Context, a *Account, r *Request) error {
	if id := a.Options["oci_compartment_id"]; id != "" {
		r.Header["Compartmentid"] = []string{id}
		r.Header["Opc-Compartment-Id"] = []string{id}
	}
	if !a.Key.IsZero() {
		r.Header["Authorization"] = []string{"Bearer " + a.Key.Reveal()}
		return nil
	}
	tenancy, user, print := a.option("oci_tenancy"), a.option("oci_user"), a.option("oci_fingerprint")
	if tenancy == "" || user == "" || print == "" || a.Secrets["oci_private_key"].IsZero() {
		return errors.New("the deployment has neither api_key nor oci_private_key with the options oci_tenancy, oci_user and oci_fingerprint")
	}
	key, err := rsaKey("oci_private_key", a.Secrets["oci_private_key"].Reveal())
	if err != nil {
		return err
	}
	names, text := o.covered(r)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		return fmt.Errorf("sign for Oracle: %w", err)
	}
	r.Header["Authorization"] = []string{fmt.Sprintf(
		`Signature version="1",keyId="%s/%s/%s",algorithm="rsa-sha256",headers="%s",signature="%s"`,
		tenancy, user, print, strings.Join(names, " "), base64.StdEncoding.EncodeToString(signature),
	)}
	return nil
}

// covered adds the headers that are signed, and gives their names and the text that is.
func (o oracle) covered(r *Request) (names []string, text string) {
	date := o.now().UTC().Format(http.TimeFormat)
	r.Header["Date"] = []string{date}
	lines := []string{
		"date: " + date,
		"(request-target): " + strings.ToLower(r.Method) + " " + r.URL.RequestURI(),
		"host: " + r.URL.Host,
	}
	names = []string{"date", "(request-target)", "host"}
	if r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
		sum := sha256.Sum256(r.Body)
		digest := base64.StdEncoding.EncodeToString(sum[:])
		r.Header["X-Content-Sha256"] = []string{digest}
		kind := "application/json"
		if v := r.Header["Content-Type"]; len(v) > 0 {
			kind = v[0]
		}
		lines = append(lines, "content-length: "+strconv.Itoa(len(r.Body)), "content-type: "+kind, "x-content-sha256: "+digest)
		names = append(names, "content-length", "content-type", "x-content-sha256")
	}
	return names, strings.Join(lines, "\n")
}

// rsaKey reads a private key, in PKCS #8 or #1, without a passphrase.
func rsaKey(name, text string) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New(name + " is no PEM")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New(name + " is no private key without a passphrase")
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errors.New(name + " is not of RSA")
	}
	return key, nil
}
