package resource

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// PluginProvider begins the provider of a deployment for which a plugin of the kind provider answers:
// "plugin/NAME".
const PluginProvider = "plugin/"

// Options of such a deployment, or of its credential, that say how the plugin is run. It is not told them.
const (
	OptionPluginInstances = "plugin_instances" // processes on each node that share the requests; default 1
	OptionPluginMemoryMB  = "plugin_memory_mb" // MiB of one process, above which it is killed; default 256
)

// notForPlugins are the options and the secrets of which a plugin is told nothing.
var notForPlugins = []string{OptionPluginInstances, OptionPluginMemoryMB, OptionCostPerRequest, SecretProxyPassword, SecretTLSKey}

// What the plugin finds in its configuration beside options and secrets.
const (
	pluginAPIBase = "api_base"
	pluginAPIKey  = "api_key"
)

// PluginName is the plugin that answers for the deployment, "" if its provider is asked over HTTP.
func (d *Deployment) PluginName() string {
	name, ok := strings.CutPrefix(d.Provider, PluginProvider)
	if !ok {
		return ""
	}
	return name
}

// PluginProcess names the processes that serve the deployment: "NAME@" and 12 hexadecimal digits. Deployments
// of one plugin share them if they have the same options, address and credential, and no secrets of their own.
func (d *Deployment) PluginProcess() string {
	of := struct {
		Owner, Credential, Base string
		Options                 map[string]string
	}{Credential: d.CredentialID, Base: d.APIBase, Options: d.Options}
	if d.APIKey != nil || len(d.Secrets) > 0 {
		of.Owner = d.ID
	}
	if len(of.Options) == 0 {
		of.Options = nil
	}
	text, err := json.Marshal(of)
	if err != nil {
		panic(err) // texts can be written
	}
	sum := sha256.Sum256(text)
	return d.PluginName() + "@" + hex.EncodeToString(sum[:6])
}

// PluginConfig is what the plugin of a deployment is configured with, c being its credential, nil for none: one
// object with the options and the secrets of both, those of the deployment before those of the credential, and
// api_base and api_key where there are any. open reads a secret of the record of the kind.
func (d *Deployment) PluginConfig(c *Credential, open func(kind, id, field string, s *Sealed) (string, error)) (json.RawMessage, error) {
	config, sealed := map[string]string{}, map[string]sealedOf{}
	put := func(base string, key *Sealed, options map[string]string, secrets map[string]*Sealed, kind, id string) {
		for name, v := range options {
			config[name] = v
			delete(sealed, name)
		}
		for name, s := range secrets {
			sealed[name] = sealedOf{kind, id, s}
		}
		if base != "" {
			config[pluginAPIBase] = base
		}
		if key != nil {
			sealed[pluginAPIKey] = sealedOf{kind, id, key}
		}
	}
	if c != nil {
		put(c.APIBase, c.APIKey, c.Options, c.Secrets, "credential", c.ID)
	}
	put(d.APIBase, d.APIKey, d.Options, d.Secrets, "deployment", d.ID)
	for _, name := range notForPlugins {
		delete(config, name)
		delete(sealed, name)
	}
	for _, name := range slices.Sorted(maps.Keys(sealed)) {
		s := sealed[name]
		text, err := open(s.kind, s.id, name, s.sealed)
		if err != nil {
			return nil, err
		}
		config[name] = text
	}
	return json.Marshal(config)
}

// sealedOf is a secret and the record that has it.
type sealedOf struct {
	kind, id string
	sealed   *Sealed
}

// PluginRun is how the plugin of a deployment is run: processes on each node, and MiB of one, 0 for the
// defaults. c is as in PluginConfig.
func (d *Deployment) PluginRun(c *Credential) (instances, memoryMB int64, err error) {
	instances, err = d.pluginNumber(c, OptionPluginInstances)
	if err == nil && instances > MaxInstances {
		err = invalidf("options."+OptionPluginInstances, "%d is more than %d", instances, MaxInstances)
	}
	if err == nil {
		memoryMB, err = d.pluginNumber(c, OptionPluginMemoryMB)
	}
	if err == nil && validMemory(memoryMB) != nil {
		err = invalidf("options."+OptionPluginMemoryMB, "%v", validMemory(memoryMB))
	}
	return instances, memoryMB, err
}

// pluginNumber is an option that is a number, 0 if it is not given.
func (d *Deployment) pluginNumber(c *Credential, name string) (int64, error) {
	text, ok := d.Options[name]
	if !ok && c != nil {
		text, ok = c.Options[name]
	}
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, invalidf("options."+name, "%q is no number of 1 or more", text)
	}
	return n, nil
}

// validPlugin checks a deployment for which a plugin answers.
func (d *Deployment) validPlugin() error {
	if !strings.HasPrefix(d.Provider, PluginProvider) {
		return nil
	}
	if err := validName("provider", d.PluginName()); err != nil {
		return invalidf("provider", "%q names no plugin: want %sNAME", d.Provider, PluginProvider)
	}
	if d.Proxy != nil || d.TLS != nil {
		return invalidf("provider", "%q is asked within the node: proxy and tls are nothing that its plugin is told of", d.Provider)
	}
	for _, name := range []string{pluginAPIBase, pluginAPIKey} {
		if _, ok := d.Options[name]; ok || d.Secrets[name] != nil {
			return invalidf("options."+name, "is given by the field %s", name)
		}
	}
	_, _, err := d.PluginRun(nil)
	return err
}
