package resource

import (
	"encoding/json"
	"net/url"
	"path"
	"strings"

	"github.com/conclave-llm/conclave/resource/shape"
)

// RotationStore is where scheduled rotations write new secrets: Vault's KV engine, version 2. It is the
// value of the setting "rotation_store". A key does not say where in it: that is the prefix and its id.
type RotationStore struct {
	Vault      string `json:"vault"`                // address, https://vault.corp:8200
	Mount      string `json:"mount,omitempty"`      // of the engine; default "secret"
	Prefix     string `json:"prefix,omitempty"`     // of the paths; default "conclave/keys"
	Namespace  string `json:"namespace,omitempty"`  // of Vault Enterprise
	Credential string `json:"credential,omitempty"` // whose api_key is the token; default: what logs the leader in to Vault, as for its KEK
}

// URL is where the secret of a key is written to.
func (s *RotationStore) URL(keyID string) string {
	return strings.TrimRight(s.Vault, "/") + "/v1/" + s.Mount + "/data/" + path.Join(s.Prefix, url.PathEscape(keyID))
}

// readRotationStore reads the value of the setting, strictly.
func readRotationStore(s *Settings, v json.RawMessage) error {
	var in RotationStore
	if err := shape.ReadKnown(v, &in); err != nil {
		return invalidShape("value", err)
	}
	if in == (RotationStore{}) {
		s.RotationStore = nil
		return nil
	}
	if in.Mount == "" {
		in.Mount = "secret"
	}
	if in.Prefix == "" {
		in.Prefix = "conclave/keys"
	}
	if err := validWebhook("value.vault", in.Vault); err != nil {
		return err
	}
	for _, f := range []struct{ name, text string }{{"mount", in.Mount}, {"prefix", in.Prefix}} {
		if strings.ContainsAny(f.text, "?#%\\ \x00") || path.Clean("/"+f.text) != "/"+f.text {
			return invalidf("value."+f.name, "%.100q is not a path such as conclave/keys", f.text)
		}
	}
	s.RotationStore = &in
	return nil
}
