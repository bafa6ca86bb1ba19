package resource

import (
	"bytes"
	"cmp"
	"encoding/json"
)

// Tokenizer is model_info.custom_tokenizer in a deployment's metadata: the name of an encoding, or an
// object with one of these.
type Tokenizer struct {
	Encoding   string `json:"encoding"`
	Identifier string `json:"identifier"` // LiteLLM's
	Blob       string `json:"blob"`       // digest of a tokenizer.json
}

// UnmarshalJSON reads a text for an object with an encoding.
func (t *Tokenizer) UnmarshalJSON(b []byte) error {
	type plain Tokenizer
	if json.Unmarshal(b, &t.Encoding) == nil {
		return nil
	}
	return json.Unmarshal(b, (*plain)(t))
}

// Name is that of the encoding.
func (t *Tokenizer) Name() string { return cmp.Or(t.Encoding, t.Identifier) }

// Tokenizer is the one that the deployment names; nil: none.
func (d *Deployment) Tokenizer() (*Tokenizer, error) {
	if !bytes.Contains(d.Metadata, []byte("custom_tokenizer")) {
		return nil, nil
	}
	var info struct {
		Tokenizer *Tokenizer `json:"custom_tokenizer"`
	}
	err := json.Unmarshal(d.Metadata, &info)
	return info.Tokenizer, err
}
