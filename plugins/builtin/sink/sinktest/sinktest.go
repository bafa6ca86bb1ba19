// Package sinktest puts a callback that sends to a server before a server that keeps what it gets,
// answers as it is told and breaks when it is told.
package sinktest

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Canary stands in the contents of the records that have any.
const Canary = "canary-5e1f"

// Began is when the first record's request began.
var Began = time.Date(2026, 3, 1, 12, 30, 0, 123_000_000, time.UTC)

// Records are finished requests, one of each status in turn, from the position 1 on.
func Records(n int) []sdk.Record {
	var list []sdk.Record
	for i := range n {
		r := sdk.Record{
			Position: uint64(i + 1), RequestID: fmt.Sprintf("req-%d", i+1), NodeID: "node_a", StartedAt: Began.Add(time.Duration(i) * time.Second),
			Duration: 1500 * time.Millisecond, FirstToken: 250 * time.Millisecond, Endpoint: "chat", Model: "fast", DeploymentID: "dep_1",
			Provider: "openai", UpstreamModel: "gpt-x", KeyID: "key_1", KeyName: "notebook", TeamID: "team_1", TeamName: "research",
			UserID: "user_1", EndUser: "customer, 7", CustomerID: "customer, 7", OrganizationID: "org_1", ProjectID: "proj_1", SessionID: "s-1",
			Tags: []string{"prod"}, Stream: true, Status: "success", HTTPStatus: 200, Attempts: 1, CostNanoUSD: 1_250_000, Priced: true,
			Usage: llm.Usage{Input: 70, CacheRead: 30, Output: 20, Reasoning: 5, Source: llm.UsageProvider},
		}
		switch i % 4 {
		case 1:
			r.Status, r.HTTPStatus, r.ErrorCode, r.Message, r.Step = "failure", 429, "budget_exceeded", "The team has spent its budget.", "budget"
			r.Priced, r.CostNanoUSD, r.Usage, r.FirstToken = false, 0, llm.Usage{}, 0
		case 2:
			r.Status, r.HTTPStatus, r.ErrorCode = "blocked", 400, "guardrail_blocked"
			r.Guardrails = append(r.Guardrails, guardrailResult("words", "before", "blocked", "word 1"))
		case 3:
			r.Status, r.HTTPStatus, r.ErrorCode = "canceled", 499, "canceled"
		}
		list = append(list, r)
	}
	return list
}

// Telling is the records with contents in which the Canary stands.
func Telling(records []sdk.Record) []sdk.Record {
	records = slices.Clone(records)
	for i := range records {
		records[i].Request = []byte(`{"model":"fast","messages":[{"role":"user","content":"` + Canary + ` asked"}]}`)
		records[i].Response = []byte(`{"choices":[{"message":{"role":"assistant","content":"` + Canary + ` said"}}]}`)
	}
	return records
}

// Request is what a server got; its body is not compressed any more.
type Request struct {
	Method, Path string
	Header       http.Header
	Body         []byte
	Raw          []byte // as it was sent
}

// JSON reads the body.
func (r *Request) JSON(t testing.TB, into any) {
	t.Helper()
	if err := json.Unmarshal(r.Body, into); err != nil {
		t.Fatalf("%s %s: %v in %q", r.Method, r.Path, err, r.Body)
	}
}

// Lines are the lines of the body.
func (r *Request) Lines() []string {
	return strings.Split(strings.TrimSuffix(string(r.Body), "\n"), "\n")
}

// Server keeps requests. Its methods may be called concurrently.
type Server struct {
	*httptest.Server
	mu       sync.Mutex // guards what follows
	requests []Request
	answer   func(r *Request) (status int, body string)
}

// NewServer makes a server that answers 200 with the answer.
func NewServer(t testing.TB, answer string) *Server {
	t.Helper()
	s := &Server{}
	s.Answer(func(*Request) (int, string) { return http.StatusOK, answer })
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		if err != nil { // its sender gave up: half a request tells nothing
			panic(http.ErrAbortHandler)
		}
		got := Request{Method: r.Method, Path: r.URL.RequestURI(), Header: r.Header, Raw: raw, Body: raw}
		got.Header.Set("Host", r.Host)
		if r.Header.Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(bytes.NewReader(raw))
			if err == nil {
				got.Body, err = io.ReadAll(z)
			}
			if err != nil {
				t.Errorf("read gzip: %v", err)
			}
		}
		s.mu.Lock()
		s.requests = append(s.requests, got)
		answer := s.answer
		s.mu.Unlock()
		status, body := answer(&got)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	return s
}

