// Package policy checks what the settings of the cluster and the policies of a request's
// levels demand of it: where it comes from, what it names, how large it and its answer are.
// A request passes every level; what a level does not say, it allows. Nothing here allocates
// for a request that no policy is about.
package policy

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// The codes of refusals.
const (
	CodeAddress  = "address_not_allowed"
	CodeCustomer = "customer_blocked"
	CodeMissing  = "missing_required_parameter"
	CodeSession  = "missing_session_id"
	CodeRequest  = "request_too_large"
	CodeResponse = "response_too_large"
	CodeType     = "key_type_not_allowed"
	CodeValue    = "invalid_value"
)

// Bounds on what a request says about itself.
const (
	maxSaid = 1024 // bytes of a header that becomes part of a record
	maxName = 512  // bytes of an end user's id, and of a tag: each makes totals
	maxTags = 256  // of one request
)

// CheckRoute returns an error of kind Forbidden unless every level allows one of the paths,
// which are the one asked for and the one that it is another spelling of.
func CheckRoute(levels []resource.Level, path, other string) error {
	for i := range levels {
		p := levels[i].Policy
		if p == nil || resource.AllowsRoute(p.Routes, path) || resource.AllowsRoute(p.Routes, other) {
			continue
		}
		return &llm.Error{
			Kind: llm.Forbidden, Type: "auth_error", Code: "route_not_allowed",
			Message: "The API key may not call " + path + ".", Scope: levels[i].Kind, Entity: levels[i].ID,
		}
	}
	return nil
}

// CheckType returns an error of kind Forbidden for a key that is for the management only; key
// is nil for the master key.
func CheckType(key *resource.Key, path string) error {
	if key == nil || key.Type != resource.TypeManagement && key.Type != resource.TypeReadOnly {
		return nil
	}
	return &llm.Error{
		Kind: llm.Forbidden, Type: "auth_error", Code: CodeType, NoRetry: true,
		Message: "A key of the type " + string(key.Type) + " may not call " + path + ".", Scope: resource.HolderKey, Entity: key.ID,
	}
}

// Said reads a header, whose name is in canonical form, unless it is too long to be meant.
func Said(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 && len(v[0]) <= maxSaid {
		return text(v[0])
	}
	return ""
}

// text is the text of a header's value. One that is not UTF-8 is Latin-1, as HTTP has it.
func text(value string) string {
	if utf8.ValidString(value) {
		return value
	}
	var b strings.Builder
	for i := range len(value) {
		b.WriteRune(rune(value[i]))
	}
	return b.String()
}

// Customer is the id of the end user: from the headers, those of LiteLLM first and then the
// mapped ones, else from the body's user, safety_identifier and metadata.user_id; "" for none.
// It returns an error of kind Invalid, naming where the id stands, for one that nothing can be counted for.
func Customer(h http.Header, s *resource.Settings, f *llm.Fields) (string, error) {
	for _, name := range [...]string{"X-Litellm-End-User-Id", "X-Litellm-Customer-Id"} {
		if v := h.Get(name); v != "" {
			return checkName("header", name, text(v))
		}
	}
	for _, name := range s.CustomerHeaders {
		if v := h.Get(name); v != "" {
			return checkName("header", name, text(v))
		}
	}
	switch {
	case f.User != "":
		return checkName("field", "user", f.User)
	case f.SafetyIdentifier != "":
		return checkName("field", "safety_identifier", f.SafetyIdentifier)
	case f.MetadataUser != "":
		return checkName("field", "metadata.user_id", f.MetadataUser)
	}
	return "", nil
}

// checkName returns a name that totals can be kept by; it stands in the header or the field of that name.
func checkName(in, of, name string) (string, error) {
	why := ""
	switch {
	case len(name) > maxName:
		why = "at most " + strconv.Itoa(maxName) + " bytes long, not " + strconv.Itoa(len(name))
	case !utf8.ValidString(name):
		why = "UTF-8"
	default:
		return name, nil
	}
	of = strings.ToLower(of)
	return "", &llm.Error{Kind: llm.Invalid, Code: CodeValue, Param: of, Message: "The " + in + " " + of + " must be " + why + "."}
}

