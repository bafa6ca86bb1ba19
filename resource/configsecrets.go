package resource

import (
	"encoding/json"
	"strings"
)

// validConfigSecrets checks that each secret has one place in a plugin's configuration, which it has
// alone.
func validConfigSecrets(raw json.RawMessage, secrets map[string]*Sealed) error {
	if len(secrets) > maxOptions {
		return invalidf("secrets", "has more than %d entries", maxOptions)
	}
	var config map[string]json.RawMessage
	if len(raw) > 0 && len(secrets) > 0 {
		if err := json.Unmarshal(raw, &config); err != nil {
			return invalidf("config", "is not an object, so secrets have no place in it")
		}
	}
	for _, name := range sortedKeys(secrets) {
		outer, inner, nested := strings.Cut(name, ".")
		if outer == "" || nested && inner == "" || len(name) > 256 {
			return invalidf("secrets."+name, "is not the name of a field of config, such as api_key or headers.Authorization")
		}
		if _, taken := config[outer]; taken && !nested {
			return invalidf("secrets."+name, "is given in config too")
		}
	}
	return nil
}

// configured is the configuration of a plugin with the secrets in their places, which open reads.
func configured(raw json.RawMessage, secrets map[string]*Sealed, open func(field string, s *Sealed) (string, error)) (json.RawMessage, error) {
	if len(secrets) == 0 {
		return raw, nil
	}
	config := map[string]any{}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &config); err != nil {
			return nil, err
		}
	}
	for _, name := range sortedKeys(secrets) {
		text, err := open(name, secrets[name])
		if err != nil {
			return nil, err
		}
		outer, inner, nested := strings.Cut(name, ".")
		if !nested {
			config[outer] = text
			continue
		}
		in, _ := config[outer].(map[string]any)
		if in == nil {
			in = map[string]any{}
			config[outer] = in
		}
		in[inner] = text
	}
	return json.Marshal(config)
}
