package proxy_test

import (
	"cmp"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/proxy"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/resource"
)

var update = flag.Bool("update", false, "write docs/conformance.md")

const conformance = "../docs/conformance.md"

// columns are the policies of the published table, each with the codes of its refusals.
var columns = []struct {
	name  string
	codes []string
}{
	{"fresh state", []string{"conclave_stale"}},
	{"key", []string{"no_api_key", "invalid_api_key", "key_blocked"}},
	{"route", []string{"route_not_allowed", "key_type_not_allowed"}},
	{"address", []string{"address_not_allowed"}},
	{"size", []string{"request_too_large"}},
	{"fields", []string{"", "invalid_json", "field_not_allowed"}},
	{"end user", []string{"customer_blocked"}},
	{"parameters", []string{"missing_required_parameter"}},
	{"session", []string{"missing_session_id"}},
	{"model", []string{"model_access_denied"}},
	{"limits", []string{"rate_limit_exceeded"}},
	{"budget", []string{"budget_exceeded"}},
	{"guardrail", []string{"guardrail_blocked"}},
	{"deployment", []string{"conclave_unavailable"}},
	{"ledger", []string{"conclave_journal_unavailable"}},
}

// column is the number of the column that a policy belongs to.
func (p *policy) column() int {
	for i, c := range columns {
		if slices.Contains(c.codes, p.code) {
			return i
		}
	}
	panic("the policy " + p.name + " has no column")
}

// sheet is what a run has shown: for each path, column and way of answering the statuses, 0 for a request
// that was not refused. The zero value is ready. Many tests may note at once.
type sheet struct {
	mu    sync.Mutex
	cells map[string]*[15][2]map[int]bool
	rows  map[string][]string // of the second table
}

func (s *sheet) note(path string, column, way, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cells == nil {
		s.cells = map[string]*[15][2]map[int]bool{}
	}
	if s.cells[path] == nil {
		s.cells[path] = new([15][2]map[int]bool)
	}
	cell := &s.cells[path][column][way]
	if *cell == nil {
		*cell = map[int]bool{}
	}
	(*cell)[status] = true
}