// Session is the id of the agent session that the request belongs to: from the headers, else
// from the body; "" for none.
func Session(h http.Header, f *llm.Fields) string {
	for _, name := range [...]string{"X-Litellm-Session-Id", "X-Litellm-Trace-Id"} {
		if v := Said(h, name); v != "" {
			return v
		}
	}
	return f.SessionID
}

// Wishes reads what the client says about attempts in headers, where the body does not say it.
func Wishes(h http.Header, f *llm.Fields) error {
	if v := Said(h, "X-Litellm-Num-Retries"); v != "" && !f.HasRetries {
		n, err := strconv.Atoi(v)
		if err != nil || n < 0 || n > llm.MaxRetries {
			return badHeader("x-litellm-num-retries", "a whole number up to "+strconv.Itoa(llm.MaxRetries))
		}
		f.Retries, f.HasRetries = n, true
	}
	if v := Said(h, "X-Litellm-Timeout"); v != "" && f.Timeout == 0 {
		d, ok := llm.ParseSeconds(v)
		if !ok {
			return badHeader("x-litellm-timeout", "a number of seconds above 0, up to a day")
		}
		f.Timeout = d
	}
	return nil
}

func badHeader(name, want string) error {
	return &llm.Error{Kind: llm.Invalid, Code: CodeValue, Param: name, Message: "The header " + name + " must be " + want + "."}
}

// Tags are the request's own, of body and header, and those that its levels give every
// request, each once. It returns own itself if there are no others, and an error of kind Invalid for
// tags that nothing can be counted for, or too many.
func Tags(h http.Header, levels []resource.Level, own []string) ([]string, error) {
	own = slices.Clip(own)
	for _, tag := range own {
		if _, err := checkName("field", "tags", tag); err != nil {
			return nil, err
		}
	}
	for tag := range strings.SplitSeq(text(h.Get("X-Litellm-Tags")), ",") {
		tag, err := checkName("header", "x-litellm-tags", strings.TrimSpace(tag))
		if err != nil {
			return nil, err
		}
		if own = addTag(own, tag); len(own) > maxTags {
			return nil, badHeader("x-litellm-tags", "such that the request has at most "+strconv.Itoa(maxTags)+" tags")
		}
	}
	for i := range levels {
		if p := levels[i].Policy; p != nil {
			for _, tag := range p.Tags {
				own = addTag(own, tag)
			}
		}
	}
	return own, nil
}

func addTag(tags []string, tag string) []string {
	if tag == "" || slices.Contains(tags, tag) {
		return tags
	}
	return append(tags, tag)
}

// Guardrails are those that the request asks for and those of its levels. It returns asked
// itself if there are no others.
func Guardrails(levels []resource.Level, asked []string) []string {
	asked = slices.Clip(asked)
	for i := range levels {
		if p := levels[i].Policy; p != nil {
			for _, name := range p.Guardrails {
				asked = addTag(asked, name)
			}
		}
	}
	return asked
}

// CheckCustomer refuses a request of a blocked end user; record is his, nil if he has none.
func CheckCustomer(id string, s *resource.Settings, record *resource.Customer) error {
	blocked := record != nil && record.Blocked || s.BlockedCustomers.Has(id)
	if id == "" || !blocked {
		return nil
	}
	return &llm.Error{
		Kind: llm.Invalid, Code: CodeCustomer, Param: "user", Scope: resource.HolderCustomer, Entity: id, NoRetry: true,
		Message: "The end user " + strconv.Quote(id) + " is blocked.",
	}
}

// NoBudget is the error of a request of an end user whose shared budget is not there: it is never let through without.
func NoBudget() error {
	return &llm.Error{
		Kind: llm.Unavailable, Code: "conclave_catalog_incomplete", RetryAfter: time.Second, Scope: resource.HolderCustomer,
		Message: "The shared budget that end users have here (customer_budget of the key, its team, its organization, or of the settings) does not exist. An administrator has to make it, or to name another.",
	}
}

