package reconcile_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/ledger/reconcile"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

var (
	march1 = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	march3 = time.Date(2026, 3, 3, 0, 0, 0, 0, time.UTC)
)

// fetch asks a server that answers so.
func fetch(t *testing.T, answer http.HandlerFunc, projects ...string) (*reconcile.Bill, error) {
	t.Helper()
	srv := httptest.NewServer(answer)
	t.Cleanup(srv.Close)
	return reconcile.FetchOpenAI(t.Context(), srv.Client(), reconcile.OpenAICosts{
		Base: srv.URL + "/v1", Key: secret.New("sk-admin-planted"), First: march1, Last: march3, Projects: projects,
	})
}

// TestFetchOpenAI reads a bill of two pages, with what OpenAI's amounts may look like.
func TestFetchOpenAI(t *testing.T) {
	t.Parallel()
	pages := map[string]string{
		"": `{"object":"page","has_more":true,"next_page":"page_2","data":[
			{"object":"bucket","start_time":1772323200,"end_time":1772409600,"results":[
				{"amount":{"value":0.06,"currency":"usd"},"line_item":null},{"amount":{"value":"0.8958740000000000","currency":"USD"}},{"amount":{"value":-0.01,"currency":"usd"}}]},
			{"object":"bucket","start_time":1772409600,"results":[]},
			{"object":"bucket","start_time":1772236800,"results":[{"amount":{"value":99,"currency":"usd"}}]}]}`,
		"page_2": `{"object":"page","has_more":false,"next_page":null,"data":[
			{"object":"bucket","start_time":1772496000,"results":[{"amount":{"value":1.2e-05,"currency":"usd"}},{"amount":{"value":null,"currency":null}},{"amount":null}]},
			{"object":"bucket","start_time":1772582400,"results":[{"amount":{"value":99,"currency":"usd"}}]}]}`,
	}
	var queries []string
	b, err := fetch(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer sk-admin-planted" || r.URL.Path != "/v1/organization/costs" {
			t.Errorf("asked %s with %v", r.URL, r.Header)
		}
		queries = append(queries, r.URL.RawQuery)
		_, _ = io.WriteString(w, pages[r.URL.Query().Get("page")])
	}, "proj_a", "proj_b")
	if err != nil {
		t.Fatal(err)
	}
	const asked = "bucket_width=1d&end_time=1772582400&limit=180&"
	const of = "project_ids=proj_a&project_ids=proj_b&start_time=1772323200"
	if d := cmp.Diff([]string{asked + of, asked + "page=page_2&" + of}, queries); d != "" {
		t.Errorf("queries (-want +got)\n%s", d)
	}
	want := []reconcile.Day{{Date: "2026-03-01", Billed: 945_874_000}, {Date: "2026-03-02"}, {Date: "2026-03-03", Billed: 12_000}}
	if d := cmp.Diff(want, b.Days(nil, march1, march3)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if b.ByRequest || b.First != "2026-03-01" || b.Last != "2026-03-03" {
		t.Errorf("got %+v", b)
	}
}

func TestFetchOpenAI_refuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		status int
		body   string
		want   string
	}{
		{"wrong key", 401, `{"error":{"message":"Incorrect API key provided: sk-admin-planted."}}`, "answers 401: Incorrect API key provided: (hidden)."},
		{"no words", 500, `<html>`, "answers 500: Internal Server Error"},
		{"a long story", 403, `{"error":{"message":"` + strings.Repeat("x", 1000) + `"}}`, "answers 403: " + strings.Repeat("x", 500) + "…"},
		{"another place", 302, ``, "answers 302"},
		{"no JSON", 200, `<html>`, "is no page of costs"},
		{"another answer", 200, `{"object":"list","data":[]}`, `it has no "object": "page"`},
		{"nothing", 200, `{}`, `it has no "object": "page"`},
		{"euros", 200, `{"object":"page","data":[{"start_time":1772323200,"results":[{"amount":{"value":1,"currency":"eur"}}]}]}`, `the costs of 2026-03-01 are in "eur"`},
		{"no amount", 200, `{"object":"page","data":[{"start_time":1772323200,"results":[{"amount":{"value":"much","currency":"usd"}}]}]}`, "is not a decimal number"},
		{"too much", 200, `{"object":"page","data":[{"start_time":1772323200,"results":[{"amount":{"value":1e9,"currency":"usd"}},{"amount":{"value":1,"currency":"usd"}}]}]}`, "beyond a thousand million"},
		{"more, nowhere", 200, `{"object":"page","data":[],"has_more":true}`, "does not say where"},
		{"more, for ever", 200, `{"object":"page","data":[],"has_more":true,"next_page":"again"}`, "does not say where"},
		{"a body without end", 200, `{"object":"page","data":[` + strings.Repeat(" ", 4<<20) + `]}`, "more than 4194304 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := fetch(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, tt.body)
			})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "planted") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestFetchOpenAI_pages gives up where the pages have no end, and when nobody waits any more.
