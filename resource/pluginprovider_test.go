package resource_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/resource"
)

func TestDeployment_PluginConfig(t *testing.T) {
	t.Parallel()
	sealed := &resource.Sealed{}
	c := &resource.Credential{
		Meta: resource.Meta{ID: "cred_1"}, APIBase: "https://shared.example", APIKey: sealed,
		Options: map[string]string{"region": "us", "zone": "a", "token": "open"}, Secrets: map[string]*resource.Sealed{"salt": sealed, "plan": sealed},
	}
	d := &resource.Deployment{
		Meta: resource.Meta{ID: "dep_1"}, Provider: "plugin/house", CredentialID: "cred_1",
		Options: map[string]string{
			"region": "eu", "plan": "small", resource.OptionPluginMemoryMB: "512", resource.OptionPluginInstances: "2", resource.OptionCostPerRequest: "0.1",
		},
		Secrets: map[string]*resource.Sealed{"token": sealed},
	}
	open := func(kind, id, field string, _ *resource.Sealed) (string, error) {
		return kind + " " + id + " " + field, nil
	}
	got, err := d.PluginConfig(c, open)
	want := `{"api_base":"https://shared.example","api_key":"credential cred_1 api_key","plan":"small","region":"eu","salt":"credential cred_1 salt","token":"deployment dep_1 token","zone":"a"}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
	d.APIKey, d.APIBase = sealed, "https://own.example"
	if got, err = d.PluginConfig(c, open); err != nil || !strings.Contains(string(got), `"api_base":"https://own.example","api_key":"deployment dep_1 api_key"`) {
		t.Errorf("with its own key: %s, %v", got, err)
	}
	if got, err = (&resource.Deployment{Provider: "plugin/house"}).PluginConfig(nil, open); err != nil || string(got) != "{}" {
		t.Errorf("with nothing: %s, %v", got, err)
	}
	locked := errors.New("no key for it")
	if _, err = d.PluginConfig(c, func(string, string, string, *resource.Sealed) (string, error) { return "", locked }); !errors.Is(err, locked) {
		t.Errorf("with secrets that cannot be opened: %v", err)
	}
	if instances, memory, err := d.PluginRun(c); instances != 2 || memory != 512 || err != nil {
		t.Errorf("run as %d, %d MiB, %v", instances, memory, err)
	}
}

// Deployments share processes if they would be configured alike, and only then.
func TestDeployment_PluginProcess(t *testing.T) {
	t.Parallel()
	base := func() *resource.Deployment {
		return &resource.Deployment{Meta: resource.Meta{ID: "dep_1"}, Provider: "plugin/house", CredentialID: "c", Options: map[string]string{"a": "1"}}
	}
	name := base().PluginProcess()
	if !strings.HasPrefix(name, "house@") || len(name) != len("house@")+12 {
		t.Errorf("called %q", name)
	}
	for what, edit := range map[string]func(*resource.Deployment){
		"another plugin":     func(d *resource.Deployment) { d.Provider = "plugin/home" },
		"another credential": func(d *resource.Deployment) { d.CredentialID = "d" },
		"another option":     func(d *resource.Deployment) { d.Options["a"] = "2" },
		"another address":    func(d *resource.Deployment) { d.APIBase = "https://x.example" },
		"a key of its own":   func(d *resource.Deployment) { d.APIKey = &resource.Sealed{} },
	} {
		d := base()
		if edit(d); d.PluginProcess() == name {
			t.Errorf("%s shares the process", what)
		}
	}
	d := base()
	d.ID, d.Upstream, d.Name = "dep_2", "m2", "second"
	if d.PluginProcess() != name {
		t.Error("another model of the same settings has a process of its own")
	}
	a, b := base(), base()
	a.APIKey, b.APIKey, b.ID = &resource.Sealed{}, &resource.Sealed{}, "dep_2"
	if a.PluginProcess() == b.PluginProcess() {
		t.Error("two deployments with secrets of their own share a process")
	}
}

func TestDeployment_Validate_plugin(t *testing.T) {
	t.Parallel()
	for want, edit := range map[string]func(*resource.Deployment){
		"":                         func(*resource.Deployment) {},
		"names no plugin":          func(d *resource.Deployment) { d.Provider = "plugin/" },
		"proxy and tls":            func(d *resource.Deployment) { d.Proxy = &resource.Proxy{URL: "http://px.example:1"} },
		"options.api_key":          func(d *resource.Deployment) { d.Options = map[string]string{"api_key": "x"} },
		"options.plugin_instances": func(d *resource.Deployment) { d.Options = map[string]string{"plugin_instances": "many"} },
		"is more than":             func(d *resource.Deployment) { d.Options = map[string]string{"plugin_instances": "1000"} },
		"options.plugin_memory_mb": func(d *resource.Deployment) { d.Options = map[string]string{"plugin_memory_mb": "1"} },
	} {
		d := &resource.Deployment{ModelID: "m", Provider: "plugin/house"}
		edit(d)
		if err := d.Validate(); (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
