package load_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/config"
	"github.com/conclave-llm/conclave/config/load"
	"github.com/conclave-llm/conclave/resource"
)

// environment is what the tests' files may read.
func environment(name string) (string, bool) {
	v, ok := map[string]string{
		"CONCLAVE_MASTER_KEY": "sk-master-key-of-tests",
		"OPENAI_API_KEY":      "provider-key",
		"NOTEBOOK_KEY":        "sk-notebook-0123456789",
		"EMPTY":               "",
	}[name]
	return v, ok
}

func TestLoad_Example(t *testing.T) {
	t.Parallel()
	f, err := load.File("../../cluster.example.hcl", environment)
	if err != nil {
		t.Fatal(err)
	}
	wantNode := &config.Node{
		Name: "a", DataDir: "data/a", Listen: "127.0.0.1:4000", Cluster: "127.0.0.1:4001", Advertise: "127.0.0.1:4001",
		ClientURL: "http://127.0.0.1:4000", MasterKey: "sk-master-key-of-tests", MaxConnections: 16384,
		MaxClusterConnections: 512, Journal: config.JournalWrite, JournalDir: "data/a/journal", JournalKeep: 168 * time.Hour, JournalMaxMB: 1024, PluginDir: "data/a/plugins",
		RaftMultiplier: 1, LogFormat: "text",
	}
	if diff := cmp.Diff(wantNode, f.Node); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
	r := &f.Resources
	if got := r.Len(); got != 7 {
		t.Errorf("Len = %d, want 7", got)
	}
	d := r.Models[0].Deployments[0]
	if got, want := d.Resource.Price, (&resource.Price{Input: 150_000_000, Output: 600_000_000}); cmp.Diff(want, got) != "" {
		t.Errorf("price = %+v, want %+v", got, want)
	}
	if d.Resource.Upstream != "demo" || *d.Resource.Weight != 1 || d.Resource.Owner != resource.OwnerFile {
		t.Errorf("deployment = %+v", d.Resource)
	}
	if m := r.Models[0].Resource; m.Strategy != resource.StrategyLeastBusy {
		t.Errorf("strategy = %q", m.Strategy)
	}
	k := r.Keys[0]
	wantKey := config.Key{
		Position: config.Position{File: "../../cluster.example.hcl", Line: 47, Column: 1},
		Secret:   "sk-notebook-0123456789", Team: "research",
		Resource: resource.Key{
			Meta: resource.Meta{Owner: resource.OwnerFile}, Name: "notebook", Hash: resource.HashSecret("sk-notebook-0123456789"),
			Hint: "sk-...6789", Policy: resource.Policy{Allowance: resource.Allowance{Budgets: []resource.Terms{{Name: "day", USD: resource.Dollar, Per: resource.PerDay}}, Limits: resource.Limits{RPM: new(int64(60)), TPM: new(int64(100000)), Parallel: new(int64(4))}}, Models: []string{"demo"}},
		},
	}
	if diff := cmp.Diff(wantKey, k); diff != "" {
		t.Errorf("key (-want +got):\n%s", diff)
	}
	if got := string(r.Guardrails[0].Resource.Config); got != `{"words":["secret project"]}` {
		t.Errorf("guardrail config = %s", got)
	}
	if got := r.Credentials[0].APIKey.Reveal(); got != "provider-key" {
		t.Errorf("api_key = %q", got)
	}
}

const nodeText = `node {
  name       = "a"
  master_key = env("CONCLAVE_MASTER_KEY")
`