// TestMatrix asks every path with every policy broken, whole and streamed, expects the refusal, and
// compares docs/conformance.md with what the run gave: go test ./proxy -run TestMatrix -update writes it.
func TestMatrix(t *testing.T) {
	t.Parallel()
	sheet := new(sheet)
	t.Run("refused", func(t *testing.T) {
		refuseAll(t, sheet)
		handshakesRefused(t, sheet)
		secretsRefused(t, sheet)
		configuredRefused(t, sheet)
		mcpRefused(t, sheet)
	})
	t.Run("answered", func(t *testing.T) { answerAll(t, sheet) })
	if t.Failed() {
		return // what it shows is not to be published
	}
	got := sheet.markdown(t)
	if *update {
		if err := os.WriteFile(conformance, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(conformance)
	if err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(string(want), got); d != "" {
		t.Errorf("docs/conformance.md is not what the run gives; go test ./proxy -run TestMatrix -update writes it: %s", d)
	}
}

// secretsRefused checks every policy on the secrets of sessions, which reserve nothing themselves.
func secretsRefused(t *testing.T, sheet *sheet) {
	later := []string{"rate_limit_exceeded", "budget_exceeded", "guardrail_blocked", "conclave_unavailable", "conclave_journal_unavailable"}
	for path, body := range map[string]string{
		"/v1/realtime/client_secrets": `{"session":{"type":"realtime","model":"%m"}}`,
		"/v1/realtime/sessions":       `{"model":"%m"}`,
	} {
		for _, p := range policies {
			if p.body != "" && p.code != "invalid_json" && p.code != "request_too_large" {
				continue // its body is not that of a session
			}
			t.Run("POST"+path+"/"+p.name, func(t *testing.T) {
				t.Parallel()
				model := "demo"
				if p.wrong {
					model = "secret"
				}
				sent := strings.Replace(body, "%m", model, 1)
				if p.body != "" {
					sent = strings.NewReplacer("%s", "", `"model":"demo"`, strings.Trim(strings.Replace(body, "%m", model, 1), "{}")+strings.Repeat("}", strings.Count(body, "}")-1)).Replace(p.body)
				}
				r := newRig(t)
				r.tables.Settings = append(r.tables.Settings, &resource.Setting{Meta: resource.Meta{ID: "max_body_bytes"}, Value: []byte("1024")})
				r.cfg.Sessions = upstream.New(upstream.Config{})
				r.cfg.Derive = func(...string) ([]byte, error) { return []byte("0123456789abcdef"), nil }
				status := judged(t, r, r.handler, "POST", path, sent, p, later)
				for i := range streams {
					sheet.note("POST "+path, p.column(), i, status)
				}
			})
		}
	}
}

// configuredRefused checks every policy on an endpoint that an administrator has configured, which has
// no model and no other deployment to choose.
func configuredRefused(t *testing.T, sheet *sheet) {
	for _, p := range policies {
		for i, stream := range streams {
			t.Run("POST/tools/search/"+p.name+stream, func(t *testing.T) {
				t.Parallel()
				body := `{"q":"x"%s}`
				if p.body != "" {
					body = p.body
				}
				c := newConfigured(t, func(r *rig, _ *resource.PassThroughEndpoint) {
					r.tables.Settings = append(r.tables.Settings, &resource.Setting{Meta: resource.Meta{ID: "max_body_bytes"}, Value: []byte("1024")})
				})
				serve := func() http.Handler {
					cat := resource.NewCatalog(c.tables)
					c.cfg.Catalog = func() *resource.Catalog { return cat }
					mux := http.NewServeMux()
					s := c.server()
					s.Mount(mux)
					return s.Over(mux)
				}
				status := judged(t, c.rig, serve, "POST", "/tools/search", strings.Replace(body, "%s", stream, 1), p, []string{"model_access_denied", "conclave_unavailable"})
				if status != 0 && len(c.asked) > 0 {
					t.Errorf("the target was asked: %v", c.asked)
				}
				sheet.note("POST /pass-through-endpoint", p.column(), i, status)
			})
		}
	}
}

// judged sends a request that breaks a policy and returns the status of its refusal, 0 where the policy
// is not of those that apply.
func judged(t *testing.T, r *rig, serve func() http.Handler, method, path, body string, p policy, inapplicable []string) int {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+goodKey)
	if p.set != nil {
		p.set(r, req)
	}
	w := httptest.NewRecorder()
	serve().ServeHTTP(w, req)
	if slices.Contains(inapplicable, p.code) {
		if w.Code != 200 {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
		return 0
	}
	if w.Code != p.status || p.code != "" && codeOf(t, w.Body.String()) != p.code {
		t.Errorf("got %d %s, want %d %s", w.Code, w.Body, p.status, p.code)
	}
	if r.limit.taken != r.limit.released || r.money.taken != r.money.released || r.limit.settled+r.money.settled != 0 {
		t.Errorf("left held: %+v %+v", r.limit, r.money)
	}
	return w.Code
}

const conformanceHead = `# Conformance

Every route of inference, with every policy. ` + "`TestMatrix`" + ` of package proxy writes this page of what its run gives, and fails when
the page says anything else, when a route is missing in it and when a cell is empty:

    go test ./proxy -run TestMatrix -update

## Refusals

Each cell is what clients are answered where the policy refuses them: the status, in the dialect of the path, with no provider asked,
nothing left reserved and one record in the ledger once the caller is known. Two statuses are answers to different breaches of a policy.
"–" stands where the policy does not apply, for a reason that is given below. The answers to requests whose answer would be
streamed are the same, but where they follow a slash: embeddings do not stream.

`

const conformanceAnswers = `
## Answers

What becomes of a request that is well, through the real client of providers and a provider that counts: the status, whose the usage in the one record
of the ledger is (` + "`provider`, or `estimated`" + ` by the gateway), and whether it was charged. "Guardrail" says what a client learns whose answer a guardrail blocks:
a refusal, or a stream that ends with an error before the words; "–" where an answer has no text.

`

// markdown is the page.
func (s *sheet) markdown(t *testing.T) string {
	var b strings.Builder
	b.WriteString(conformanceHead)
	b.WriteString("| route |")
	for _, c := range columns {
		b.WriteString(" " + c.name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
	rows := newRig(t).server().Rows()
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s |", titleOf(&r))
		for i := range columns {
			fmt.Fprintf(&b, " %s |", s.cell(t, &r, i))
		}
		b.WriteString("\n")
	}
	for _, row := range mcpRows {
		fmt.Fprintf(&b, "| %s |", row.title)
		for i := range columns {
			fmt.Fprintf(&b, " %s |", s.tool(t, row.title, i))
		}
		b.WriteString("\n")
	}
	b.WriteString("\nWhere a policy does not apply:\n\n")
	for _, reasons := range exemptions(rows) {
		b.WriteString("- " + reasons + "\n")
	}
	b.WriteString("- size and fields: a handshake has no body (`GET /v1/realtime`)\n")
	b.WriteString("- deployment: what the gateway counts and shows itself is answered without one (`POST /utils/token_counter`, `POST /utils/transform_request`, " +
		"`POST /v1/messages/count_tokens`, `POST /v1beta/models/{model...}:countTokens`, `POST /v1/responses/input_tokens`)\n")
	b.WriteString("- model and deployment: the endpoint is its own model and its one target (`any /pass-through-endpoint`)\n")
	b.WriteString("- parameters: a tool has its own (`POST /mcp`, `POST /mcp/{server}`, `POST /mcp-rest/tools/call`), whose \"model\" is the server and its \"deployment\", too; what is refused " +
		"after the caller is known is an error of JSON-RPC at `/mcp`, with this status in its data\n")
	b.WriteString(conformanceAnswers)
	b.WriteString("| route | whole | streamed | guardrail, whole | guardrail, streamed |\n|---|---|---|---|---|\n")
	for _, r := range rows {
		if r.Lookup {
			continue
		}
		cells := s.rows[titleOf(&r)]
		if len(cells) != 4 {
			t.Errorf("%s has no answers in the page", r.Name)
			continue
		}
		fmt.Fprintf(&b, "| %s | %s |\n", titleOf(&r), strings.Join(cells, " | "))
	}
	b.WriteString("\n## Paths\n\nEach route has the paths:\n\n")
	for _, r := range rows {
		fmt.Fprintf(&b, "- `%s`\n", strings.Join(r.Patterns, "`, `"))
	}
	return b.String()
}

func titleOf(r *proxy.Row) string {
	method := r.Method
	if method == "" {
		method = "any"
	}
	return "`" + method + " " + r.Name + "`"
}

// cell is what the page says of a route and a column.
func (s *sheet) cell(t *testing.T, r *proxy.Row, column int) string {
	said := [2]string{}
	for way := range said {
		statuses := map[int]bool{}
		for _, p := range r.Patterns {
			if cells := s.cells[cmp.Or(r.Method, http.MethodPost)+" "+p]; cells != nil { // any method stands as POST
				maps.Copy(statuses, cells[column][way])
			}
		}
		if len(statuses) == 0 {
			t.Errorf("%s has no cell for %q", r.Name, columns[column].name)
		}
		var all []string
		for _, status := range slices.Sorted(maps.Keys(statuses)) {
			if status == 0 {
				all = append(all, "–")
				continue
			}
			all = append(all, strconv.Itoa(status))
		}
		if len(all) > 1 && all[0] == "–" && !r.Lookup {
			all = all[1:]
		}
		said[way] = strings.Join(all, " ")
	}
	if said[0] == said[1] {
		return said[0]
	}
	return said[0] + " / " + said[1]
}

// tool is what the page says of a path of MCP servers and a column.
func (s *sheet) tool(t *testing.T, title string, column int) string {
	cells := s.cells[title]
	if columns[column].name == "parameters" {
		return "–"
	}
	if cells == nil || len(cells[column][0]) == 0 {
		t.Errorf("%s has no cell for %q", title, columns[column].name)
		return ""
	}
	var all []string
	for _, status := range slices.Sorted(maps.Keys(cells[column][0])) {
		all = append(all, strconv.Itoa(status))
	}
	return strings.Join(all, " ")
}

// exemptions are the reasons why steps do not apply, each with the routes that it holds for.
func exemptions(rows []proxy.Row) []string {
	why := map[string][]string{}
	for i := range rows {
		for step, reason := range rows[i].Exempt {
			line := step + ": " + reason
			why[line] = append(why[line], titleOf(&rows[i]))
		}
	}
	var all []string
	for _, line := range slices.Sorted(maps.Keys(why)) {
		all = append(all, line+" ("+strings.Join(why[line], ", ")+")")
	}
	return all
}
