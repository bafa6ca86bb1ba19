package egress_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/conclave-llm/conclave/egress"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// catalog names something of everything that can be named.
func catalog(sealed string) *resource.Catalog {
	setting := func(name, value string) *resource.Setting {
		return &resource.Setting{Meta: resource.Meta{ID: name}, Value: json.RawMessage(value)}
	}
	return resource.NewCatalog(resource.Tables{
		Models: []*resource.Model{{Meta: resource.Meta{ID: "m"}, Name: "demo"}},
		Credentials: []*resource.Credential{{
			Meta: resource.Meta{ID: "c"}, Name: "corp", APIBase: "http://Cred.example/v1", Egress: resource.Egress{TLS: &resource.TLS{InsecureSkipVerify: true}},
		}},
		Deployments: []*resource.Deployment{
			{Meta: resource.Meta{ID: "d1"}, Name: "own", ModelID: "m", Provider: "openai", Egress: resource.Egress{Proxy: &resource.Proxy{URL: "socks5://px.example"}}},
			{Meta: resource.Meta{ID: "d2"}, Name: "corp", ModelID: "m", Provider: "openai", CredentialID: "c"},
			{Meta: resource.Meta{ID: "d3"}, Name: "aws", ModelID: "m", Provider: "bedrock", Options: map[string]string{"region": "eu-west-1", "aws_role_name": "r"}},
		},
		Members:   []*resource.Member{{Meta: resource.Meta{ID: "n"}, Name: "a", Address: "10.0.0.1:4001"}, {Meta: resource.Meta{ID: "o"}, Address: "10.0.0.2:4001", Removed: true}},
		Callbacks: []*resource.Callback{{Name: "otel", Config: json.RawMessage(`{"to": [{"endpoint": "https://otel.example:4318/v1"}]}`)}},
		SecretSources: []*resource.SecretSource{
			{Name: "aws-sm", Plugin: "aws_secrets_manager", Config: json.RawMessage(`{"region": "eu-central-1"}`)},
			{Name: "vault", Plugin: "vault", Config: json.RawMessage(`{"address": "https://vault.example:8200"}`)},
			{Name: "azure-kv", Plugin: "azure_key_vault", Config: json.RawMessage(`{"vault_url": "https://v.vault.azure.net"}`)},
		},
		Settings: []*resource.Setting{
			setting("sealed", sealed), setting("egress_allow", `["hooks.example:443"]`),
			setting("price_sync", `{"url": "https://prices.example/p.json", "every": "24h"}`),
			setting("alerts", `{"channels": [{"name": "ops", "type": "webhook", "url": "https://Ops.example/a"}, {"name": "mail", "type": "email", "host": "smtp.example:587", "from": "a@b.c"}]}`),
			setting("audit", `{"sinks": [{"kind": "syslog", "address": "tcp://log.example"}]}`),
			setting("spend_capture_rate_check", `{}`),
			setting("provider_proxies", `{"openai": {"url": "http://outer.example:3128"}}`),
		},
	})
}

