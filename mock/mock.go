// Package mock is the demo upstream: a provider in OpenAI's, Anthropic's and Google's formats that
// needs no model. Its answers are made from the request alone, it counts exactly what it would
// bill, and it can be slow, fail, stall and cut, by configuration or for one request by x-mock-*
// headers. It is cheap enough to stand behind a benchmark.
package mock

import (
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/conclave-llm/conclave/llm"
)

// Defaults of Config.
const (
	DefaultModel      = "demo"
	DefaultDimensions = 256
	DefaultJournal    = 256
)

const maxBody = 64 << 20

// Config says how the upstream behaves. The zero value answers at once and never fails.
type Config struct {
	Models     []string      // listed at /v1/models; none: DefaultModel. Any model is served
	Key        string        // the only key that is accepted; "": any, or none
	Latency    time.Duration // before the first byte
	Chunks     int           // of a stream, a token each; 0: one for each word of the answer
	ChunkDelay time.Duration // between chunks
	Status     int           // answer with this error status
	ErrorRate  float64       // share of requests, 0 to 1, that fail with Status, or 500
	RetryAfter time.Duration // sent with errors
	StallAfter int           // > 0: a stream stops for ever after so many chunks
	CutAfter   int           // > 0: the connection is reset after so many chunks
	Refuse     bool          // say, as OpenAI, Anthropic and Google do, that the model cannot help
	Dimensions int           // of embeddings; 0: DefaultDimensions
	Journal    int           // requests that are remembered; 0: DefaultJournal
}

// Flags defines a flag for each field of c, with its value as the default.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.Func("model", "name to list at /v1/models (may be repeated)", func(s string) error {
		c.Models = append(c.Models, s)
		return nil
	})
	fs.StringVar(&c.Key, "key", c.Key, "the only key that is accepted")
	fs.DurationVar(&c.Latency, "latency", c.Latency, "time to the first byte")
	fs.IntVar(&c.Chunks, "chunks", c.Chunks, "chunks of an answer, 0 for one a word")
	fs.DurationVar(&c.ChunkDelay, "chunk-delay", c.ChunkDelay, "time between chunks")
	fs.IntVar(&c.Status, "status", c.Status, "answer with this error status")
	fs.Float64Var(&c.ErrorRate, "error-rate", c.ErrorRate, "share of requests that fail, 0 to 1")
	fs.DurationVar(&c.RetryAfter, "retry-after", c.RetryAfter, "Retry-After of errors")
	fs.IntVar(&c.StallAfter, "stall-after", c.StallAfter, "chunks after which streams stall")
	fs.IntVar(&c.CutAfter, "cut-after", c.CutAfter, "chunks after which connections are reset")
	fs.BoolVar(&c.Refuse, "refuse", c.Refuse, "answer that the model cannot help")
	fs.IntVar(&c.Dimensions, "dimensions", c.Dimensions, "length of embeddings")
	fs.IntVar(&c.Journal, "journal", c.Journal, "requests to remember")
}

// Server is the upstream. It is safe for concurrent use.
type Server struct {
	cfg     Config
	journal journal
	drawn   atomic.Uint64 // random numbers
	ids     atomic.Uint64 // of answers
}

// New returns an upstream.
func New(cfg Config) *Server {
	if len(cfg.Models) == 0 {
		cfg.Models = []string{DefaultModel}
	}
	if cfg.Dimensions == 0 {
		cfg.Dimensions = DefaultDimensions
	}
	if cfg.Journal == 0 {
		cfg.Journal = DefaultJournal
	}
	s := &Server{cfg: cfg}
	s.journal.size = cfg.Journal
	s.journal.models = make(map[string]*Billed)
	return s
}

// serve answers the POST requests of each path, below /v1 or not.
var serve = map[string]func(*Server, *exchange) error{
	"/chat/completions":      (*Server).chat,
	"/completions":           (*Server).completions,
	"/embeddings":            (*Server).embeddings,
	"/messages":              (*Server).messages,
	"/messages/count_tokens": (*Server).countTokens,
	"/moderations":           (*Server).moderations,
	"/images/generations":    (*Server).images,
	"/images/edits":          (*Server).images,
	"/images/variations":     (*Server).images,
	"/audio/speech":          (*Server).speech,
	"/audio/transcriptions":  (*Server).transcribe,
	"/audio/translations":    (*Server).transcribe,
	"/rerank":                (*Server).rerank,
	"/decisions":             (*Server).decisions,
	"/systemone":             (*Server).systemOne,
	"/extraction":            (*Server).extract,
}

// ServeHTTP implements http.Handler. A format is rows of the table above and a file beside this one.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/v1"), "/v2")
	answer := serve[path]
	if _, verb, ok := googleCall(r.URL.Path); ok {
		answer = googleVerbs[verb]
	}
	if _, _, ok := conversePath(r); ok {
		answer = (*Server).converse
	}
	switch {
	case r.Method == http.MethodPost && answer != nil:
		s.answer(w, r, answer)
	case r.Method == http.MethodGet && strings.HasPrefix(path, "/models"):
		s.models(w, strings.TrimPrefix(path, "/models"))
	case r.Method == http.MethodGet && strings.HasSuffix(path, "/realtime"):
		s.realtime(w, r)
	case path == "/mock/requests":
		s.journal.serveRequests(w, r)
	case path == "/mock/usage":
		s.journal.serveUsage(w, r)
	case path == "/health":
		writeJSON(w, map[string]string{"status": "ok"})
	default:
		writeError(w, &llm.Error{Kind: llm.NotFound, Code: "unknown_url", Message: "Unknown request URL: " + r.Method + " " + r.URL.Path + "."})
	}
}

