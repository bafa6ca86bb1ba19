package mock

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const maxJournalBody = 16 << 10

// Request is a request that the upstream remembers.
type Request struct {
	Number           uint64            `json:"number"` // from 1
	Time             time.Time         `json:"time"`
	Method           string            `json:"method"`
	Path             string            `json:"path"`
	Header           map[string]string `json:"header"` // in lower case, without credentials
	Body             string            `json:"body"`   // its first 16 KiB
	Model            string            `json:"model"`
	Stream           bool              `json:"stream"`
	Status           int               `json:"status"`
	PromptTokens     int64             `json:"prompt_tokens"`
	CompletionTokens int64             `json:"completion_tokens"` // generated, if not all sent
	CachedTokens     int64             `json:"cached_tokens"`     // a part of the prompt's
	ReasoningTokens  int64             `json:"reasoning_tokens"`  // a part of the completion's
	Whole            bool              `json:"whole"`             // the answer went out to its end

	header http.Header
}

// Billed is what the upstream would bill: the tokens that it took in and generated, whether or
// not the client stayed to the end.
type Billed struct {
	Requests         int64 `json:"requests"` // all, those that failed too
	Errors           int64 `json:"errors"`   // answered with an error's status
	Cut              int64 `json:"cut"`      // answers that did not go out to their end
	PromptTokens     int64 `json:"prompt_tokens"`
	CompletionTokens int64 `json:"completion_tokens"`
	CachedTokens     int64 `json:"cached_tokens"`    // a part of the prompt's
	ReasoningTokens  int64 `json:"reasoning_tokens"` // a part of the completion's
}

// journal remembers the last requests and counts them all.
type journal struct {
	mu     sync.Mutex // guards all below
	size   int
	ring   []*Request
	number uint64
	total  Billed
	models map[string]*Billed
}

func (b *Billed) add(r *Request) {
	b.Requests++
	switch {
	case r.Status >= 400 || r.Status == 0:
		b.Errors++
	case !r.Whole:
		b.Cut++
	}
	b.PromptTokens += r.PromptTokens
	b.CompletionTokens += r.CompletionTokens
	b.CachedTokens += r.CachedTokens
	b.ReasoningTokens += r.ReasoningTokens
}

// add remembers a request.
func (j *journal) add(r *Request) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.number++
	r.Number = j.number
	if len(j.ring) < j.size {
		j.ring = append(j.ring, r)
	} else {
		j.ring[(j.number-1)%uint64(j.size)] = r
	}
	j.total.add(r)
	if r.Model == "" {
		return
	}
	m := j.models[r.Model]
	if m == nil {
		if len(j.models) > 1000 {
			return
		}
		m = new(Billed)
		j.models[r.Model] = m
	}
	m.add(r)
}

// Usage is what the upstream would bill in all.
func (s *Server) Usage() Billed {
	s.journal.mu.Lock()
	defer s.journal.mu.Unlock()
	return s.journal.total
}

// Requests lists the remembered requests, the newest last.
func (s *Server) Requests() []Request { return s.journal.list(s.journal.size) }

// Reset forgets all requests and counts from 0.
func (s *Server) Reset() { s.journal.reset() }

func (j *journal) reset() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ring, j.number, j.total = nil, 0, Billed{}
	j.models = make(map[string]*Billed)
}

// list copies the last n requests.
func (j *journal) list(n int) []Request {
	j.mu.Lock()
	defer j.mu.Unlock()
	n = min(n, len(j.ring))
	list := make([]Request, 0, n)
	for i := range n {
		at := (j.number - uint64(n) + uint64(i)) % uint64(j.size)
		r := *j.ring[at]
		r.Header = plainHeader(r.header)
		list = append(list, r)
	}
	return list
}

// plainHeader leaves out credentials.
func plainHeader(h http.Header) map[string]string {
	plain := make(map[string]string, len(h))
	for k, v := range h {
		switch k {
		case "Authorization", "Api-Key", "X-Api-Key", "X-Goog-Api-Key", "Cookie":
			plain[strings.ToLower(k)] = "(hidden)"
		default:
			plain[strings.ToLower(k)] = strings.Join(v, ", ")
		}
	}
	return plain
}

// serveRequests answers GET /mock/requests?limit=N, and DELETE, which resets the counters too.
func (j *journal) serveRequests(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodDelete {
		j.reset()
		w.WriteHeader(http.StatusNoContent)
		return
	}
	n := j.size
	if v, err := strconv.Atoi(r.URL.Query().Get("limit")); err == nil && v >= 0 {
		n = v
	}
	writeJSON(w, map[string]any{"items": j.list(n)})
}

// serveUsage answers GET /mock/usage.
func (j *journal) serveUsage(w http.ResponseWriter, _ *http.Request) {
	j.mu.Lock()
	data, err := json.Marshal(struct {
		Billed
		Models map[string]*Billed `json:"models"`
	}{j.total, j.models})
	j.mu.Unlock()
	if err != nil {
		writeError(w, asError(err))
		return
	}
	w.Header()["Content-Type"] = jsonType
	_, _ = w.Write(data) // the client may be gone
}
