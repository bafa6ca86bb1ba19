package upstream_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/mock"
	"github.com/conclave-llm/conclave/proxy/upstream"
	"github.com/conclave-llm/conclave/proxy/upstream/sign"
	"github.com/conclave-llm/conclave/secret"
)

// TestBedrock signs requests for a mock of Bedrock, which sees what every one must have, and
// relays its frames as they are.
func TestBedrock(t *testing.T) {
	t.Parallel()
	var sent bytes.Buffer
	seen := make(chan http.Header, 8)
	upstreamMock := mock.New(mock.Config{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header.Clone()
		upstreamMock.ServeHTTP(&tee{w, &sent}, r)
	}))
	t.Cleanup(srv.Close)
	c := upstream.New(upstream.Config{})
	t.Cleanup(c.Close)
	a := &upstream.Attempt{
		Provider: row(t, "bedrock"), Endpoint: llm.Converse, Base: srv.URL, Model: "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", Stream: true,
		Account: &sign.Account{
			Options: map[string]string{"region": "eu-central-1", "aws_access_key_id": "AKID"},
			Secrets: map[string]secret.Text{"aws_secret_access_key": secret.New("hush")},
		},
		Body: []byte(`{"messages":[{"role":"user","content":[{"text":"a b"}]}]}`),
	}
	ans, err := c.Do(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	var raw []byte
	for {
		e, err := ans.Stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, e.Raw...)
	}
	u, ok := ans.Stream.Usage()
	ans.Close()
	if !bytes.Equal(raw, sent.Bytes()) || !ok || u.Output != 4 || ans.Stream.TextBytes() != int64(len("You said: a b")) {
		t.Errorf("%d of %d bytes, usage %+v, %v, %d bytes of text", len(raw), sent.Len(), u, ok, ans.Stream.TextBytes())
	}
	h := <-seen
	if h.Get("Authorization") == "" || h.Get("X-Amz-Date") == "" || h.Get("Accept") != "application/vnd.amazon.eventstream" {
		t.Errorf("headers %v", h)
	}
	for header, code := range map[string]string{"X-Mock-Cut-After": "upstream_cut", "X-Mock-Status": ""} {
		a.Header = http.Header{header: {"2"}}
		if header == "X-Mock-Status" {
			a.Header = http.Header{header: {"429"}}
		}
		_, _, err := run(t, c, a)
		e, ok := errors.AsType[*llm.Error](err)
		if !ok || code != "" && e.Code != code || code == "" && e.Kind != llm.RateLimited {
			t.Errorf("%s: got %v", header, err)
		}
	}
}

// tee keeps what is sent.
type tee struct {
	http.ResponseWriter
	to io.Writer
}

// Write implements io.Writer.
func (t *tee) Write(b []byte) (int, error) {
	_, _ = t.to.Write(b)
	return t.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (t *tee) Unwrap() http.ResponseWriter { return t.ResponseWriter }
