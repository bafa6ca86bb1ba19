package upstream_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

// TestDo_Foreign: an address that a provider names is sent no key and no header, its bytes come as they are, and
// where it must be public no other is connected to.
func TestDo_Foreign(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/gone" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, "<Error>sig</Error>")
			return
		}
		h := r.Header.Clone()
		h.Del("Content-Length")
		keys := slices.Sorted(maps.Keys(h))
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, "%s %s %q %s", r.Method, r.RequestURI, keys, body)
	}))
	t.Cleanup(srv.Close)
	c := upstream.New(upstream.Config{})
	t.Cleanup(c.Close)
	a := upstream.Attempt{
		Provider: row(t, "runwayml"), Endpoint: llm.RunwaySpeak, Base: srv.URL, Path: "/a?sig=1", Method: "PUT", Body: []byte("DATA"), Opaque: true, Foreign: true,
		Account: &sign.Account{Key: secret.New("sk-1")}, Header: http.Header{"X-Mine": {"1"}}, Fixed: http.Header{"X-Fixed": {"1"}},
	}
	got, err := c.Do(t.Context(), &a)
	if err != nil || got.Raw == nil {
		t.Fatalf("got %+v, %v", got, err)
	}
	e, err := got.Raw.Next()
	if want := `PUT /a?sig=1 ["Accept" "Accept-Encoding" "User-Agent"] DATA`; err != nil || string(e.Raw) != want {
		t.Errorf("got %s, %v, want %s", e.Raw, err, want)
	}
	got.Close()
	a.Path = "/gone"
	if _, err := c.Do(t.Context(), &a); err == nil || strings.Contains(err.Error(), "sig") {
		t.Errorf("got %v, want an error without what stands there", err)
	}
	a.Public = true
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "10.0.0.1"} {
		a.Base = "http://" + host + ":9"
		if _, err := c.Do(t.Context(), &a); err == nil || !strings.Contains(err.Error(), "public address") {
			t.Errorf("%s: got %v", host, err)
		}
	}
}
