package gemini

import (
	"encoding/base64"
	"strings"
)

// own marks a signature of Google's on reasoning, for the way through another dialect.
const own = "google:"

// What stands before another vendor's signature, or its encrypted reasoning, inside the base64 of
// a thoughtSignature that a client of ours in Google's dialect keeps for us.
const (
	foreignSignature = "conclave-signature:"
	foreignData      = "conclave-data:"
)

// validator is what Google's documents name for calls whose signature is not known, such as
// those of a conversation that began with another vendor's model.
const validator = "skip_thought_signature_validator"

// toClient puts the signature of reasoning into a thoughtSignature.
func toClient(signature, data string) string {
	switch {
	case data != "":
		return base64.StdEncoding.EncodeToString([]byte(foreignData + data))
	case signature == "":
		return ""
	case strings.HasPrefix(signature, own):
		return signature[len(own):]
	}
	return base64.StdEncoding.EncodeToString([]byte(foreignSignature + signature))
}

// fromClient takes it out again.
func fromClient(thought string) (signature, data string) {
	if thought == "" {
		return "", ""
	}
	if raw, err := base64.StdEncoding.DecodeString(thought); err == nil {
		if s, ok := strings.CutPrefix(string(raw), foreignSignature); ok {
			return s, ""
		}
		if s, ok := strings.CutPrefix(string(raw), foreignData); ok {
			return "", s
		}
	}
	return own + thought, ""
}