func TestNamed(t *testing.T) {
	t.Parallel()
	cat := catalog("true")
	d, err := egress.New(egress.Config{
		Catalog: func() *resource.Catalog { return cat },
		Proxy:   &egress.Options{Proxy: &resource.Proxy{URL: "http://node.example:8080"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range d.Report().Allowed {
		line := a.Address + " " + strings.Join(a.By, ", ")
		if a.Insecure {
			line += " insecure"
		}
		got = append(got, line)
	}
	want := []string{
		"10.0.0.1:4001 node a",
		"api.openai.com:443 deployment demo/own, setting spend_capture_rate_check",
		"bedrock-agent-runtime.eu-west-1.amazonaws.com:443 deployment demo/aws",
		"bedrock-runtime.eu-west-1.amazonaws.com:443 deployment demo/aws",
		"cred.example:80 deployment demo/corp insecure",
		"hooks.example:443 setting egress_allow",
		"log.example:601 setting audit",
		"login.microsoftonline.com:443 secret source azure-kv (tokens)",
		"node.example:8080 node proxy (proxy)",
		"ops.example:443 channel ops",
		"otel.example:4318 callback otel",
		"outer.example:3128 setting provider_proxies openai (proxy)",
		"prices.example:443 setting price_sync",
		"px.example:1080 deployment demo/own (proxy)",
		"secretsmanager.eu-central-1.amazonaws.com:443 secret source aws-sm",
		"smtp.example:587 channel mail",
		"sts.eu-west-1.amazonaws.com:443 deployment demo/aws (tokens)",
		"v.vault.azure.net:443 secret source azure-kv",
		"vault.example:8200 secret source vault",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestNamed_snapshots: where backups go to, and the keys for that come from.
func TestNamed_snapshots(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		setting string
		want    []string
	}{
		"as the machine may": {`{"every": "1h", "s3": {"bucket": "b", "region": "eu-west-1"}}`, []string{"169.254.169.254:80", "169.254.170.2:80", "s3.eu-west-1.amazonaws.com:443"}},
		"with a role":        {`{"every": "1h", "s3": {"bucket": "b", "region": "eu-west-1", "credential": "role"}}`, []string{"s3.eu-west-1.amazonaws.com:443", "sts.eu-west-1.amazonaws.com:443"}},
		"with keys":          {`{"every": "1h", "s3": {"bucket": "b", "endpoint": "https://minio.example:9000", "credential": "keys"}}`, []string{"minio.example:9000"}},
	} {
		cat := resource.NewCatalog(resource.Tables{
			Credentials: []*resource.Credential{
				{Meta: resource.Meta{ID: "c1"}, Name: "role", Options: map[string]string{"aws_role_name": "r"}},
				{Meta: resource.Meta{ID: "c2"}, Name: "keys"},
			},
			Settings: []*resource.Setting{{Meta: resource.Meta{ID: "snapshots"}, Value: json.RawMessage(tt.setting)}},
		})
		var got []string
		for _, d := range egress.Named(cat) {
			if slices.Contains(d.By, "setting snapshots") || slices.Contains(d.By, "setting snapshots (tokens)") {
				got = append(got, d.Address)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", name, got, tt.want)
		}
	}
}

// TestTokenServices: who signs in elsewhere than at github.com names it.
func TestTokenServices(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		auth    provider.Auth
		options map[string]string
		want    string
	}{
		{provider.CopilotToken, nil, "[https://api.github.com]"},
		{provider.CopilotToken, map[string]string{"github_url": "https://acme.ghe.com/", "github_api_url": "https://api.acme.ghe.com"}, "[https://api.acme.ghe.com https://acme.ghe.com]"},
		{provider.ChatGPTToken, nil, "[https://auth.openai.com]"},
		{provider.ChatGPTToken, map[string]string{"chatgpt_auth_url": "https://login.example"}, "[https://login.example]"},
	} {
		if got := fmt.Sprint(egress.TokenServices(tt.auth, tt.options)); got != tt.want {
			t.Errorf("%v: got %s, want %s", tt.options, got, tt.want)
		}
	}
}

// TestSealed dials a server that no configuration names, then names it.
func TestSealed(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(srv.Close)
	addr := srv.Listener.Addr().String()
	cat := catalog("true")
	d, err := egress.New(egress.Config{Catalog: func() *resource.Catalog { return cat }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.DialContext(t.Context(), "tcp", addr); !egress.IsRefused(err) || !strings.Contains(err.Error(), addr) {
		t.Errorf("got %v, want a refusal that names the address", err)
	}
	if _, err := d.DialVia(t.Context(), "tcp", "px.example:1080", addr); !egress.IsRefused(err) {
		t.Errorf("through a proxy that is named: got %v, want a refusal", err)
	}
	if res, err := d.Client(0).Get(srv.URL); !egress.IsRefused(err) { //nolint:bodyclose // refused
		t.Errorf("got %v, %v, want a refusal", res, err)
	}
	cat = resource.NewCatalog(resource.Tables{Settings: []*resource.Setting{
		{Meta: resource.Meta{ID: "sealed"}, Value: json.RawMessage("true")},
		{Meta: resource.Meta{ID: "egress_allow"}, Value: json.RawMessage(`["` + addr + `"]`)},
	}})
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	seen := d.Report().Seen
	i := slices.IndexFunc(seen, func(s egress.Seen) bool { return s.Address == addr })
	if i < 0 || seen[i].Refused != 3 || seen[i].Opened != 1 || seen[i].First.IsZero() {
		t.Errorf("reported %+v", seen)
	}
}

// TestReport_Beside: what another dialer of the process dialled is told, and by whom; sealed mode is not its.
func TestReport_Beside(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	keys := egress.Direct(nil)
	d, err := egress.New(egress.Config{Sealed: true, Beside: keys, BesideName: "key service"})
	if err != nil {
		t.Fatal(err)
	}
	addr := srv.Listener.Addr().String()
	c, err := keys.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if _, err := d.DialContext(t.Context(), "tcp", addr); !egress.IsRefused(err) {
		t.Errorf("the node itself: got %v, want a refusal", err)
	}
	seen := d.Report().Seen
	if len(seen) != 2 || seen[0].By != "" || seen[0].Refused != 1 || seen[1].By != "key service" || seen[1].Opened != 1 {
		t.Errorf("reported %+v", seen)
	}
}

func TestSealed_OfTheNode(t *testing.T) {
	t.Parallel()
	d, err := egress.New(egress.Config{Sealed: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.DialContext(t.Context(), "tcp", "127.0.0.1:1"); !egress.IsRefused(err) {
		t.Errorf("got %v", err)
	}
	var op *net.OpError
	if _, err := d.DialPeer(t.Context(), "127.0.0.1:1"); !errors.As(err, &op) {
		t.Errorf("a peer: got %v, want an attempt", err)
	}
}

func TestLink(t *testing.T) {
	t.Parallel()
	d, err := egress.New(egress.Config{Proxy: &egress.Options{Proxy: &resource.Proxy{URL: "http://node.example:8080"}}})
	if err != nil {
		t.Fatal(err)
	}
	proxy := func(address, no string) *resource.Proxy { return &resource.Proxy{URL: address, NoProxy: no} }
	for _, tt := range []struct {
		name    string
		options egress.Options
		url     string
		want    string
	}{
		{"the node's", egress.Options{}, "https://a.example/v1", "http://node.example:8080"},
		{"of TLS alone", egress.Options{TLS: &resource.TLS{ServerName: "x"}}, "https://a.example/v1", "http://node.example:8080"},
		{"its own", egress.Options{Proxy: proxy("socks5://px:1080", "")}, "https://a.example/v1", "socks5://px:1080"},
		{"direct", egress.Options{Proxy: proxy("direct", "")}, "https://a.example/v1", ""},
		{"with a password", egress.Options{Proxy: proxy("http://u@px:1", ""), Password: secret.New("p@/")}, "http://a.example", "http://u:p%40%2F@px:1"},
		{"no_proxy", egress.Options{Proxy: proxy("http://px:1", "10.0.0.0/8, .corp")}, "https://a.corp", ""},
		{"no_proxy of addresses", egress.Options{Proxy: proxy("http://px:1", "10.0.0.0/8, .corp")}, "http://10.1.2.3:80", ""},
		{"beside no_proxy", egress.Options{Proxy: proxy("http://px:1", "10.0.0.0/8, .corp")}, "https://corp.example", "http://px:1"},
		{"an https proxy, whose connections are TLS already", egress.Options{Proxy: proxy("https://u@px", "")}, "https://a.example", "http://u@px:443"},
		{"loopback", egress.Options{Proxy: proxy("http://px:1", "")}, "http://127.0.0.1:80", ""},
		{"the machine's services", egress.Options{}, "http://169.254.169.254/token", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l, err := d.Link(tt.options)
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			got, err := l.ProxyFor(u)
			if text := ""; err != nil || got != nil {
				text = got.String()
				if text != tt.want {
					t.Errorf("got %q, %v, want %q", text, err, tt.want)
				}
			} else if tt.want != "" {
				t.Errorf("got none, want %q", tt.want)
			}
			if again, _ := d.Link(tt.options); again != l {
				t.Error("the same options make another link: connections would not be used again")
			}
		})
	}
	if _, err := d.Link(egress.Options{TLS: &resource.TLS{Certificate: "x"}, Key: secret.New("sk-very-secret")}); err == nil || strings.Contains(err.Error(), "sk-very") {
		t.Errorf("got %v, want an error that does not tell the key", err)
	}
}

func TestAllowAddr(t *testing.T) {
	t.Parallel()
	d := egress.Direct(egress.PublicOnly)
	var refused *egress.AddrError
	if _, err := d.DialContext(context.Background(), "tcp", "127.0.0.1:1"); !errors.As(err, &refused) {
		t.Errorf("got %v, want AddrError", err)
	}
}

// TestLink_Way: the way to somebody else is by the same proxy, and without what is for the one whom a link is for.
func TestLink_Way(t *testing.T) {
	t.Parallel()
	l, err := egress.Direct(nil).Link(egress.Options{Proxy: &resource.Proxy{URL: "http://proxy.test:3128"}, TLS: &resource.TLS{ServerName: "a.test"}})
	if err != nil || l.TLS == nil {
		t.Fatalf("got %+v, %v", l, err)
	}
	w := l.Way()
	got, err := w.ProxyFor(&url.URL{Scheme: "https", Host: "cdn.test"})
	if err != nil || got == nil || got.Host != "proxy.test:3128" || w.TLS != nil || w != l.Way() || w.Way() != w {
		t.Errorf("got %v, %v over %+v", got, err, w)
	}
	if none := (*egress.Link)(nil).Way(); none != nil {
		t.Errorf("got %+v of no link", none)
	}
}

// TestLink_Blobs: authorities may be blobs, which are read once a link, and say so where they cannot be read.
func TestLink_Blobs(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	srv.Close()
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	known, gone := strings.Repeat("a", 64), strings.Repeat("b", 64)
	lost := errors.New("no node gives it")
	var reads atomic.Int64
	d, err := egress.New(egress.Config{Blobs: func(_ context.Context, digest string) ([]byte, error) {
		reads.Add(1)
		if digest == known {
			return bundle, nil
		}
		return nil, lost
	}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := d.Link(egress.Options{TLS: &resource.TLS{CA: known}})
	if err != nil || l.TLS.RootCAs == nil {
		t.Fatalf("got %+v, %v", l, err)
	}
	if again, err := d.Link(egress.Options{TLS: &resource.TLS{CA: known}}); again != l || err != nil || reads.Load() != 1 {
		t.Errorf("asked again: got %+v, %v after %d reads", again, err, reads.Load())
	}
	for name, o := range map[string]egress.Options{
		"of a provider": {TLS: &resource.TLS{CA: gone}},
		"of a proxy":    {Proxy: &resource.Proxy{URL: "https://px", CA: gone}},
	} {
		if _, err := d.Link(o); !errors.Is(err, lost) {
			t.Errorf("authorities %s that are gone: got %v", name, err)
		}
	}
	if _, err := egress.Direct(nil).Link(egress.Options{TLS: &resource.TLS{CA: known}}); err == nil {
		t.Error("who reads no blobs made a link of one")
	}
}