func TestParse_Node(t *testing.T) {
	t.Parallel()
	f, err := load.Text("x.hcl", []byte(nodeText+`
  data_dir        = "/var/lib/conclave"
  listen          = ":4000"
  cluster         = ":4001"
  advertise       = "10.0.0.1:4001"
  kek             = env("NOT_THERE", "a default")
  serve_stale     = "forever"
  journal_keep    = "48h"
  journal_max_mb  = 64
  journal         = "fsync"
  journal_dir     = "/fast"
  raft_multiplier = 5
  log_level       = "debug"
  log_format      = "json"
  tls_cert        = "cert.pem"
  tls_key         = "key.pem"
  client_url      = "https://gateway.example"
  max_connections = 10
}`), environment)
	if err != nil {
		t.Fatal(err)
	}
	want := &config.Node{
		Name: "a", DataDir: "/var/lib/conclave", Listen: ":4000", Cluster: ":4001", Advertise: "10.0.0.1:4001",
		ClientURL: "https://gateway.example", MasterKey: "sk-master-key-of-tests", KEK: "a default", MaxConnections: 10,
		MaxClusterConnections: 512, ServeStale: new(time.Duration(-1)), JournalKeep: 48 * time.Hour, JournalMaxMB: 64, Journal: config.JournalFsync, JournalDir: "/fast",
		PluginDir: "/var/lib/conclave/plugins", RaftMultiplier: 5, LogLevel: slog.LevelDebug, LogFormat: "json",
		TLSCert: "cert.pem", TLSKey: "key.pem",
	}
	if diff := cmp.Diff(want, f.Node); diff != "" {
		t.Errorf("node (-want +got):\n%s", diff)
	}
}

// TestParse_Expiry: everything that can be limited can end.
func TestParse_Expiry(t *testing.T) {
	t.Parallel()
	const end = `expires_at = "2030-01-02T03:04:05Z"`
	f, err := load.Text("x.hcl", []byte(`
organization "o" { `+end+` }
team "t" {
  `+end+`
  member "u" { `+end+` }
}
project "p" {
  team = "t"
  `+end+`
}
user "u" { `+end+` }
customer "c" { `+end+` }
tag "g" { `+end+` }
`), environment)
	if err != nil {
		t.Fatal(err)
	}
	want, r := resource.At(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)), &f.Resources
	for kind, got := range map[string]resource.Time{
		"organization": r.Organizations[0].Resource.ExpiresAt, "team": r.Teams[0].Resource.ExpiresAt, "member": r.Teams[0].Members[0].Resource.ExpiresAt,
		"project": r.Projects[0].Resource.ExpiresAt, "user": r.Users[0].Resource.ExpiresAt, "customer": r.Customers[0].Resource.ExpiresAt, "tag": r.Tags[0].Resource.ExpiresAt,
	} {
		if got != want {
			t.Errorf("%s: got %v, want %v", kind, got, want)
		}
	}
}

func TestParse_Records(t *testing.T) {
	t.Parallel()
	f, err := load.Text("x.hcl", []byte(`
budget "shared" {
  usd       = "0.000000001"
  per       = "week"
  zone      = "Europe/Paris"
  overdraft = 1.5
}
team "t" {
  shared_budget = "shared"
  metadata      = { a = 1, b = [true, null] }
}
key "k" {
  secret     = "sk-0123456789abcdef"
  role       = "proxy_admin"
  expires_at = "2030-01-02T03:04:05Z"
}
plugin "p" {
  kind   = "guardrail"
  path   = "/opt/p"
  sha256 = "0000000000000000000000000000000000000000000000000000000000000000"
  mtls   = false
}
setting "budget_exceeded_status_code" { value = 402 }
setting "serve_stale" { value = "1h" }
model "m" {
  retries = 0
  deployment "d" {
    provider   = "openai"
    credential = "elsewhere"
    weight     = 0
    limit { parallel = 3 }
    price {
      input      = 3
      output     = 15
      cache_read = 0.3
      variant {
        above = 200000
        input = 6
      }
    }
  }
}
`), environment)
	if err != nil {
		t.Fatal(err)
	}
	r := &f.Resources
	if f.Node != nil {
		t.Errorf("node = %+v, want none", f.Node)
	}
	wantTerms := resource.Terms{Name: "week", USD: 1, Per: resource.PerWeek, Zone: "Europe/Paris", Overdraft: 1_500_000_000}
	if diff := cmp.Diff(wantTerms, r.Budgets[0].Resource.Terms); diff != "" {
		t.Errorf("terms (-want +got):\n%s", diff)
	}
	if got := string(r.Teams[0].Resource.Metadata); got != `{"a":1,"b":[true,null]}` || r.Teams[0].SharedBudget != "shared" {
		t.Errorf("team = %+v, metadata %s", r.Teams[0], got)
	}
	if got := r.Keys[0].Resource.ExpiresAt.Std(); !got.Equal(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("expires_at = %v", got)
	}
	if p := r.Plugins[0].Resource; p.MTLS == nil || *p.MTLS {
		t.Errorf("plugin = %+v", p)
	}
	if s := r.Settings; s[0].Resource.ID != "budget_exceeded_status_code" || string(s[0].Resource.Value) != "402" || string(s[1].Resource.Value) != `"1h"` {
		t.Errorf("settings = %+v", s)
	}
	d := r.Models[0].Deployments[0]
	if d.Credential != "elsewhere" || *d.Resource.Price.CacheRead != 300_000_000 || d.Resource.Price.Variants[0].Above != 200000 || *d.Resource.Limits.Parallel != 3 || d.Resource.ModelID != "" {
		t.Errorf("deployment = %+v", d)
	}
}

