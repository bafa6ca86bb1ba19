package reply_test

import (
	"encoding/json"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/provider/providertest"
	"github.com/conclave-llm/conclave/provider/providertest/vendors"
	"github.com/conclave-llm/conclave/proxy/reply"
)

// said is what a client reads of an error, whatever its shape.
type said struct {
	typ, code, message string
	again              time.Duration // within the body; 0: it is not there
}

// typesOf are the types that a vendor's reference has for a status. The last are those of all others
// that are as bad.
type typesOf struct {
	of     map[int][]string
	client []string
	server []string
}

func (t typesOf) has(status int, typ string) bool {
	if list, ok := t.of[status]; ok {
		return slices.Contains(list, typ)
	}
	if status < 500 {
		return slices.Contains(t.client, typ)
	}
	return slices.Contains(t.server, typ)
}

// clientShapes are the shapes in which errors are told to clients, and how such a client reads them.
var clientShapes = []struct {
	vendor llm.Vendor
	types  typesOf
	read   func(t *testing.T, status int, body []byte) said
}{
	{
		llm.VendorOpenAI,
		typesOf{
			map[int][]string{401: {"authentication_error"}, 403: {"permission_error"}, 429: {"rate_limit_error", "insufficient_quota", "tokens", "requests"}, 498: {"server_error"}},
			[]string{"invalid_request_error", "not_found_error", "timeout_error", "tokens", "image_generation_user_error"},
			[]string{"internal_server_error", "server_error", "api_error", "overloaded_error", "timeout_error"},
		},
		readOpenAI,
	},
	{
		llm.VendorAnthropic,
		typesOf{
			map[int][]string{
				401: {"authentication_error"}, 402: {"billing_error"}, 403: {"permission_error"}, 404: {"not_found_error"}, 408: {"timeout_error"}, 413: {"request_too_large"},
				429: {"rate_limit_error"}, 503: {"overloaded_error"}, 504: {"timeout_error"}, 529: {"overloaded_error"},
			},
			[]string{"invalid_request_error"},
			[]string{"api_error"},
		},
		readAnthropic,
	},
	{
		llm.VendorGoogle,
		typesOf{
			map[int][]string{
				401: {"UNAUTHENTICATED"}, 402: {"RESOURCE_EXHAUSTED"}, 403: {"PERMISSION_DENIED"}, 404: {"NOT_FOUND"}, 409: {"ABORTED"}, 429: {"RESOURCE_EXHAUSTED"},
				499: {"CANCELLED"}, 501: {"UNIMPLEMENTED"}, 502: {"UNAVAILABLE"}, 503: {"UNAVAILABLE"}, 504: {"DEADLINE_EXCEEDED"},
			},
			[]string{"INVALID_ARGUMENT"},
			[]string{"INTERNAL"},
		},
		readGoogle,
	},
}

func decode(t *testing.T, body []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(body, v); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
}

func readOpenAI(t *testing.T, _ int, body []byte) said {
	t.Helper()
	var got struct {
		Error struct{ Message, Type, Code string }
	}
	decode(t, body, &got)
	return said{typ: got.Error.Type, code: got.Error.Code, message: got.Error.Message}
}

func readAnthropic(t *testing.T, _ int, body []byte) said {
	t.Helper()
	var got struct {
		Type  string
		Error struct{ Message, Type, Code string }
	}
	if decode(t, body, &got); got.Type != "error" {
		t.Errorf("it is a %q: %s", got.Type, body)
	}
	return said{typ: got.Error.Type, code: got.Error.Code, message: got.Error.Message}
}

func readGoogle(t *testing.T, status int, body []byte) said {
	t.Helper()
	var got struct {
		Error struct {
			Code            int
			Message, Status string
			Details         []struct{ Reason, RetryDelay string }
		}
	}
	if decode(t, body, &got); got.Error.Code != status {
		t.Errorf("its code is %d with status %d: %s", got.Error.Code, status, body)
	}
	s := said{typ: got.Error.Status, message: got.Error.Message}
	for _, d := range got.Error.Details {
		if d.Reason != "" {
			s.code = d.Reason
		}
		if d.RetryDelay != "" {
			s.again, _ = time.ParseDuration(d.RetryDelay)
		}
	}
	return s
}

var word = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// TestRecordedErrors: every recorded error of a provider's reaches clients of OpenAI, Anthropic and Google with
// its status, when to come again, a type that the vendor's reference has for the status, a code that is a word,
// its message, and whose it is.
func TestRecordedErrors(t *testing.T) {
	t.Parallel()
	told := map[string]bool{}
	for _, r := range vendors.Recorded() {
		p, _ := provider.Lookup(r.Provider)
		for _, x := range providertest.Load(t, "../../provider/"+r.File) {
			if x.Status == 0 && !x.Want.Error {
				continue
			}
			told[r.File+x.Name] = true
			for _, shape := range clientShapes {
				t.Run(r.Provider+"/"+x.Name+"/"+strconv.Itoa(int(shape.vendor)), func(t *testing.T) {
					e := x.Classify(p)
					e.Body, e.FromProvider = nil, true // as of one that speaks another dialect
					rec := httptest.NewRecorder()
					var w reply.HTTPWriter
					w.Reset(rec, 0)
					reply.WriteError(&w, e, shape.vendor)
					checkTold(t, &x.Want, e, rec, shape.types, shape.read(t, rec.Code, rec.Body.Bytes()))
				})
			}
		}
	}
	if len(told) < 100 {
		t.Errorf("%d recorded errors, want at least 100", len(told))
	}
	t.Logf("%d recorded errors in %d shapes", len(told), len(clientShapes))
}

func checkTold(t *testing.T, want *providertest.Want, e *llm.Error, rec *httptest.ResponseRecorder, types typesOf, got said) {
	t.Helper()
	wait := time.Duration(want.RetryAfterMS) * time.Millisecond
	after := ""
	if wait > 0 {
		after = strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10)
	}
	h := rec.Header()
	if rec.Code != want.HTTPStatus || h.Get("Retry-After") != after || h.Get("X-Conclave-Error-Origin") != "provider" || h.Get("Content-Type") != "application/json" {
		t.Errorf("got %d and %v, want %d, to come again after %q seconds, from the provider", rec.Code, h, want.HTTPStatus, after)
	}
	if !types.has(rec.Code, got.typ) {
		t.Errorf("the type of a %d is %q: %s", rec.Code, got.typ, rec.Body)
	}
	if !word.MatchString(got.code) || want.Code != got.code && word.MatchString(want.Code) && want.Code != strconv.Itoa(want.HTTPStatus) {
		t.Errorf("the code is %q, want %q: %s", got.code, want.Code, rec.Body)
	}
	if got.message == "" || got.message != e.Message {
		t.Errorf("the message is %q, want %q", got.message, e.Message)
	}
	if got.again != 0 && got.again.Truncate(time.Millisecond) != wait {
		t.Errorf("the body says to come again after %v, want %v", got.again, wait)
	}
}