// Answer changes what the server answers.
func (s *Server) Answer(f func(r *Request) (status int, body string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// Take gives the requests since the last call.
func (s *Server) Take() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.requests
	s.requests = nil
	return list
}

// Configure configures the callback with the value as JSON.
func Configure(t testing.TB, c sdk.Callback, config any) {
	t.Helper()
	if err := Try(c, config); err != nil {
		t.Fatal(err)
	}
}

// Try says what the callback says of the configuration.
func Try(c sdk.Callback, config any) error {
	b, err := json.Marshal(config)
	if err != nil {
		return err
	}
	_, err = c.Configure(context.Background(), sdk.CallbackSettings{Name: "test", Config: b, HostVersion: "1.2.3"})
	return err
}

// Deliver delivers all and demands that all are taken.
func Deliver(t testing.TB, c sdk.Callback, records []sdk.Record) {
	t.Helper()
	if n, err := c.Deliver(t.Context(), records); n != len(records) || err != nil {
		t.Fatalf("delivered %d of %d: %v", n, len(records), err)
	}
}

// DeliverEach delivers one after the other, so that the server gets them in order.
func DeliverEach(t testing.TB, c sdk.Callback, records []sdk.Record) {
	t.Helper()
	for i := range records {
		Deliver(t, c, records[i:i+1])
	}
}

// Config is a configuration with secrets in it.
type Config struct {
	Value   any
	Secrets []string // that no error may repeat
}

// Behaves checks what every callback does that sends over HTTP: it tells of each record, keeps
// what a server that is down does not take, finds the record that a server never takes, tells no
// content that it was not given, and names no secret in an error. find says where a record's
// request id stands in a request.
func Behaves(t *testing.T, make func() sdk.Callback, s *Server, cfg Config, healthy func(r *Request) (int, string)) {
	t.Helper()
	t.Run("tells all", func(t *testing.T) { tellsAll(t, make(), s, cfg, healthy) })
	t.Run("keeps what is not taken", func(t *testing.T) { keeps(t, make(), s, cfg) })
	t.Run("puts aside what is never taken", func(t *testing.T) { putsAside(t, make(), s, cfg, healthy) })
	t.Run("is not slow", func(t *testing.T) { notSlow(t, make(), s, cfg, healthy) })
	t.Run("refuses what it does not know", func(t *testing.T) {
		if err := Try(make(), map[string]any{"no_such_field": true}); err == nil {
			t.Error("a field that there is not is taken")
		}
	})
}

func tellsAll(t *testing.T, c sdk.Callback, s *Server, cfg Config, healthy func(r *Request) (int, string)) {
	s.Answer(healthy)
	Configure(t, c, cfg.Value)
	records := Records(5)
	Deliver(t, c, records)
	var all []byte
	for _, r := range s.Take() {
		all = append(all, r.Body...)
	}
	for i := range records {
		if !bytes.Contains(all, []byte(records[i].RequestID)) {
			t.Errorf("%s is not told", records[i].RequestID)
		}
	}
	if bytes.Contains(all, []byte(Canary)) {
		t.Error("content is told that was not given")
	}
}

func keeps(t *testing.T, c sdk.Callback, s *Server, cfg Config) {
	Configure(t, c, cfg.Value)
	for _, status := range []int{http.StatusUnauthorized, http.StatusServiceUnavailable} {
		s.Answer(func(*Request) (int, string) { return status, "no\nservice" })
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		n, err := c.Deliver(ctx, Records(3))
		cancel()
		if _, refused := errors.AsType[*sdk.CallbackRefused](err); n != 0 || err == nil || refused {
			t.Errorf("answered %d: delivered %d, %v, want none and an error", status, n, err)
		}
		if errors.Is(err, sdk.ErrCallbackDenied) != (status == http.StatusUnauthorized) {
			t.Errorf("answered %d: %v, of which it is not known whether the credentials are the reason", status, err)
		}
		for _, secret := range cfg.Secrets {
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Errorf("the error %q repeats a secret", err)
			}
		}
	}
	s.Take()
}

// Keeps demands that the callback refuses no record when the server answers so, and tries it again.
func Keeps(t *testing.T, c sdk.Callback, s *Server, status int, answer string) {
	t.Helper()
	s.Answer(func(*Request) (int, string) { return status, answer })
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	n, err := c.Deliver(ctx, Records(2))
	if _, refused := errors.AsType[*sdk.CallbackRefused](err); n != 0 || err == nil || refused {
		t.Errorf("answered %d %s: delivered %d, %v, want none and an error", status, answer, n, err)
	}
	s.Take()
}

// Refuses demands that the callback refuses the first record when the server answers so.
func Refuses(t *testing.T, c sdk.Callback, s *Server, status int, answer string) {
	t.Helper()
	s.Answer(func(*Request) (int, string) { return status, answer })
	n, err := c.Deliver(t.Context(), Records(2))
	if _, refused := errors.AsType[*sdk.CallbackRefused](err); n != 0 || !refused {
		t.Errorf("answered %d %s: delivered %d, %v, want a refusal", status, answer, n, err)
	}
	s.Take()
}

// notSlow sees that a server which takes one record a request gets several at a time: none is answered before
// four of them are there.
func notSlow(t *testing.T, c sdk.Callback, s *Server, cfg Config, healthy func(r *Request) (int, string)) {
	s.Answer(healthy)
	Configure(t, c, cfg.Value)
	Deliver(t, c, Records(100))
	if len(s.Take()) < 100 {
		return // it takes many
	}
	var (
		there atomic.Int32
		four  = make(chan struct{})
	)
	s.Answer(func(r *Request) (int, string) {
		if there.Add(1) == 4 {
			close(four)
		}
		select {
		case <-four:
			return healthy(r)
		case <-t.Context().Done():
			return http.StatusGatewayTimeout, ""
		}
	})
	Deliver(t, c, Records(4))
	s.Take()
}

func putsAside(t *testing.T, c sdk.Callback, s *Server, cfg Config, healthy func(r *Request) (int, string)) {
	Configure(t, c, cfg.Value)
	records := Records(7)
	bad := records[4].RequestID
	s.Answer(func(r *Request) (int, string) {
		if bytes.Contains(r.Body, []byte(bad)) {
			return http.StatusBadRequest, "I do not like it"
		}
		return healthy(r)
	})
	n, err := c.Deliver(t.Context(), records)
	if _, refused := errors.AsType[*sdk.CallbackRefused](err); n != 4 || !refused {
		t.Fatalf("delivered %d, %v, want 4 and a refusal", n, err)
	}
	Deliver(t, c, records[5:])
	s.Take()
}
