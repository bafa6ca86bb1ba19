// Package providertest is the conformance suite of codecs: golden exchanges, recorded in the
// shapes in which a vendor answers, and rules that hold for every vendor.
package providertest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
)

// Now is the time at which golden exchanges take place.
var Now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// An Exchange is what a vendor answered, and what the gateway must make of it. Exchanges stand in
// JSON files, one a line, each with a name of its own, below a line that says where their shapes come from.
type Exchange struct {
	Source string            `json:"source,omitempty"` // of the first line alone
	Name   string            `json:"name"`
	Status int               `json:"status,omitempty"` // of an error; 0: a good answer
	Header map[string]string `json:"header,omitempty"`
	Body   string            `json:"body"` // of the answer, or the data of one event

	Want Want `json:"want"`
}

// Want is what is expected: of an error the first part, of a good answer the second.
type Want struct {
	Kind         string `json:"kind,omitempty"`
	Code         string `json:"code,omitempty"`
	Type         string `json:"type,omitempty"`
	HTTPStatus   int    `json:"http_status,omitempty"`
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"`
	NoRetry      bool   `json:"no_retry,omitempty"`
	Relayed      bool   `json:"relayed,omitempty"` // the vendor's own body reaches the client

	Usage     []int64 `json:"usage,omitempty"` // input, cache read, cache write, output, reasoning
	TextBytes int64   `json:"text_bytes,omitempty"`
	UsageOnly bool    `json:"usage_only,omitempty"`
	Finished  bool    `json:"finished,omitempty"`
	Error     bool    `json:"error,omitempty"`   // an error stands in a good answer
	Invalid   bool    `json:"invalid,omitempty"` // the answer cannot be read
}

// kinds are the names of the kinds that a codec may give.
var kinds = map[llm.Kind]string{
	llm.Invalid: "invalid", llm.NotFound: "not_found", llm.TooLarge: "too_large", llm.RateLimited: "rate_limited",
	llm.Unavailable: "unavailable", llm.Upstream: "upstream", llm.Timeout: "timeout",
}

// Run plays the exchanges of the files through the codec of p and checks the rules.
func Run(t *testing.T, p *provider.Provider, files ...string) {
	t.Helper()
	for _, f := range files {
		for _, x := range Load(t, f) {
			t.Run(x.Name, func(t *testing.T) {
				t.Parallel()
				if d := cmp.Diff(x.Want, play(p, x)); d != "" {
					t.Errorf("%d %s (-want +got):\n%s", x.Status, x.Body, d)
				}
			})
		}
	}
	t.Run("addresses", func(t *testing.T) {
		t.Parallel()
		addresses(t, p)
	})
	t.Run("errors of every status", func(t *testing.T) {
		t.Parallel()
		statuses(t, p)
	})
}

// Load reads a file of exchanges.
func Load(t *testing.T, file string) []Exchange {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	var list []Exchange
	seen := make(map[string]bool)
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20)
	for n := 1; sc.Scan(); n++ {
		var x Exchange
		d := json.NewDecoder(bytes.NewReader(sc.Bytes()))
		d.DisallowUnknownFields()
		err := d.Decode(&x)
		if n == 1 {
			if err != nil || x.Source == "" || x.Name != "" {
				t.Fatalf("%s: the first line does not say where the exchanges come from: %+v, %v", file, x, err)
			}
			continue
		}
		if err != nil || x.Name == "" || x.Source != "" || seen[x.Name] {
			t.Fatalf("%s, line %d: %q, %v", file, n, x.Name, err)
		}
		seen[x.Name] = true
		list = append(list, x)
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

// play gives what the codec makes of an exchange.
func play(p *provider.Provider, x Exchange) Want {
	if x.Status != 0 {
		return classified(p, x)
	}
	r, err := p.Codec.Read(p.Endpoints[0], []byte(x.Body))
	if err != nil {
		return Want{Invalid: true}
	}
	if r.HasError {
		w := classified(p, x)
		w.Error = true
		return w
	}
	w := Want{TextBytes: r.TextBytes, UsageOnly: r.UsageOnly, Finished: r.Seen != 0 && r.Seen == r.Finished}
	if u := r.Usage; r.HasUsage {
		w.Usage = []int64{u.Input, u.CacheRead, u.CacheWrite, u.Output, u.Reasoning}
	}
	return w
}

// Classify is the error that the codec makes of the exchange.
func (x *Exchange) Classify(p *provider.Provider) *llm.Error {
	status := x.Status
	if status == 0 {
		status = http.StatusOK
	}
	h := make(http.Header)
	for k, v := range x.Header {
		h.Set(k, v)
	}
	return p.Codec.Classify(Now, status, h, []byte(x.Body))
}

func classified(p *provider.Provider, x Exchange) Want {
	e := x.Classify(p)
	return Want{
		Kind: kinds[e.Kind], Code: e.Code, Type: e.Type, HTTPStatus: e.HTTPStatus(),
		RetryAfterMS: e.RetryAfter.Milliseconds(), NoRetry: e.NoRetry, Relayed: e.Body != nil,
	}
}

// addresses checks that requests go below the base that was given.
func addresses(t *testing.T, p *provider.Provider) {
	if len(p.Endpoints) == 0 {
		t.Error("no endpoints")
	}
	for _, e := range p.Endpoints {
		below := "https://host.example/v1/"
		if e == llm.GeminiLive { // Vertex has its WebSockets at the root of the host
			below = "https://host.example/"
		}
		for _, base := range []string{"https://host.example/v1", "https://host.example/v1/"} {
			got, err := p.URL(base, llm.Place{Endpoint: e, Model: "model/a b?c#d"})
			if err != nil || !strings.HasPrefix(got+"/", below) || strings.Contains(got[8:], "//") || strings.ContainsAny(got, " #") {
				t.Errorf("%s: got %q, %v", e, got, err)
			}
		}
	}
}

// statuses checks what holds for every answer that is not good.
func statuses(t *testing.T, p *provider.Provider) {
	for _, body := range []string{"", "<html>", `{}`, `{"error":{"message":"key sk-abcdef is wrong","code":"x"}}`, `{"error":"x"}`, `[1]`, "\xff"} {
		for status := 300; status < 600; status++ {
			e := p.Codec.Classify(Now, status, nil, []byte(body))
			if _, ok := kinds[e.Kind]; !ok || e.Message == "" || e.RetryAfter != 0 {
				t.Fatalf("%d %q: got %+v", status, body, e)
			}
			if status < 400 || status == 401 || status == 403 {
				blameless(t, status, e)
			}
			if status >= 500 && e.HTTPStatus() < 500 {
				t.Errorf("%d %q: got status %d", status, body, e.HTTPStatus())
			}
		}
	}
}

// blameless checks an error that the gateway's own credentials or address caused: the client must
// not take it for a fault of its own, nor see what the provider says of the key.
func blameless(t *testing.T, status int, e *llm.Error) {
	t.Helper()
	if e.Kind != llm.Upstream || e.HTTPStatus() != http.StatusBadGateway || e.Body != nil {
		t.Errorf("%d: got kind %s, status %d and body %q", status, kinds[e.Kind], e.HTTPStatus(), e.Body)
	}
	if strings.Contains(e.Error(), "sk-abcdef") {
		t.Errorf("%d: the error shows the key: %v", status, e)
	}
}
