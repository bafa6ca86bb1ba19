// Package hook signs what the cluster sends to webhooks, and checks the signature.
package hook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// The headers of a delivery.
const (
	HeaderSignature = "Conclave-Signature" // "t=SECONDS,v1=HEX": HMAC-SHA256 of "SECONDS.BODY"
	HeaderDelivery  = "Conclave-Delivery"  // the same for each try to deliver one thing
)

// Sign makes the signature of a body at a time in seconds.
func Sign(key string, seconds int64, body []byte) string {
	at := strconv.FormatInt(seconds, 10)
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(at + "."))
	m.Write(body)
	return "t=" + at + ",v1=" + hex.EncodeToString(m.Sum(nil))
}

// Verify says whether a signature is that of the body under the key, and when it was made.
func Verify(key, signature string, body []byte) (seconds int64, ok bool) {
	at, _, found := strings.Cut(strings.TrimPrefix(signature, "t="), ",")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil || !found {
		return 0, false
	}
	return seconds, hmac.Equal([]byte(signature), []byte(Sign(key, seconds, body)))
}