func TestParse_Audit(t *testing.T) {
	t.Parallel()
	f, err := load.Text("c.hcl", []byte(`
audit {
  retention = "365d"
  sink "file" { path = "audit.jsonl" }
  sink "syslog" {
    name    = "siem"
    address = "tls://siem.example:6514"
  }
}
`), environment)
	if err != nil {
		t.Fatal(err)
	}
	s := f.Resources.Settings
	const want = `{"retention":"365d","sinks":[{"kind":"file","path":"audit.jsonl"},{"name":"siem","kind":"syslog","address":"tls://siem.example:6514"}]}`
	if len(s) != 1 || s[0].Resource.ID != "audit" || string(s[0].Resource.Value) != want || s[0].Resource.Owner != resource.OwnerFile {
		t.Errorf("got %+v, want %s", s, want)
	}
}

func TestParse_Snapshots(t *testing.T) {
	t.Parallel()
	f, err := load.Text("c.hcl", []byte(`
credential "backups" {
  options = { aws_access_key_id = "AKIDEXAMPLE" }
  secrets = { aws_secret_access_key = "x" }
}

snapshots {
  every = "1h"
  keep  = 48

  s3 {
    endpoint   = "https://minio.corp:9000"
    bucket     = "conclave"
    prefix     = "prod/"
    credential = "backups"
  }
}
`), environment)
	if err != nil {
		t.Fatal(err)
	}
	s := f.Resources.Settings
	const want = `{"every":"1h","keep":48,"s3":{"endpoint":"https://minio.corp:9000","bucket":"conclave","prefix":"prod/","credential":"backups"}}`
	if len(s) != 1 || s[0].Resource.ID != "snapshots" || string(s[0].Resource.Value) != want {
		t.Errorf("got %+v, want %s", s, want)
	}
}

