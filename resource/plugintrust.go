package resource

import (
	"encoding/json"

	"github.com/conclave-llm/conclave/resource/manifest"
	"github.com/conclave-llm/conclave/resource/shape"
	"github.com/conclave-llm/conclave/signing"
)

// SettingPluginTrust names the setting that says whose plugins are taken.
const SettingPluginTrust = "plugin_trust"

// readPluginTrust reads the setting: {"publishers": ["ed25519:…"], "require_signature": true}.
func readPluginTrust(s *Settings, v json.RawMessage) error {
	var given struct {
		Publishers []string `json:"publishers"`
		Require    bool     `json:"require_signature"`
	}
	if err := shape.ReadKnown(v, &given); err != nil {
		return invalidShape("value", err)
	}
	keys, err := signing.ParseTrust(given.Publishers)
	if err != nil {
		return invalidf("value.publishers", "%v", err)
	}
	if given.Require && len(keys) == 0 {
		return invalidf("value.publishers", "is empty: with require_signature no plugin could be uploaded")
	}
	s.PluginTrust = manifest.Trust{Publishers: keys, Require: given.Require}
	return nil
}

// CheckTrust returns an *Invalid if the settings do not let the plugin be registered. It says
// nothing of plugins that are registered already.
func (s *Settings) CheckTrust(p *Plugin) error {
	if p.Manifest == "" {
		if s.PluginTrust.Require {
			return invalidf("signature", "the setting %s requires one: upload a signed bundle instead of registering a path", SettingPluginTrust)
		}
		return nil
	}
	if err := s.PluginTrust.Check(p.Manifest, p.Signature); err != nil {
		return invalidf("signature", "the setting %s refuses the bundle: %v", SettingPluginTrust, err)
	}
	return nil
}