// CheckExpiry refuses a request once one of the levels has expired. Who is behind the key learns it
// as of a blocked level; an end user as of a blocked one; a tag may not be used any more.
func CheckExpiry(levels []resource.Level, now time.Time) error {
	for i := range levels {
		l := &levels[i]
		if l.Policy == nil || !l.Policy.ExpiredAt(resource.At(now)) {
			continue
		}
		e := &llm.Error{Kind: llm.Unauthenticated, Type: "auth_error", Code: l.Kind + "_expired", Param: "key", Scope: l.Kind, Entity: l.ID, NoRetry: true}
		e.Message = "The " + l.Kind + " of the API key has expired."
		switch l.Kind {
		case resource.HolderCustomer:
			e.Kind, e.Type, e.Param = llm.Invalid, "", "user"
			e.Message = "The end user " + strconv.Quote(l.ID) + " has expired."
		case resource.HolderTag:
			e.Kind, e.Type, e.Param = llm.Forbidden, "", "tags"
			e.Message = "The tag " + strconv.Quote(l.ID) + " has expired."
		}
		return e
	}
	return nil
}

// CheckParams refuses a body that lacks what the settings or a level enforce. key is nil for
// the master key; customer is the end user that the request names.
func CheckParams(body []byte, s *resource.Settings, key *resource.Key, levels []resource.Level, customer string) error {
	if s.EnforceUser && customer == "" {
		return missing("user")
	}
	var room [16]string
	names := required(room[:0], s, key, levels)
	if len(names) == 0 {
		return nil
	}
	if name := llm.Missing(body, names); name != "" {
		return missing(name)
	}
	return nil
}

// required appends the parameters that the settings and the levels enforce.
func required(names []string, s *resource.Settings, key *resource.Key, levels []resource.Level) []string {
	names = append(names, s.EnforcedParams...)
	if key != nil && key.ServiceAccount() {
		names = append(names, s.ServiceAccountParams...)
	}
	for i := range levels {
		if p := levels[i].Policy; p != nil {
			names = append(names, p.EnforcedParams...)
		}
	}
	return names
}

// Absent lists the enforced parameters that a body lacks, each once.
func Absent(body []byte, s *resource.Settings, key *resource.Key, levels []resource.Level) []string {
	var absent []string
	for _, name := range required(nil, s, key, levels) {
		if llm.Missing(body, []string{name}) != "" {
			absent = addTag(absent, name)
		}
	}
	return absent
}

// CheckAbsent is CheckParams for a body of which only Absent is known.
func CheckAbsent(absent []string, s *resource.Settings, key *resource.Key, levels []resource.Level, customer string) error {
	if s.EnforceUser && customer == "" {
		return missing("user")
	}
	for _, name := range required(nil, s, key, levels) {
		if slices.Contains(absent, name) {
			return missing(name)
		}
	}
	return nil
}

func missing(name string) error {
	return &llm.Error{
		Kind: llm.Invalid, Code: CodeMissing, Param: name,
		Message: "The request must have the parameter " + strconv.Quote(name) + ".",
	}
}

// CheckSession refuses a request without a session where a level wants one.
func CheckSession(levels []resource.Level, session string) error {
	if session != "" {
		return nil
	}
	for i := range levels {
		if p := levels[i].Policy; p != nil && p.Sessions != nil && p.Sessions.RequireTraceID {
			return &llm.Error{
				Kind: llm.Invalid, Code: CodeSession, Param: "litellm_session_id", Scope: levels[i].Kind, Entity: levels[i].ID,
				Message: "The request must name its session: send the header x-litellm-session-id or x-litellm-trace-id, or litellm_session_id in the body.",
			}
		}
	}
	return nil
}

