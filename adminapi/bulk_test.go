package adminapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/adminapi/adminapitest"
	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/resource"
)

func TestBulk(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	c, ctx := h.Client(adminapitest.MasterKey), t.Context()
	h.Must("POST", "/api/v1/teams", `{"name":"research"}`)
	var keys []json.RawMessage
	for i := range 50 {
		keys = append(keys, json.RawMessage(fmt.Sprintf(`{"name":"k%d","team_id":"research","budgets":[{"usd":%d,"per":"day"}],"blocked":%v}`, i, i, i == 7)))
	}
	keys = append(keys, json.RawMessage(`{"secret":"sk-given-by-its-owner"}`))
	before := h.State.Applied()
	made, err := c.CreateKeys(ctx, keys, client.Bulk{})
	if err != nil {
		t.Fatal(err)
	}
	if made.Created != 51 || len(made.Items) != 51 || h.State.Applied() != before+1 {
		t.Errorf("got %d keys, %d items, %d entries; want 51 in one entry", made.Created, len(made.Items), h.State.Applied()-before)
	}
	if made.Items[50].Secret != "sk-given-by-its-owner" {
		t.Errorf("given secret: got %q", made.Items[50].Secret)
	}
	for i, m := range made.Items[:50] {
		k, ok := h.State.Key(m.ID)
		if !ok || k.Name != fmt.Sprintf("k%d", i) || m.Name != k.Name || k.Blocked != (i == 7) || len(h.State.Accounts("key/"+k.ID)) != 1 {
			t.Fatalf("key %d: got %+v", i, k)
		}
		if a := h.Call(m.Secret, "GET", "/key/info", ""); (a.Status == 200) == (i == 7) {
			t.Errorf("key %d: got %d", i, a.Status)
		}
	}

	again := append(keys[:2:2], json.RawMessage(`{"name":"new"}`), json.RawMessage(`{"name":"new"}`))
	made, err = c.CreateKeys(ctx, again, client.Bulk{SkipExisting: true})
	if err != nil {
		t.Fatal(err)
	}
	if made.Created != 1 || made.Skipped != 3 || !made.Items[0].Skipped || made.Items[2].Secret == "" || made.Items[3].ID != made.Items[2].ID {
		t.Errorf("skipping: got %+v", made)
	}
	if made, err = c.CreateKeys(ctx, again, client.Bulk{SkipExisting: true}); err != nil || made.Created != 0 || made.Skipped != 4 {
		t.Errorf("skipping all: got %+v, %v", made, err)
	}

	dry, err := c.CreateKeys(ctx, []json.RawMessage{[]byte(`{"name":"dry"}`), []byte(`{"name":"k1"}`)}, client.Bulk{DryRun: true, SkipExisting: true})
	if _, there := h.State.KeyByName("dry"); err != nil || there || dry.Created != 1 || dry.Skipped != 1 || dry.Items[0].Secret != "" {
		t.Errorf("dry run: got %+v, %v; key made: %v", dry, err, there)
	}
	same, err := c.CreateKeys(ctx, keys[50:], client.Bulk{SkipExisting: true})
	if err != nil || same.Skipped != 1 || same.Items[0].Hash != resource.HashSecret("sk-given-by-its-owner") {
		t.Errorf("the same secret again: got %+v, %v", same, err)
	}

	lines := h.Call(adminapitest.MasterKey, "POST", "/api/v1/keys/bulk", "{\"name\":\"l1\"}\n\n{\"name\":\"l2\"}\r\n", "Content-Type", "application/x-ndjson")
	if lines.Status != http.StatusCreated || lines.Object(t)["created"] != 2.0 || lines.Header.Get("X-Conclave-Index") == "" {
		t.Errorf("lines: got %d %s", lines.Status, lines.Body)
	}
}

func TestBulk_refusals(t *testing.T) {
	t.Parallel()
	h := adminapitest.New(t)
	h.Must("POST", "/api/v1/keys", `{"name":"taken","secret":"sk-0123456789abcdef"}`)
	for _, tt := range []struct {
		name, body  string
		status      int
		code, field string
	}{
		{"nothing", ``, 400, "invalid", ""},
		{"empty array", `[]`, 400, "invalid", "body"},
		{"no array", `"x"`, 400, "invalid", "[0].body"},
		{"broken array", `[{"name":"a"},`, 400, "invalid", "body"},
		{"broken line", "{\"name\":\"a\"}\n{", 400, "invalid", "[1].body"},
		{"field twice", `[{"name":"a"},{"name":"b","name":"c"}]`, 400, "invalid", "[1].body"},
		{"unknown field", `[{"name":"a"},{"nam":"b"}]`, 400, "invalid", "[1].nam"},
		{"unknown team", `[{"name":"a"},{"name":"b","team_id":"t"}]`, 400, "invalid", "[1].team_id"},
		{"bad budget", `[{"budgets":[{"usd":1,"per":"year"}]}]`, 400, "invalid", "[0].budgets[0].per"},
		{"name taken", `[{"name":"a"},{"name":"taken"}]`, 409, "exists", "[1]"},
		{"name twice", `[{"name":"a"},{"name":"b"},{"name":"a"}]`, 409, "exists", "[2]"},
		{"secret taken", `[{"name":"a"},{"secret":"sk-0123456789abcdef"}]`, 409, "exists", "[1]"},
		{"secret twice", `[{"secret":"sk-0123456789abcdeg"},{"secret":"sk-0123456789abcdeg"}]`, 409, "exists", "[1]"},
		{"id twice", `[{"id":"a"},{"id":"a"}]`, 409, "", ""},
		{"too many", "[" + strings.Repeat("{},", 10_000) + "{}]", 400, "invalid", "body"},
		{"too large", `[{"name":"` + strings.Repeat("x", 8<<20) + `"}]`, 413, "too_large", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := h.Call(adminapitest.MasterKey, "POST", "/api/v1/keys/bulk", tt.body)
			if a.Status != tt.status || (tt.code != "" && a.Object(t)["code"] != tt.code) {
				t.Fatalf("got %d %.300s, want %d %s", a.Status, a.Body, tt.status, tt.code)
			}
			if tt.field != "" && !strings.Contains(string(a.Body), `"name":"`+tt.field+`"`) {
				t.Errorf("got %.300s, want field %s", a.Body, tt.field)
			}
		})
	}
	if _, total := h.Must("GET", "/api/v1/keys", "")["items"], h.Must("GET", "/api/v1/keys", "")["total"]; total != 1.0 {
		t.Errorf("refused calls made keys: %v", total)
	}
}

func BenchmarkBulk(b *testing.B) {
	h := adminapitest.New(b)
	n := 0
	for b.Loop() {
		var body strings.Builder
		for range 1000 {
			fmt.Fprintf(&body, `{"name":"key-%d","budgets":[{"usd":10,"per":"day"}],"limits":{"rpm":100}}`+"\n", n)
			n++
		}
		if a := h.Call(adminapitest.MasterKey, "POST", "/api/v1/keys/bulk", body.String()); a.Status != http.StatusCreated {
			b.Fatalf("got %d %s", a.Status, a.Body)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "keys/s")
}