func TestFetchOpenAI_pages(t *testing.T) {
	t.Parallel()
	asked := 0
	_, err := fetch(t, func(w http.ResponseWriter, _ *http.Request) {
		asked++
		_, _ = io.WriteString(w, `{"object":"page","data":[],"has_more":true,"next_page":"`+strings.Repeat("x", asked)+`"}`)
	})
	if err == nil || !strings.Contains(err.Error(), "more than 200 pages") || asked != 200 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer srv.Close()
	q := reconcile.OpenAICosts{Base: srv.URL, Key: secret.New("k"), First: march1, Last: march3}
	if _, err := reconcile.FetchOpenAI(ctx, srv.Client(), q); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestDays: over all days the sums are those of Compare, whatever the bill names.
func TestDays(t *testing.T) {
	t.Parallel()
	ours := []reconcile.Entry{
		{RequestID: "a", Day: "2026-03-01", Model: "m1", Cost: usd},
		{RequestID: "b", Day: "2026-03-01", Model: "m2", Cost: 2 * usd},
		{RequestID: "c", Day: "2026-03-03", Model: "m1", Cost: 3 * usd},
	}
	for _, bill := range []string{
		"day,cost\n2026-03-01,4\n2026-03-02,0\n2026-03-03,2\n",
		"day,model,cost\n2026-03-01,m1,3\n2026-03-01,m9,1\n2026-03-03,m1,2\n",
		"request_id,day,cost\na,2026-03-01,3\nz,2026-03-01,1\nc,2026-03-03,2\n",
	} {
		b, err := reconcile.Parse(strings.NewReader(bill))
		if err != nil {
			t.Fatal(err)
		}
		days := b.Days(ours, march1, march3)
		want := []reconcile.Day{{"2026-03-01", 4 * usd, 3 * usd}, {"2026-03-02", 0, 0}, {"2026-03-03", 2 * usd, 3 * usd}}
		if d := cmp.Diff(want, days); d != "" {
			t.Errorf("%s(-want +got)\n%s", bill, d)
		}
		rep := b.Compare(ours, 0)
		var billed, recorded resource.Money
		for _, d := range days {
			billed += d.Billed
			recorded += d.Ours
		}
		if billed != rep.Billed || recorded != rep.Ours {
			t.Errorf("%s: %s and %s, Compare says %s and %s", bill, billed, recorded, rep.Billed, rep.Ours)
		}
		if rate, ok := days[0].Rate(); !ok || rate != 0.75 {
			t.Errorf("rate %v, %v", rate, ok)
		}
		if _, ok := days[1].Rate(); ok {
			t.Error("a day without a bill has a rate")
		}
	}
}

// answers gives the same answer to all.
type answers string

func (a answers) Do(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(string(a)))}, nil
}

func FuzzFetchOpenAI(f *testing.F) {
	f.Add(`{"object":"page","data":[{"start_time":1772323200,"results":[{"amount":{"value":"0.06","currency":"usd"}}]}],"has_more":false}`)
	f.Add(`{"object":"page","data":[{"start_time":-1,"results":null}],"next_page":"x","has_more":true}`)
	f.Fuzz(func(t *testing.T, body string) {
		b, err := reconcile.FetchOpenAI(t.Context(), answers(body), reconcile.OpenAICosts{Key: secret.New("k"), First: march1, Last: march3})
		if err != nil {
			return
		}
		var sum resource.Money
		for _, d := range b.Days(nil, march1, march3) {
			sum += d.Billed
		}
		if rep := b.Compare(nil, 0); rep.Billed != sum {
			t.Errorf("%s by day, %s in all", sum, rep.Billed)
		}
	})
}
