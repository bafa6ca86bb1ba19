package records

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/plugins/schema"
	"github.com/conclave-llm/conclave/resource"
)

// kindProvider is the kind of plugins that answer for deployments.
const kindProvider = "provider"

// CheckPluginProvider checks a deployment for which a plugin answers: the plugin is registered, of the right kind,
// and takes the options and secrets of the deployment and of its credential c, nil for none.
func CheckPluginProvider(registered []*resource.Plugin, next *resource.Deployment, c *resource.Credential) error {
	name := next.PluginName()
	if name == "" {
		return nil
	}
	if err := isProvider(registered, name); err != nil {
		return err
	}
	if c != nil && c.Provider != "" && c.Provider != next.Provider {
		return &resource.Invalid{Field: "credential_id", Reason: fmt.Sprintf("%s is a credential of %s: a plugin is told those alone that name it, or no provider", c.Name, c.Provider)}
	}
	if _, _, err := next.PluginRun(c); err != nil {
		return err
	}
	return schema.CheckProvider(registered, next, c)
}

// CheckProviderMove refuses to give the stored secrets of a deployment to a plugin that they were not given for, or
// to the same one with other options: they say where the plugin sends them.
func CheckProviderMove(now, next *resource.Deployment) error {
	if now.PluginName() == "" && next.PluginName() == "" {
		return nil
	}
	if now.Provider != next.Provider || now.APIBase != next.APIBase || !maps.Equal(now.Options, next.Options) {
		return &resource.Invalid{Field: "secrets", Reason: "give the secrets again: the stored ones were not given for this plugin and these options"}
	}
	return nil
}

// isProvider refuses a name that no plugin of the kind has.
func isProvider(registered []*resource.Plugin, name string) error {
	var others []string
	for _, p := range registered {
		if p.Name == name && p.Kind == kindProvider {
			return nil
		}
		if p.Kind == kindProvider && !slices.Contains(others, p.Name) {
			others = append(others, p.Name)
		}
	}
	if i := slices.IndexFunc(registered, func(p *resource.Plugin) bool { return p.Name == name }); i >= 0 {
		return &resource.Invalid{Field: "provider", Reason: fmt.Sprintf("the plugin %q is of the kind %s: one of the kind %s answers for a deployment", name, registered[i].Kind, kindProvider)}
	}
	known := "; none of the kind is registered yet"
	if len(others) > 0 {
		slices.Sort(others)
		known = "; registered are " + strings.Join(others, ", ")
	}
	return &resource.Invalid{Field: "provider", Reason: fmt.Sprintf("there is no plugin %q: register it first, with conclave plugin upload or conclave plugin create --kind %s%s", name, kindProvider, known)}
}

// credentialOf finds a credential by its id, nil if there is none.
func credentialOf(all []*resource.Credential, id string) *resource.Credential {
	i := slices.IndexFunc(all, func(c *resource.Credential) bool { return id != "" && c.ID == id })
	if i < 0 {
		return nil
	}
	return all[i]
}
