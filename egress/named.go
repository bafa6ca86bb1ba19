package egress

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/chatgpt"
	"github.com/conclave-llm/conclave/provider/copilot"
	"github.com/conclave-llm/conclave/resource"
)

// Destination is an address that the configuration names.
type Destination struct {
	Address string   `json:"address"` // host:port in lower case
	By      []string `json:"by"`      // "deployment gpt-4o/azure", "setting price_sync"
	// Insecure says that its certificate is not verified.
	Insecure bool `json:"insecure,omitempty"`
}

// allowed is what one catalog names.
type allowed struct {
	cat  *resource.Catalog
	list []Destination // by address
}

func (a *allowed) has(addr string) bool {
	_, ok := slices.BinarySearchFunc(a.list, addr, func(d Destination, addr string) int { return cmp.Compare(d.Address, addr) })
	return ok
}

// allowed is what the newest catalog and the node's own file name.
func (d *Dialer) allowed() *allowed {
	var cat *resource.Catalog
	if d.cfg.Catalog != nil {
		cat = d.cfg.Catalog()
	}
	if a := d.named.Load(); a != nil && a.cat == cat {
		return a
	}
	var all []Destination
	if cat != nil {
		all = d.cfg.Named(cat)
	}
	if o := d.cfg.Proxy; o != nil {
		all = append(all, ofProxy(o.Proxy, "node proxy")...)
	}
	a := &allowed{cat: cat, list: merged(all)}
	d.named.Store(a)
	return a
}

// merged sorts destinations and puts the same ones together.
func merged(all []Destination) []Destination {
	slices.SortStableFunc(all, func(a, b Destination) int { return cmp.Compare(a.Address, b.Address) })
	out := all[:0]
	for _, d := range all {
		if n := len(out); n > 0 && out[n-1].Address == d.Address {
			last := &out[n-1]
			last.Insecure = last.Insecure || d.Insecure
			for _, by := range d.By {
				if !slices.Contains(last.By, by) {
					last.By = append(last.By, by)
				}
			}
			continue
		}
		out = append(out, d)
	}
	return out
}

// Named lists what the records and settings of a catalog name: providers, proxies, channels of
// alerts, sinks of the audit log, the source of prices, where bills are read, endpoints of plugins,
// MCP servers, the other nodes. It may name an address more than once.
func Named(cat *resource.Catalog) []Destination {
	t, s := cat.Tables(), cat.Settings()
	var out []Destination
	for _, m := range t.Models {
		for _, d := range cat.Deployments(m.ID) {
			out = append(out, ofDeployment(cat, m, d)...)
		}
	}
	for _, m := range t.Members {
		if !m.Removed {
			out = append(out, Destination{Address: strings.ToLower(m.Address), By: []string{"node " + m.Name}})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.ProviderProxies)) {
		out = append(out, ofProxy(s.ProviderProxies[name], "setting provider_proxies "+name)...)
	}
	out = append(out, ofSettings(cat, s)...)
	for i := range s.Audit.Sinks {
		if network, address, err := s.Audit.Sinks[i].Dial(); err == nil && network != "unix" && address != "" {
			out = append(out, Destination{Address: strings.ToLower(address), By: []string{"setting audit"}})
		}
	}
	for i := range s.Alerts.Channels {
		c := &s.Alerts.Channels[i]
		out = append(out, ofURL(c.URL, "channel "+c.Name)...)
		if c.Host != "" {
			out = append(out, Destination{Address: strings.ToLower(c.Host), By: []string{"channel " + c.Name}})
		}
	}
	for _, a := range s.EgressAllow {
		out = append(out, Destination{Address: a, By: []string{"setting egress_allow"}})
	}
	return append(out, beside(t)...)
}

// ofSettings lists where single settings say that something is read or written.
func ofSettings(cat *resource.Catalog, s *resource.Settings) []Destination {
	out := ofURL(s.PriceSync.URL, "setting price_sync")
	if c := s.CaptureCheck; c != nil {
		out = append(out, ofURL(c.APIBase, "setting spend_capture_rate_check")...)
	}
	if s.RotationStore != nil {
		out = append(out, ofURL(s.RotationStore.Vault, "setting rotation_store")...)
	}
	if s3 := s.Snapshots.S3; s3 != nil {
		out = append(out, ofS3(cat, s3)...)
	}
	return out
}

// ofS3 lists where the store of the snapshots is, and where the keys come from that its requests are signed with: those of
// a credential, or of this process or machine.
func ofS3(cat *resource.Catalog, s3 *resource.S3Store) []Destination {
	const by = "setting snapshots"
	out := ofURL(s3.URL(), by)
	options := map[string]string{}
	if s3.Credential == "" {
		options["aws_use_environment"] = "true"
	}
	for _, c := range cat.Tables().Credentials {
		if s3.Credential != "" && (c.Name == s3.Credential || c.ID == s3.Credential) {
			maps.Copy(options, c.Options)
		}
	}
	options["region"] = s3.Region
	for _, address := range TokenServices(provider.SigV4, options) {
		out = append(out, ofURL(address, by+" (tokens)")...)
	}
	return out
}

// beside lists what is asked beside providers.
func beside(t *resource.Tables) (out []Destination) {
	for _, g := range t.Guardrails {
		out = append(out, ofConfig(g.Config, "guardrail "+g.Name)...)
	}
	for _, m := range t.MCPServers {
		for _, u := range append(m.OAuth.URLs(), m.URL, m.Spec) {
			out = append(out, ofURL(u, "MCP server "+m.Name)...)
		}
	}
	for _, e := range t.PassThrough {
		out = append(out, ofURL(e.Target, "pass-through endpoint "+e.Name)...)
	}
	for _, c := range t.Callbacks {
		out = append(out, ofConfig(c.Config, "callback "+c.Name)...)
	}
	for _, s := range t.SecretSources {
		out = append(out, ofSecretSource(s)...)
	}
	for _, s := range t.RouterFilters {
		out = append(out, ofConfig(s.Config, "router filter "+s.Name)...)
	}
	for _, s := range t.Auths {
		out = append(out, ofConfig(s.Config, "auth plugin "+s.Name)...)
	}
	return out
}

