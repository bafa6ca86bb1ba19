package resource

import "encoding/json"

// Sealed is a secret encrypted under a data key of the cluster (package secret makes and
// opens it). Whatever prints it prints the fingerprint, never the ciphertext.
type Sealed struct {
	DEK         string `json:"dek"`   // id of the data key
	Box         []byte `json:"box"`   // nonce and ciphertext; bound to kind, id and field
	Fingerprint string `json:"print"` // first 8 hexadecimal digits of an HMAC under a key made of the first data key
	// SignIn says that a sign-in at a provider gave the secret, or its renewal did: a configuration file that leaves it
	// out keeps it, as does one that still gives the text whose fingerprint is Given.
	SignIn bool   `json:"sign_in,omitempty"`
	Given  string `json:"given,omitempty"` // of what somebody gave before it; "": nothing
}

// Follow marks s as what a sign-in gave in the place of was, which may be nil.
func (s *Sealed) Follow(was *Sealed) {
	s.SignIn = true
	switch {
	case was == nil:
	case was.SignIn:
		s.Given = was.Given
	default:
		s.Given = was.Fingerprint
	}
}

// String gives the fingerprint.
func (s *Sealed) String() string {
	if s == nil {
		return ""
	}
	return "sealed:" + s.Fingerprint
}

// MarshalJSON gives {"fingerprint": …}, for the admin API and dumps.
func (s *Sealed) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Fingerprint string `json:"fingerprint"`
	}{s.Fingerprint})
}

// UnmarshalJSON refuses: a sealed secret is never taken from a client.
func (s *Sealed) UnmarshalJSON([]byte) error {
	return invalidf("secret", "give the secret as text; what is shown of it cannot be written back")
}

// GoString gives the fingerprint for %#v.
func (s *Sealed) GoString() string { return s.String() }