// RequestLimit is the most bytes that a request's body may have: the smallest of all.
func RequestLimit(s *resource.Settings, levels []resource.Level) int64 {
	return smallest(s.MaxBodyBytes, levels)
}

// formRoom is what the form around a file may take.
const formRoom = 64 << 10

// FileLimit is RequestLimit for uploads of files.
func FileLimit(s *resource.Settings, levels []resource.Level) int64 {
	return smallest(s.MaxFileBytes+formRoom, levels)
}

func smallest(limit int64, levels []resource.Level) int64 {
	for i := range levels {
		if p := levels[i].Policy; p != nil && p.MaxRequestMB != nil {
			limit = min(limit, *p.MaxRequestMB<<20)
		}
	}
	return limit
}

// CheckSize refuses a body of so many bytes that is over the limit.
func CheckSize(size, limit int64) error {
	if size <= limit {
		return nil
	}
	return &llm.Error{
		Kind: llm.TooLarge, Code: CodeRequest, Count: &llm.Count{Of: llm.CountRequestBytes, Limit: limit, Left: limit, Asked: size},
		Message: "The request body is larger than " + strconv.FormatInt(limit, 10) + " bytes.",
	}
}

// ResponseLimit is the most bytes that an answer may have: the smallest of all; 0: any number.
func ResponseLimit(s *resource.Settings, levels []resource.Level) int64 {
	limit := s.MaxResponseBytes
	for i := range levels {
		if p := levels[i].Policy; p != nil && p.MaxResponseMB != nil {
			if n := *p.MaxResponseMB << 20; limit == 0 || n < limit {
				limit = n
			}
		}
	}
	return limit
}

// ErrResponse is the error of an answer that is over the limit.
func ErrResponse(limit int64) error {
	return &llm.Error{
		Kind: llm.TooLarge, Status: http.StatusBadGateway, Code: CodeResponse, NoRetry: true,
		Count:   &llm.Count{Of: llm.CountResponseBytes, Limit: limit, Left: limit, Asked: limit + 1}, // nobody reads on
		Message: "The answer is larger than " + strconv.FormatInt(limit, 10) + " bytes.",
	}
}

// Told says of which callbacks are told of the request: those that its levels choose, and behind
// resource.WithoutCallback those that it does without, as the metadata of its levels and its header
// x-litellm-disable-callbacks list them. With no-log it does without all that may be done without. Settings may heed neither.
func Told(h http.Header, f *llm.Fields, s *resource.Settings, levels []resource.Level) []string {
	if f.NoLog && !s.KeepLog {
		return []string{resource.NoCallbacks}
	}
	chosen := resource.ChosenCallbacks(levels)
	if s.KeepCallbacks {
		return chosen
	}
	for i := range levels {
		if p := levels[i].Policy; p != nil {
			for _, name := range p.WithoutCallbacks() {
				chosen = append(chosen, resource.WithoutCallback+name)
			}
		}
	}
	for name := range strings.SplitSeq(Said(h, "X-Litellm-Disable-Callbacks"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			chosen = append(chosen, resource.WithoutCallback+name)
		}
	}
	return chosen
}

// Redacted says that the request wants no prompt and no answer of its own kept in logs.
func Redacted(h http.Header) bool {
	v := Said(h, "X-Litellm-Enable-Message-Redaction")
	if v == "" {
		return false // an error of ParseBool would cost an allocation
	}
	on, err := strconv.ParseBool(v)
	return err == nil && on
}

// Keeps says whether what a request says is kept: nobody forbids it, and the cluster or one of the credential's
// levels wants it.
func Keeps(levels []resource.Level, s *resource.Settings) bool {
	var rule resource.ContentRule
	for i := range levels {
		rule.Add(levels[i].Kind, levels[i].Policy)
	}
	return rule.Age(s) > 0
}

// Private says that a level wants no prompt and no answer kept.
func Private(levels []resource.Level) bool {
	for i := range levels {
		if p := levels[i].Policy; p != nil && p.Private() {
			return true
		}
	}
	return false
}