func TestParse_Errors(t *testing.T) {
	t.Parallel()
	const d = "model \"m\" {\n  deployment \"d\" {\n    provider = \"openai\"\n"
	const k = "key \"k\" {\n  secret = \"sk-0123456789abcdef\"\n"
	for _, tt := range []struct {
		name string
		src  string
		at   string // "line:column" of the first problem
		want string // in its summary or detail
		all  int    // problems; 0: 1
	}{
		{"syntax", "node {\n  name = \n}", "2:10", "Invalid expression", 0},
		{"unknown block", "modell \"m\" {}", "1:1", `Did you mean "model"?`, 0},
		{"unknown attribute", k + "  modelss = []\n}", "3:3", `Did you mean "models"?`, 0},
		{"unknown nested block", d + "    pric {}\n  }\n}", "4:5", `Did you mean "price"?`, 0},
		{"attribute at the top", "name = 1", "1:1", "not expected here", 0},
		{"no label", "key {}", "1:5", "Missing name", 0},
		{"missing attribute", "callback \"c\" {}", "1:14", `"plugin" is required`, 0},
		{"missing attribute of a price", d + "    price { input = 1 }\n  }\n}", "4:13", `"output" is required`, 0},
		{"budget without amount", "budget \"b\" {}", "1:12", `"usd" is required`, 0},
		{"budget of null", "budget \"b\" {\n  usd = null\n}", "1:12", `"usd" is required`, 0},
		{"secret of null", "key \"k\" {\n  secret = null\n}", "2:12", "", 0},
		{"setting without value", "setting \"serve_stale\" {}", "1:23", `"value" is required`, 0},
		{"variable is not set", "credential \"c\" {\n  api_key = env(\"NOT_THERE\")\n}", "2:18", "environment variable NOT_THERE is not set", 0},
		{"secret is empty", "credential \"c\" {\n  api_key = env(\"EMPTY\")\n}", "2:13", "is empty", 0},
		{"file is not there", "credential \"c\" {\n  api_key = file(\"none\")\n}", "2:19", "no such file", 0},
		{"unknown function", "credential \"c\" {\n  api_key = evn(\"X\")\n}", "2:13", `Did you mean "env"?`, 0},
		{"no variables", "credential \"c\" {\n  api_key = var.x\n}", "2:13", "Variables may not be used", 0},
		{"wrong type", d + "    weight = \"x\"\n  }\n}", "4:15", "number is required", 0},
		{"not whole", d + "    weight = 1.5\n  }\n}", "4:14", "whole number", 0},
		{"weight", d + "    weight = -1\n  }\n}", "4:14", "weight: -1 is not between", 0},
		{"strategy", "model \"m\" {\n  strategy = \"best\"\n}", "2:14", `strategy: "best" is not one of`, 0},
		{"fallback to itself", "model \"m\" {\n  fallbacks = [\"m\"]\n}", "2:15", "cannot fall back to itself", 0},
		{"name of a model", "model \" m\" {}", "1:1", "name: \" m\" has a space", 0},
		{"limit", k + "  limit {\n    rpm = -1\n  }\n}", "4:11", "limits.rpm", 0},
		{"budget's period", k + "  budget {\n    usd = 1\n  }\n  budget {\n    usd = 1\n    per = \"year\"\n  }\n}", "8:11", "is not one of hour", 0},
		{"two budgets of a name", k + "  budget {\n    usd = 1\n  }\n  budget {\n    usd = 2\n  }\n}", "6:3", "stands twice", 0},
		{"shared budget's zone", "budget \"b\" {\n  usd  = 1\n  zone = \"Mars\"\n}", "3:10", "is not a time zone", 0},
		{"money with ten decimals", "budget \"b\" {\n  usd = 0.0000000001\n}", "2:9", "more than nine decimals", 0},
		{"money is a list", "budget \"b\" {\n  usd = []\n}", "2:9", "is a number", 0},
		{"too much money", "budget \"b\" {\n  usd = 1e300\n}", "2:9", "is not a decimal number", 0},
		{"negative price", d + "    price {\n      input  = -1\n      output = 1\n    }\n  }\n}", "5:16", "price.input", 0},
		{"two prices", d + "    price {\n      input  = 1\n      output = 1\n    }\n    price {\n      input  = 1\n      output = 1\n    }\n  }\n}", "8:5", "Duplicate price block", 0},
		{"api_base", d + "    api_base = \"localhost\"\n  }\n}", "4:16", "is not a URL", 0},
		{"provider is missing", "model \"m\" {\n  deployment \"d\" {}\n}", "2:3", "provider", 0},
		{"credential and key", d + "    credential = \"c\"\n    api_key = \"x\"\n  }\n}", "5:15", "not both", 0},
		{"secret of a key", "key \"k\" {\n  secret = \"short\"\n}", "2:12", "starts with sk-", 0},
		{"role", k + "  role = \"root\"\n}", "3:10", "role", 0},
		{"time", k + "  expires_at = \"tomorrow\"\n}", "3:16", "is not a time", 0},
		{"metadata is no object", k + "  metadata = [1]\n}", "3:14", "not a JSON object", 0},
		{"hook", "guardrail \"g\" {\n  plugin = \"p\"\n  hooks = [\"x\"]\n}", "3:11", "hooks", 0},
		{"plugin's hash", "plugin \"p\" {\n  kind = \"callback\"\n  path = \"/p\"\n  sha256 = \"00\"\n}", "4:12", "64 hexadecimal", 0},
		{"unknown setting", "setting \"x\" {\n  value = 1\n}", "1:1", "is not a setting", 0},
		{"audit's retention", "audit {\n  retention = \"often\"\n}", "2:15", "is not forever, days", 0},
		{"audit's sink", "audit {\n  sink \"file\" {\n  }\n}", "2:3", "a file sink has one", 0},
		{"audit's address", "audit {\n  sink \"syslog\" {\n    address = \"x\"\n  }\n}", "3:15", "is not one of tcp", 0},
		{"snapshots too often", "snapshots {\n  every = \"1s\"\n}", "2:11", "a minute or more", 0},
		{"snapshots in two places", "snapshots {\n  dir = \"x\"\n  s3 {\n    bucket = \"b\"\n  }\n}", "3:3", "not in both", 0},
		{"two buckets", "snapshots {\n  s3 {\n    bucket = \"b\"\n  }\n  s3 {\n    bucket = \"c\"\n  }\n}", "1:1", "2 s3 blocks", 0},
		{"audit twice", "audit {}\naudit {}", "2:1", "is taken", 0},
		{"setting's value", "setting \"budget_exceeded_status_code\" {\n  value = 200\n}", "2:11", "is not one of 400", 0},
		{"same name twice", "team \"t\" {}\nteam \"t\" {}", "2:1", "taken by the team at x.hcl:1:1", 0},
		{"same deployment twice", d + "  }\n  deployment \"d\" {\n    provider = \"openai\"\n  }\n}", "5:3", "taken by the deployment at x.hcl:2:3", 0},
		{"same secret twice", k + "}\nkey \"l\" {\n  secret = \"sk-0123456789abcdef\"\n}", "4:1", "The key at x.hcl:1:1 has the same secret", 0},
		{"two nodes", nodeText + "}\n" + nodeText + "}", "5:1", "the other node block is at x.hcl:1:1", 0},
		{"node without master key", "node {\n  name = \"a\"\n}", "1:6", `"master_key" is required`, 0},
		{"short master key", "node {\n  name = \"a\"\n  master_key = \"1234\"\n}", "3:16", "between 8 and", 0},
		{"address", nodeText + "  listen = \"4000\"\n}", "4:12", "not host:port", 0},
		{"advertise is missing", nodeText + "  cluster = \"0.0.0.0:4001\"\n}", "1:1", "set advertise", 0},
		{"journal", nodeText + "  journal = \"ram\"\n}", "4:13", "write, fsync, async", 0},
		{"certificate without key", nodeText + "  tls_cert = \"x\"\n}", "4:14", "go together", 0},
		{"journal_keep", nodeText + "  journal_keep = \"1m\"\n}", "4:18", "an hour or more", 0},
		{"serve_stale", nodeText + "  serve_stale = \"soon\"\n}", "4:17", "forever or fail_closed", 0},
		{"several of a node", nodeText + "  journal = \"ram\"\n  log_level = \"loud\"\n  raft_multiplier = 11\n}", "4:13", "journal", 3},
		{"the life of a node", nodeText + "  role = \"boss\"\n  seeds = [\"x\"]\n  drain_timeout = \"1ms\"\n  disk_reserve_mb = -1\n}", "4:10", "boss", 4},
		{"several blocks", "team \"t\" { x = 1 }\n" + "team \"u\" { y = 1 }\nfoo {}", "1:12", `"x" is not expected`, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, err := load.Text("x.hcl", []byte(tt.src), environment)
			e, ok := errors.AsType[*config.Error](err)
			if !ok || f != nil {
				t.Fatalf("Parse = %v, %v, want nil and an *Error", f, err)
			}
			p := e.Problems[0]
			if got := fmt.Sprintf("%d:%d", p.Line, p.Column); got != tt.at || p.File != "x.hcl" {
				t.Errorf("position = %s, want x.hcl:%s; problem: %s; %s", p.Position, tt.at, p.Summary, p.Detail)
			}
			if got := p.Summary + ": " + p.Detail; !strings.Contains(got, tt.want) {
				t.Errorf("problem = %q, want %q in it", got, tt.want)
			}
			if len(e.Problems) != max(tt.all, 1) {
				t.Errorf("%d problems, want %d: %v", len(e.Problems), max(tt.all, 1), err)
			}
			if !strings.Contains(err.Error(), fmt.Sprintf("on x.hcl line %d", p.Line)) {
				t.Errorf("error does not name the line:\n%v", err)
			}
		})
	}
}

