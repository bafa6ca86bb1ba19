package load_test

import (
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/config/load"
)

// TestParse_Egress reads proxies and timers in blocks and as attributes, and refuses bad ones
// with the field.
func TestParse_Egress(t *testing.T) {
	t.Parallel()
	parse := func(deployment string) (*config.File, error) {
		text := "model \"m\" {\n deployment \"d\" {\n provider = \"openai\"\n" + deployment + "\n}\n}\n"
		return load.Text("a.hcl", []byte(text), func(string) (string, bool) { return "", false })
	}
	for _, good := range []string{
		"connect_timeout_ms = 200\nproxy {\n url = \"http://u@px:3128\"\n no_proxy = \".corp\"\n}\ntls {\n server_name = \"x.corp\"\n}",
		"connect_timeout_ms = 200\nproxy = { url = \"http://u@px:3128\", no_proxy = \".corp\" }\ntls = { server_name = \"x.corp\" }",
	} {
		f, err := parse(good)
		if err != nil {
			t.Fatal(err)
		}
		d := f.Resources.Models[0].Deployments[0].Resource
		if d.ConnectMS != 200 || d.Proxy == nil || d.Proxy.URL != "http://u@px:3128" || d.Proxy.NoProxy != ".corp" || d.TLS == nil || d.TLS.ServerName != "x.corp" {
			t.Errorf("read %+v, %+v, %+v of %s", d.Timeouts, d.Proxy, d.TLS, good)
		}
	}
	for _, tt := range []struct{ text, says string }{
		{`proxy = { url = "ftp://px" }`, "proxy.url"},
		{`proxy = { url = "http://u:p@px:3128" }`, "proxy_password"},
		{`proxy = { url = "http://px:3128", no_proxy = "10.0.0.0/99" }`, "proxy.no_proxy"},
		{`proxy = { address = "http://px:3128" }`, "address"},
		{`proxy = { url = "http://px:3128", ca = "nonsense" }`, "proxy.ca"},
		{`proxy = { url = "https://px:3128", ca = "nonsense" }`, "nor the digest of a blob"},
		{`proxy = { url = "direct", ca = "nonsense" }`, "proxy.url"},
		{`tls = { ca = "nonsense" }`, "tls.ca"},
		{`first_token_timeout_ms = -1`, "first_token_timeout_ms"},
	} {
		if _, err := parse(tt.text); err == nil || !strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "a.hcl line") {
			t.Errorf("%s: got %v, want an error with %s and its place", tt.text, err, tt.says)
		}
	}
}