// ofDeployment lists where a deployment's requests go.
func ofDeployment(cat *resource.Catalog, m *resource.Model, d *resource.Deployment) (out []Destination) {
	by := "deployment " + m.Name + "/" + cmp.Or(d.Name, d.ID)
	if d.PluginName() != "" { // which says itself whom it asks: its configuration may name them
		c, _ := cat.Credential(d.CredentialID)
		config, _ := d.PluginConfig(c, func(string, string, string, *resource.Sealed) (string, error) { return "", nil })
		return ofConfig(config, by)
	}
	base, options, way := d.APIBase, map[string]string{}, d.Egress
	if c, ok := cat.Credential(d.CredentialID); ok {
		base = cmp.Or(base, c.APIBase)
		maps.Copy(options, c.Options)
		way.Proxy, way.TLS = cmp.Or(way.Proxy, c.Proxy), cmp.Or(way.TLS, c.TLS)
	}
	maps.Copy(options, d.Options)
	out = ofProxy(way.Proxy, by)
	p, ok := provider.Lookup(d.Provider)
	if !ok {
		return append(out, ofURL(base, by)...)
	}
	name := cmp.Or(d.Upstream, m.Name)
	p = p.For(name)
	for _, e := range llm.Endpoints() {
		if at, ok := p.Way(e); ok {
			if text, err := p.URL(base, llm.Place{Endpoint: at, Model: name, Options: options}); err == nil {
				out = append(out, ofURL(text, by)...)
			}
		}
	}
	for i := range out {
		out[i].Insecure = way.TLS != nil && way.TLS.InsecureSkipVerify
	}
	for _, address := range TokenServices(p.Auth, options) {
		out = append(out, ofURL(address, by+" (tokens)")...)
	}
	return out
}

// TokenServices lists where the tokens are fetched that a way of signing needs with these options.
func TokenServices(auth provider.Auth, options map[string]string) []string {
	machine := []string{"http://169.254.169.254"}
	switch auth {
	case provider.GoogleToken:
		all := []string{"https://oauth2.googleapis.com", "https://sts.googleapis.com", "https://iamcredentials.googleapis.com"}
		if options["google_auth"] == "metadata" {
			all = append(all, machine...)
		}
		return all
	case provider.EntraToken, provider.GraphToken:
		all := []string{cmp.Or(options["azure_authority_host"], "https://login.microsoftonline.com")}
		if options["azure_use_environment"] == "true" {
			all = append(all, machine...)
		}
		return all
	case provider.IBMToken:
		return []string{cmp.Or(options["watsonx_iam_url"], "https://iam.cloud.ibm.com")}
	case provider.GigaToken:
		return []string{cmp.Or(options["gigachat_auth_url"], "https://ngw.devices.sberbank.ru:9443")}
	case provider.CopilotToken:
		all := []string{copilot.API(options)}
		if options[copilot.OptionLogin] != "" {
			all = append(all, copilot.Login(options))
		}
		return all
	case provider.ChatGPTToken:
		return []string{chatgpt.Issuer(options)}
	case provider.SAPToken:
		if address := options["sap_auth_url"]; address != "" {
			return []string{address}
		}
	case provider.SigV4, provider.SigV4Events, provider.RuntimeSigV4:
		var all []string
		if options["aws_role_name"] != "" {
			all = append(all, cmp.Or(options["aws_sts_endpoint"], "https://sts."+cmp.Or(options["region"], "us-east-1")+".amazonaws.com"))
		}
		if options["aws_use_environment"] == "true" {
			all = append(all, "http://169.254.170.2", machine[0])
		}
		return all
	}
	return nil
}

// ofSecretSource lists where a secret source asks, which its plugin knows by itself if the configuration
// names no endpoint.
func ofSecretSource(s *resource.SecretSource) []Destination {
	by := "secret source " + s.Name
	out := ofConfig(s.Config, by)
	var in struct {
		Region    string `json:"region"`
		Endpoint  string `json:"endpoint"`
		Authority string `json:"authority_host"`
	}
	if len(s.Config) > 0 && json.Unmarshal(s.Config, &in) != nil {
		return out
	}
	switch {
	case s.Plugin == "aws_secrets_manager" && in.Endpoint == "":
		return append(out, ofURL("https://secretsmanager."+cmp.Or(in.Region, "us-east-1")+".amazonaws.com", by)...)
	case s.Plugin == "gcp_secret_manager" && in.Endpoint == "":
		return append(out, ofURL("https://secretmanager.googleapis.com", by)...)
	case s.Plugin == "azure_key_vault" && in.Authority == "":
		return append(out, ofURL("https://login.microsoftonline.com", by+" (tokens)")...)
	}
	return out
}

func ofProxy(p *resource.Proxy, by string) []Destination {
	if p == nil || p.URL == resource.Direct {
		return nil
	}
	return ofURL(p.URL, by+" (proxy)")
}

func ofURL(text, by string) []Destination {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return nil
	}
	return []Destination{{Address: HostPort(u), By: []string{by}}}
}

// ofConfig lists the URLs in the configuration of a plugin.
func ofConfig(raw json.RawMessage, by string) (out []Destination) {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return nil
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			if strings.HasPrefix(v, "http://") || strings.HasPrefix(v, "https://") {
				out = append(out, ofURL(v, by)...)
			}
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(v)
	return out
}