func TestError_ShowsTheSourceButNoSecret(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, src string
		want      []string
	}{
		{
			"invalid", "key \"k\" { secret = \"sk-shrt\" }\nteam \"t\" { modelss = [\"x\"] }\n",
			[]string{`team "t" { modelss = ["x"] }`, "*******", "x.hcl line 2"},
		},
		{"default of a variable", "key \"k\" { secret = env(\"EMPTY\", \"sk-shrt\") }\n", []string{"x.hcl line 1"}},
		{"many lines", "key \"k\" {\n  secret = <<EOT\nsk-shrt\nEOT\n}\n", []string{"x.hcl line 2"}},
		{"unterminated", "key \"k\" {\n  secret = \"sk-shrt\n}\n", []string{"x.hcl line 2", "*******"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := load.Text("x.hcl", []byte(tt.src), environment)
			if err == nil {
				t.Fatal("no error")
			}
			text := err.Error()
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("error lacks %q:\n%s", want, text)
				}
			}
			if strings.Contains(text, "shrt") {
				t.Errorf("error shows the secret:\n%s", text)
			}
		})
	}
}

func TestSecret_IsNotPrinted(t *testing.T) {
	t.Parallel()
	s := struct{ S config.Secret }{"hush"}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", s.S)
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s.S, s.S), string(b), log.String()} {
		if strings.Contains(text, "hush") {
			t.Errorf("secret is printed: %s", text)
		}
	}
}

