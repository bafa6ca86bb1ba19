package reply

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/conclave-llm/conclave/llm"
)

const maxRequestID = 128

// RequestID takes the client's id if it is harmless in headers, logs and records, and makes
// a new one otherwise.
func RequestID(h http.Header) string {
	if v := h["X-Request-Id"]; len(v) > 0 && sane(v[0]) {
		return v[0]
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	var text [36]byte // a UUID, as x-litellm-call-id is
	hex.Encode(text[:8], b[:4])
	hex.Encode(text[9:13], b[4:6])
	hex.Encode(text[14:18], b[6:8])
	hex.Encode(text[19:23], b[8:10])
	hex.Encode(text[24:], b[10:])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

func sane(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	return strings.IndexFunc(id, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && r != '-' && r != '_' && r != '.' && r != ':'
	}) < 0
}

// VendorAt is whose dialect the client of a path speaks, which nobody serves.
func VendorAt(path string) llm.Vendor {
	has := func(prefix string) bool { return strings.HasPrefix(path, prefix) }
	last := path[strings.LastIndexByte(path, '/')+1:]
	switch {
	case has("/v1beta"), has("/gemini/"), has("/vertex_ai/"), has("/vertex-ai/"), has("/v1/projects/") && strings.Contains(path, "/locations/"), has("/v1/models/") && strings.Contains(last, ":"):
		return llm.VendorGoogle
	case has("/anthropic/"), has("/v1/messages"):
		return llm.VendorAnthropic
	case has("/model/"), has("/bedrock/"):
		return llm.VendorAmazon
	}
	return llm.VendorOpenAI
}
