package adminapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/conclave-llm/conclave/adminapi/client"
	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// maxBody bounds the body of a request.
const maxBody = 1 << 20

// handle registers a route outside the OpenAPI document behind the same authoriser. Its
// errors have OpenAI's shape, as clients of LiteLLM expect.
func (s *Server) handle(id, method, pattern string, handler func(http.ResponseWriter, *http.Request) error) {
	s.routes = append(s.routes, Route{ID: id, Method: method, Pattern: pattern})
	s.mux.HandleFunc(method+" "+pattern, func(w http.ResponseWriter, r *http.Request) {
		ctx, err := s.admit(r, id)
		if err == nil {
			w.Header().Set(client.HeaderRequest, callerOf(ctx).requestID)
			w.Header().Set("Cache-Control", "no-store")
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
			err = handler(w, r.WithContext(ctx))
		}
		if err != nil {
			s.writeOpenAIError(w, err)
		}
	})
}

// registerCompat registers LiteLLM's management paths.
func (s *Server) registerCompat() {
	for _, r := range []struct {
		id, method, pattern string
		handler             func(http.ResponseWriter, *http.Request) error
	}{
		{"litellm-key-generate", http.MethodPost, "/key/generate", s.keyGenerate},
		{"litellm-key-update", http.MethodPost, "/key/update", s.keyUpdate},
		{"litellm-key-delete", http.MethodPost, "/key/delete", s.keyDelete},
		{"litellm-key-block", http.MethodPost, "/key/block", s.keyBlock(client.Blocked)},
		{"litellm-key-unblock", http.MethodPost, "/key/unblock", s.keyBlock(client.Unblocked)},
		{"litellm-key-regenerate", http.MethodPost, "/key/regenerate", s.keyRegenerate},
		{"litellm-key-info", http.MethodGet, "/key/info", s.keyInfo},
		{"litellm-key-list", http.MethodGet, "/key/list", s.keyList},
		{"litellm-team-new", http.MethodPost, "/team/new", s.teamNew},
		{"litellm-team-update", http.MethodPost, "/team/update", s.teamUpdate},
		{"litellm-team-delete", http.MethodPost, "/team/delete", s.teamDelete},
		{"litellm-team-block", http.MethodPost, "/team/block", s.teamBlock(client.Blocked)},
		{"litellm-team-unblock", http.MethodPost, "/team/unblock", s.teamBlock(client.Unblocked)},
		{"litellm-team-info", http.MethodGet, "/team/info", s.teamInfo},
		{"litellm-team-list", http.MethodGet, "/team/list", s.teamList},
		{"litellm-model-new", http.MethodPost, "/model/new", s.modelNew},
		{"litellm-model-delete", http.MethodPost, "/model/delete", s.modelDelete},
		{"litellm-model-info", http.MethodGet, "/model/info", s.modelInfo},
		{"litellm-v1-model-info", http.MethodGet, "/v1/model/info", s.modelInfo},
	} {
		s.handle(r.id, r.method, r.pattern, r.handler)
	}
}

// litellmTypes names the type of an error by its status, where no code says more.
var litellmTypes = map[int]string{
	http.StatusBadRequest:         "bad_request_error",
	http.StatusUnauthorized:       "auth_error",
	http.StatusForbidden:          "permission_error",
	http.StatusNotFound:           "not_found_error",
	http.StatusConflict:           "bad_request_error",
	http.StatusServiceUnavailable: "internal_server_error",
}

// writeOpenAIError is the one function that gives an error its status on these paths.
func (s *Server) writeOpenAIError(w http.ResponseWriter, err error) {
	var body struct {
		Error struct {
			Message string  `json:"message"`
			Type    string  `json:"type"`
			Param   *string `json:"param"`
			Code    string  `json:"code"`
		} `json:"error"`
	}
	p := s.problem(err)
	body.Error.Message = p.Detail
	body.Error.Type = cmp.Or(litellmTypes[p.Status], "internal_server_error")
	if len(p.Fields) > 0 {
		body.Error.Param = &p.Fields[0].Name
	}
	if e, ok := errors.AsType[*llm.Error](err); ok && e.Type != "" {
		body.Error.Type = e.Type
	}
	body.Error.Code = strconv.Itoa(p.Status)
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.Status)
	s.encode(w, body)
}

// answer writes v with the headers of a write.
func (s *Server) answer(w http.ResponseWriter, wr Written, v any) error {
	if wr.Index != "" {
		w.Header().Set(client.HeaderIndex, wr.Index)
	}
	if wr.Pending != "" {
		w.Header().Set(client.HeaderPending, wr.Pending)
	}
	w.Header().Set("Content-Type", "application/json")
	s.encode(w, v)
	return nil
}

func (s *Server) encode(w io.Writer, v any) {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		s.cfg.Logger.Debug("answer not written", "error", err)
	}
}

// readBody reads a body of LiteLLM's: fields that it does not know are ignored there and
// here, but see refuseUnsupported.
func readBody(r *http.Request) (document, error) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read body: %w", errors.Join(err, &llm.Error{Kind: llm.TooLarge, Message: "the body is over 1 MiB"}))
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return document{}, nil
	}
	return parseDocument(b)
}

// refuseUnsupported refuses fields that would bound what a key may do and that Conclave
// does not enforce: to ignore one would be to promise a limit that is not there. Null and
// empty values promise nothing.
func refuseUnsupported(doc document, names []string) error {
	for _, name := range names {
		switch string(bytes.TrimSpace(doc[name])) {
		case "", "null", "{}", "[]", `""`, "false":
		default:
			return invalid(name, "is not supported; the request was refused because ignoring it would change what it asks for")
		}
	}
	return nil
}

// pageOf reads LiteLLM's page and size, and gives the slice bounds for total records.
func pageOf(q url.Values, sizeName string, size int, total int) (page, pages, from, to int, err error) {
	page = 1
	for name, v := range map[string]*int{"page": &page, sizeName: &size} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		if *v, err = strconv.Atoi(text); err != nil || *v < 1 || *v > 1_000_000 {
			return 0, 0, 0, 0, invalid(name, "is not a positive number")
		}
	}
	size = min(size, 100)
	pages = (total + size - 1) / size
	from = min((page-1)*size, total)
	return page, pages, from, min(from+size, total), nil
}

// everyKey reads all keys that match, a page after the other.
func (s *Server) everyKey(q listQuery, visit func(*resource.Key)) error {
	q.Limit = 500
	for {
		items, next, _, err := s.keyPage(q)
		if err != nil {
			return err
		}
		for _, k := range items {
			visit(k)
		}
		if next == "" {
			return nil
		}
		q.Cursor = next
	}
}

// toModels reads LiteLLM's list of models. Its words for all models are the empty list;
// its word for none has no counterpart and is refused.
func toModels(doc document) error {
	var models []string
	if raw, ok := doc["models"]; !ok || isNull(raw) {
		return nil
	}
	if err := doc.take("models", &models); err != nil {
		return err
	}
	if slices.Contains(models, "no-default-models") {
		return invalid("models", "no-default-models is not supported")
	}
	if slices.Contains(models, "all-proxy-models") || slices.Contains(models, "all-team-models") {
		models = []string{}
	}
	return doc.set("models", models)
}