// exchange is one request while it is answered.
type exchange struct {
	w      http.ResponseWriter
	r      *http.Request
	plan   plan
	body   []byte
	fields llm.Fields
	form   map[string][]string // the text fields of a form; nil: it is none
	files  map[string]int      // the sizes of its files
	entry  *Request
}

// answer does what all endpoints have in common: reads the request, fails if it shall, waits.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, serve func(*Server, *exchange) error) {
	x := &exchange{w: w, r: r, entry: &Request{Time: time.Now(), Method: r.Method, Path: r.URL.Path, header: r.Header}}
	err := s.read(x)
	if err == nil {
		err = serve(s, x)
	}
	if err != nil {
		e := asError(err)
		x.entry.Status = e.HTTPStatus()
		s.fail(w, r, e)
	}
	s.journal.add(x.entry)
	if x.plan.cut {
		reset(w)
	}
}

// fail writes an error in the format of the request.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, e *llm.Error) {
	_, _, google := googleCall(r.URL.Path)
	_, _, converse := conversePath(r)
	switch {
	case converse:
		writeConverseError(w, e)
	case google:
		writeGoogleError(w, e)
	case isAnthropic(r):
		s.writeAnthropicError(w, e)
	default:
		writeError(w, e)
	}
}

// allowed says whether a request has the key, in the header of any format.
func (s *Server) allowed(r *http.Request) bool {
	return s.cfg.Key == "" || r.Header.Get("Authorization") == "Bearer "+s.cfg.Key ||
		slices.Contains([]string{r.Header.Get("X-Api-Key"), r.Header.Get("X-Goog-Api-Key"), r.URL.Query().Get("key")}, s.cfg.Key)
}

// read reads and checks the request and takes its time.
func (s *Server) read(x *exchange) (err error) {
	if x.plan, err = s.plan(x.r.Header); err != nil {
		return err
	}
	if x.body, err = readBody(x.r); err != nil {
		return &llm.Error{Kind: llm.TooLarge, Message: "The body could not be read.", Err: err}
	}
	x.entry.Body = string(x.body[:min(len(x.body), maxJournalBody)])
	if !s.allowed(x.r) {
		return &llm.Error{Kind: llm.Unauthenticated, Code: "invalid_api_key", Message: "Incorrect API key provided."}
	}
	if !wait(x.r.Context(), x.plan.latency) {
		return &llm.Error{Kind: llm.Canceled, Message: "canceled"}
	}
	if s.fails(&x.plan) {
		return &llm.Error{Kind: llm.Upstream, Status: x.plan.status, Code: "mock_error", Message: "The demo upstream fails on demand.", RetryAfter: s.cfg.RetryAfter}
	}
	if isForm(x.r) {
		err = x.openForm()
	} else {
		x.fields, err = llm.Peek(x.body)
	}
	if err != nil {
		return err
	}
	if model, verb, ok := googleCall(x.r.URL.Path); ok {
		x.fields.Model, x.fields.Stream = model, verb == "streamGenerateContent"
	}
	if model, stream, ok := conversePath(x.r); ok {
		x.fields.Model, x.fields.Stream = model, stream
	}
	if x.fields.Model == "" {
		return &llm.Error{Kind: llm.Invalid, Param: "model", Message: "You must provide a model parameter."}
	}
	x.entry.Model, x.entry.Stream, x.entry.Status = x.fields.Model, x.fields.Stream, http.StatusOK
	return nil
}

func readBody(r *http.Request) ([]byte, error) {
	if n := r.ContentLength; n >= 0 && n <= maxBody {
		buf := make([]byte, n)
		_, err := io.ReadFull(r.Body, buf)
		return buf, err
	}
	return io.ReadAll(io.LimitReader(r.Body, maxBody))
}

// fails decides whether a request fails. The draws are the same in every run.
func (s *Server) fails(p *plan) bool {
	if p.errorRate <= 0 {
		return p.status != 0
	}
	if p.status == 0 {
		p.status = http.StatusInternalServerError
	}
	return float64(mix(s.drawn.Add(1))>>11)/(1<<53) < p.errorRate
}

// mix is the finalizer of SplitMix64: numbers that look random of numbers that follow each other.
func mix(x uint64) uint64 {
	x *= 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// models lists the models, or shows the one after the slash.
func (s *Server) models(w http.ResponseWriter, one string) {
	type model struct {
		ID      string `json:"id"`
		Object  string `json:"object"`
		Created int64  `json:"created"`
		OwnedBy string `json:"owned_by"`
	}
	list := make([]model, len(s.cfg.Models))
	for i, m := range s.cfg.Models {
		list[i] = model{m, "model", 1700000000, "mock"}
	}
	if one == "" {
		writeJSON(w, map[string]any{"object": "list", "data": list})
		return
	}
	if i := slices.Index(s.cfg.Models, strings.TrimPrefix(one, "/")); i >= 0 {
		writeJSON(w, list[i])
		return
	}
	writeError(w, &llm.Error{Kind: llm.NotFound, Code: "model_not_found", Param: "model", Message: "The model does not exist."})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header()["Content-Type"] = jsonType
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

var jsonType = []string{"application/json"}

// asError makes an *llm.Error of any error.
func asError(err error) *llm.Error {
	if e, ok := err.(*llm.Error); ok { //nolint:errorlint // made by this package, never wrapped
		return e
	}
	return &llm.Error{Kind: llm.Internal, Message: err.Error()}
}

func writeError(w http.ResponseWriter, e *llm.Error) {
	if e.Kind == llm.Canceled {
		return
	}
	w.Header()["Content-Type"] = jsonType
	llm.SetErrorHeaders(w.Header(), e)
	w.WriteHeader(e.HTTPStatus())
	_, _ = w.Write(llm.AppendError(nil, e)) //nolint:gosec // it is JSON; the client may be gone
}