func TestLoadNode(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "a.hcl")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("master", "sk-from-a-file\n")
	write("a.hcl", `node {
  name       = "a"
  master_key = file("master")
}
credential "c" { api_key = env("NOT_THERE") }
`)
	node, records, err := load.Node(path, environment)
	if err != nil {
		t.Fatal(err)
	}
	if !records || node.MasterKey != "sk-from-a-file" {
		t.Errorf("LoadNode = %+v, %t", node, records)
	}
	if _, err := load.File(path, environment); err == nil || !strings.Contains(err.Error(), "NOT_THERE is not set") {
		t.Errorf("Load: %v, want an error about NOT_THERE", err)
	}
	write("b.hcl", `team "t" {}`)
	if _, _, err := load.Node(filepath.Join(dir, "b.hcl"), environment); err == nil || !strings.Contains(err.Error(), "Missing node block") {
		t.Errorf("LoadNode without a node block: %v", err)
	}
	write("c.toml", "")
	if _, err := load.File(filepath.Join(dir, "c.toml"), environment); err == nil || !strings.Contains(err.Error(), "ends in none of .hcl") {
		t.Errorf("Load of another format: %v", err)
	}
	if _, err := load.File(filepath.Join(dir, "none.hcl"), environment); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load of no file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("../../cluster.example.hcl")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	f.Add([]byte("budget \"b\" {\n usd = 1e999999\n}"))
	f.Add([]byte(`setting "key_header" { value = "${env("EMPTY")}" }`))
	f.Fuzz(func(t *testing.T, src []byte) {
		if strings.Contains(string(src), "file") {
			t.Skip("reads files")
		}
		got, err := load.Text("x.hcl", src, environment)
		if (got == nil) == (err == nil) {
			t.Errorf("Parse = %v, %v: want one of them", got, err)
		}
		if err != nil && err.Error() == "" {
			t.Error("an error without text")
		}
	})
}
