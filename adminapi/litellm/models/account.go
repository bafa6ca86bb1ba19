package models

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/adminapi/litellm/wire"
	"github.com/conclave-llm/conclave/adminapi/records"
	"github.com/conclave-llm/conclave/config/litellm"
	"github.com/conclave-llm/conclave/resource"
)

var (
	errNotText     = errors.New("is not text")
	errNotTruth    = errors.New("is neither true nor false")
	errEnvironment = errors.New("give the value itself; a node's environment is not read for a request")
)

// moveAccount takes LiteLLM's parameters of an account out of params, into options and secrets.
// A null one is null there, too: in a merge patch it removes.
func moveAccount(params, out records.Document) error {
	options, secrets := records.Document{}, records.Document{}
	for _, theirs := range slices.Sorted(maps.Keys(litellm.AccountParams)) {
		raw, given := params[theirs]
		if !given {
			continue
		}
		delete(params, theirs)
		p := litellm.AccountParams[theirs]
		to := options
		if p.Secret {
			to = secrets
		}
		read := accountText
		if p.Truth {
			read = accountTruth
		}
		text, err := read(raw)
		if err != nil {
			return wire.Invalid(theirs, err.Error())
		}
		to[p.Name] = text
	}
	for name, all := range map[string]records.Document{"options": options, "secrets": secrets} {
		if len(all) == 0 {
			continue
		}
		if err := out.Set(name, all); err != nil {
			return err
		}
	}
	return nil
}

// accountText is a parameter as text: vertex_credentials may be the JSON object itself.
func accountText(raw json.RawMessage) (json.RawMessage, error) {
	if records.IsNull(raw) {
		return raw, nil
	}
	text := string(raw)
	if !strings.HasPrefix(text, "{") {
		if err := json.Unmarshal(raw, &text); err != nil {
			return nil, errNotText
		}
	}
	if strings.HasPrefix(text, "os.environ/") {
		return nil, errEnvironment
	}
	return json.Marshal(text)
}

// accountTruth is a parameter that is true or false, as text.
func accountTruth(raw json.RawMessage) (json.RawMessage, error) {
	switch string(raw) {
	case "null":
		return raw, nil
	case "true", `"true"`:
		return json.RawMessage(`"true"`), nil
	case "false", `"false"`:
		return json.RawMessage(`"false"`), nil
	}
	return nil, errNotTruth
}

// showAccount writes options as LiteLLM calls them, and of secrets the fingerprints.
func showAccount(to map[string]any, options map[string]string, secrets map[string]*resource.Sealed) {
	for theirs, p := range litellm.AccountParams {
		if p.Second {
			continue
		}
		if v, ok := options[p.Name]; ok && !p.Secret {
			to[theirs] = v
			if p.Truth {
				to[theirs] = v == "true"
			}
		}
		if s := secrets[p.Name]; s != nil {
			to[theirs] = s.String()
		}
	}
}
