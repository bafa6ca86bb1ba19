package llm

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxTokenCount bounds every count of tokens that is read from outside, so that sums and
// products of them stay far from overflowing.
const MaxTokenCount = 1 << 40

// maxChoices bounds "n" and "best_of".
const maxChoices = 1 << 20

// maxFallbacks bounds the fallbacks that a request may name, and MaxRetries its num_retries.
const (
	maxFallbacks = 8
	MaxRetries   = 10
)

// maxNames bounds the tags and the guardrails that a request may name.
const maxNames = 256

// A field is a member at the top of a request's body that the gateway acts on.
type field uint8

const (
	fieldModel field = iota
	fieldStream
	fieldStreamOptions
	fieldMaxTokens
	fieldMaxCompletionTokens
	fieldMaxOutputTokens
	fieldN
	fieldBestOf
	fieldUser
	fieldMetadata
	fieldMessages
	fieldContents
	fieldContent
	fieldRequests
	fieldPrompt
	fieldInput
	fieldInstructions
	fieldSystem
	fieldSystemInstruction
	fieldTools
	fieldToolConfig
	fieldFunctions
	fieldResponseFormat
	fieldTags
	fieldGuardrails
	fieldPromptCacheKey
	fieldSafetyIdentifier
	fieldSessionID
	fieldTraceID
	fieldFallbacks
	fieldDisableFallbacks
	fieldNoLog
	fieldNumRetries
	fieldTimeout
	fieldServiceTier
	fieldPromptID
	fieldPromptVariables
	fieldPromptVersion
	fieldPromptLabel
	fieldPromptEnvironment
	fieldGenerationConfig
	fieldInferenceConfig
	numFields
)

// fieldNames are the fields as OpenAI spells them, and the gateway's own.
var fieldNames = [numFields]string{
	"model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "max_output_tokens",
	"n", "best_of", "user", "metadata", "messages", "contents", "content", "requests", "prompt", "input", "instructions", "system",
	"systemInstruction", "tools", "toolConfig", "functions", "response_format", "tags", "guardrails", "prompt_cache_key",
	"safety_identifier", "litellm_session_id", "litellm_trace_id", "fallbacks", "disable_fallbacks", "no-log", "num_retries", "timeout", "service_tier",
	"prompt_id", "prompt_variables", "prompt_version", "prompt_label", "prompt_environment",
	"generationConfig", "inferenceConfig",
}

// ownFields are those that only the gateway understands.
var ownFields = [...]field{
	fieldTags, fieldGuardrails, fieldSessionID, fieldTraceID, fieldFallbacks, fieldDisableFallbacks, fieldNoLog, fieldNumRetries, fieldTimeout,
	fieldPromptID, fieldPromptVariables, fieldPromptVersion, fieldPromptLabel, fieldPromptEnvironment,
}

// OwnFields are the names of the fields at the top that only the gateway understands.
func OwnFields() []string {
	names := make([]string, len(ownFields))
	for i, id := range ownFields {
		names[i] = fieldNames[id]
	}
	return names
}

// span is where a member stands in the body: its name begins at key, its value is [start, end).
// The zero value means that it is not there, for no member begins at byte 0.
type span struct{ key, start, end int }

// Fields is what the gateway reads of a request in OpenAI's shape. The rest of the body is
// relayed unseen.
type Fields struct {
	Model  string // "" if absent
	Stream bool
	// IncludeUsage says that the client asked for the usage chunk of a stream.
	IncludeUsage bool
	// MaxTokens is the larger of the limits on output that are given, 0 for none.
	MaxTokens int64
	// N is the number of completions that are made (the larger of n and best_of), at least 1.
	N int64
	// User, SafetyIdentifier and MetadataUser (metadata.user_id) may name the end user.
	User, SafetyIdentifier, MetadataUser string
	// SessionID is that of the agent session: litellm_session_id, else litellm_trace_id, else in
	// metadata litellm_session_id, session_id, litellm_trace_id or trace_id; "" for none.
	SessionID string
	CacheKey  string   // prompt_cache_key
	Tags      []string // tags and metadata.tags
	// Guardrails are the names in guardrails and metadata.guardrails.
	Guardrails []string
	// Permissions are the names that are true in metadata.permissions, as LiteLLM has it: those of guardrails
	// that there are add these.
	Permissions []string
	HasTools    bool // tools or functions are given and not empty
	// HasMCP says that tools may name servers of the Model Context Protocol, or mcp_servers is given.
	HasMCP bool
	// Fallbacks are the models to try in the place of the configured ones; none of them if
	// NoFallbacks.
	Fallbacks   []string
	NoFallbacks bool
	NoLog       bool // no-log: callbacks that may be done without are not told
	// Retries is how many further attempts the client wants, if HasRetries; Timeout is an
	// attempt's, 0 if the client does not say.
	Retries    int
	HasRetries bool
	Timeout    time.Duration
	// PromptID names a stored prompt that the request is to be made of; "": none.
	PromptID string
	Service  Service // the tier of service that is asked for
	// Redirect is the first member at the top that chooses an address, a credential or a provider
	// where the upstream is a gateway itself, such as "api_base"; "" if there is none. Nothing here
	// acts on it, but who relays it lets the client choose.
	Redirect string
	// Refers says that a member may name what a provider keeps: a conversation, a container or a cached content.
	Refers bool
	// PromptBytes is the size of everything that becomes prompt tokens; MediaBytes, a part
	// of it, is the size of base64 data URLs, which cost far fewer tokens than bytes.
	PromptBytes, MediaBytes int64

	spans   [numFields]span
	session uint8 // rank of what SessionID was read from; lower ones win, 0 is none
	include span  // of include_usage in stream_options
	nested  span  // of the limit on output in generationConfig or inferenceConfig
	end     int   // of the members: where the closing brace is
	members int
}

// Peek checks that body is one JSON object and reads the fields that the gateway acts on.
// It refuses, with an *Error of kind Invalid, a body in which such a field stands twice, under
// any spelling of its name (escapes, upper case), because readers disagree on which one counts.
func Peek(body []byte) (Fields, error) {
	f := Fields{N: 1}
	s := scanner{b: body}
	if !utf8.Valid(body) {
		return f, &Error{Kind: Invalid, Code: "invalid_json", Message: "The request body is not valid UTF-8."}
	}
	if !s.enter('{') {
		return f, s.invalid()
	}
	for ; s.next('}', f.members); f.members++ {
		s.space()
		at := s.i
		key := s.key()
		id, err := identifyGoogle(key, fieldNames[:])
		if err != nil {
			return f, err
		}
		if id < 0 {
			f.notice(key)
			s.value()
		} else if err := f.take(&s, field(id), at); err != nil {
			return f, err
		}
	}
	f.end = s.i - 1
	s.finish()
	if !s.ok() {
		return f, s.invalid()
	}
	return f, nil
}

// SetPrompt says how many tokens the prompt has, and how many of them are media, of a request that
// has none in its body: the sizes are those that an estimate takes for so many.
func (f *Fields) SetPrompt(tokens, media int64) {
	const perToken, perMedia = 3, 64 // bytes, as package quote has them
	f.MediaBytes = media * perMedia
	f.PromptBytes = (tokens-media)*perToken + f.MediaBytes
}

// notice looks whether the raw name of a member is one that redirects.
func (f *Fields) notice(raw []byte) {
	var buf [64]byte
	if bytes.IndexByte(raw, '\\') >= 0 && len(raw) <= 6*len(buf) {
		raw = appendUnescaped(buf[:0], raw)
	}
	switch string(raw) {
	case "mcp_servers":
		f.HasMCP = true
	case "conversation", "container", "video", "cachedContent", "cached_content":
		f.Refers = true
	case "api_base", "base_url", "api_key", "api_version", "custom_llm_provider", "litellm_credential_name",
		"organization", "azure_ad_token", "azure_ad_token_provider", "vertex_credentials", "vertex_project", "vertex_location",
		"aws_access_key_id", "aws_secret_access_key", "aws_session_token", "aws_region_name", "aws_role_name",
		"aws_bedrock_runtime_endpoint", "model_list", "user_config":
		if f.Redirect == "" {
			f.Redirect = string(raw)
		}
	}
}

// invalid makes the error of a body that is not JSON.
func (s *scanner) invalid() error {
	return &Error{
		Kind: Invalid, Code: "invalid_json",
		Message: fmt.Sprintf("The request body is not valid JSON: %s at byte %d.", s.why, s.i),
	}
}

// invalidField makes the error of a field with a wrong value.
func invalidField(name, what string) error {
	return &Error{
		Kind: Invalid, Code: "invalid_value", Param: name,
		Message: fmt.Sprintf("Invalid value for %q: %s.", name, what),
	}
}

// identify returns the place of a member's raw name in names, -1 if it is none of them, and an
// error if it is a different spelling of one.
func identify(raw []byte, names []string) (int, error) {
	for i, n := range names {
		if string(raw) == n {
			return i, nil
		}
	}
	name := raw
	var buf [128]byte
	if bytes.IndexByte(raw, '\\') >= 0 {
		if len(raw) > len(buf) {
			return -1, nil // six bytes a letter: longer than any of ours
		}
		name = appendUnescaped(buf[:0], raw)
	}
	for i, n := range names {
		if string(name) == n {
			return i, nil
		}
		if len(name) >= len(n) && len(name) <= 3*len(n) && strings.EqualFold(n, string(name)) {
			return -1, &Error{
				Kind: Invalid, Code: "invalid_field_name", Param: n,
				Message: fmt.Sprintf("The field %q must be spelled %q.", name, n),
			}
		}
	}
	return -1, nil
}

// take reads the value of a field whose name begins at byte at.
func (f *Fields) take(s *scanner, id field, at int) error {
	name := fieldNames[id]
	if f.spans[id].end != 0 {
		return &Error{
			Kind: Invalid, Code: "duplicate_field", Param: name,
			Message: fmt.Sprintf("The field %q stands in the body twice, again at byte %d.", name, at),
		}
	}
	s.space()
	start, media := s.i, s.media
	err := f.read(s, id, name)
	f.spans[id] = span{at, start, s.i}
	if !s.ok() {
		return s.invalid()
	}
	if id.isPrompt() {
		f.PromptBytes += int64(s.i - start)
		f.MediaBytes += s.media - media
	}
	return err
}

// isPrompt says that the field's value becomes prompt tokens.
func (id field) isPrompt() bool { return id >= fieldMessages && id <= fieldResponseFormat }

// read reads the value of a field.
func (f *Fields) read(s *scanner, id field, name string) (err error) { //nolint:gocyclo // one table of cases
	switch id {
	case fieldModel:
		f.Model, err = s.text(name)
	case fieldUser:
		f.User, err = s.text(name)
	case fieldSafetyIdentifier:
		f.SafetyIdentifier, err = s.text(name)
	case fieldPromptID:
		f.PromptID, err = s.text(name)
	case fieldPromptCacheKey:
		f.CacheKey, err = s.text(name)
	case fieldServiceTier:
		f.Service = s.service()
	case fieldStream:
		f.Stream, err = s.boolean(name)
	case fieldStreamOptions:
		err = f.streamOptions(s)
	case fieldMaxTokens, fieldMaxCompletionTokens, fieldMaxOutputTokens:
		err = s.most(&f.MaxTokens, name, math.MaxInt64)
		f.MaxTokens = min(f.MaxTokens, MaxTokenCount)
	case fieldN, fieldBestOf:
		err = s.most(&f.N, name, maxChoices)
	case fieldMetadata:
		err = f.metadata(s)
	case fieldTags:
		f.Tags, err = s.names(name, f.Tags)
	case fieldGuardrails:
		f.Guardrails, err = s.names(name, f.Guardrails)
	case fieldTools, fieldFunctions:
		start := s.i
		f.HasTools = s.filled() || f.HasTools
		f.HasMCP = f.HasMCP || mayNameMCP(s.b[start:s.i])
		f.Refers = f.Refers || bytes.Contains(s.b[start:s.i], []byte(`"container"`))
	case fieldGenerationConfig, fieldInferenceConfig:
		err = f.config(s, name)
	default:
		err = f.readOwn(s, id, name)
	}
	return err
}

// configNames are what is read of Google's generationConfig and Bedrock's inferenceConfig.
var configNames = []string{"maxOutputTokens", "maxTokens", "candidateCount"}

// config reads the limits of a request that has them in an object of their own.
func (f *Fields) config(s *scanner, name string) error {
	for n := 0; enterObject(s, n) && s.next('}', n); n++ {
		s.space()
		at := s.i
		id, err := identifyGoogle(s.key(), configNames)
		if err != nil {
			return err
		}
		s.space()
		start := s.i
		switch {
		case id < 0:
			s.value()
		case id == 2:
			err = s.most(&f.N, name+"."+configNames[id], maxChoices)
		case f.nested.end != 0:
			return invalidField(name, configNames[id]+" stands in it twice")
		default:
			err = s.most(&f.MaxTokens, name+"."+configNames[id], math.MaxInt64)
			f.MaxTokens = min(f.MaxTokens, MaxTokenCount)
			f.nested = span{at, start, s.i}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readOwn reads the value of one of the gateway's own fields, or passes over any other.
func (f *Fields) readOwn(s *scanner, id field, name string) (err error) {
	switch id {
	case fieldSessionID, fieldTraceID:
		var session string
		session, err = s.text(name)
		f.setSession(session, uint8(1+id-fieldSessionID))
	case fieldFallbacks:
		err = f.fallbacks(s, name)
	case fieldDisableFallbacks:
		f.NoFallbacks, err = s.boolean(name)
	case fieldNoLog:
		f.NoLog, err = s.boolean(name)
	case fieldNumRetries:
		err = f.retries(s, name)
	case fieldTimeout:
		f.Timeout, err = s.waiting(name)
	default:
		s.value()
	}
	return err
}

// setSession takes a session's id, unless one of a lower rank was there.
func (f *Fields) setSession(id string, rank uint8) {
	if id != "" && (f.session == 0 || rank < f.session) {
		f.SessionID, f.session = id, rank
	}
}

// fallbacks reads a list of models, each by its name or as an object with "model".
func (f *Fields) fallbacks(s *scanner, name string) error {
	what := fmt.Sprintf("must be an array of at most %d models", maxFallbacks)
	if s.space() != '[' {
		if v := s.value(); s.ok() && string(v) != "null" {
			return invalidField(name, what)
		}
		return nil
	}
	s.enter('[')
	for n := 0; s.next(']', n); n++ {
		v := s.value()
		if !s.ok() {
			break
		}
		model := modelOf(v)
		if model == "" || n == maxFallbacks {
			return invalidField(name, what)
		}
		f.Fallbacks = append(f.Fallbacks, model)
	}
	f.NoFallbacks = f.NoFallbacks || s.ok() && len(f.Fallbacks) == 0
	return nil
}

// modelOf is the model that an entry of fallbacks names, "" if it is wrong: it may be an
// object with nothing but "model".
func modelOf(v []byte) string {
	if v[0] == '"' {
		return unquote(v)
	}
	s := scanner{b: v}
	model := ""
	s.enter('{')
	for n := 0; s.next('}', n); n++ {
		if s.name() != "model" || n > 0 {
			return ""
		}
		if s.space() != '"' {
			return ""
		}
		model = unquote(s.value())
	}
	return model
}

// retries reads num_retries.
func (f *Fields) retries(s *scanner, name string) error {
	if s.space() == 'n' {
		s.value()
		return nil
	}
	n, ok := s.integer(MaxRetries)
	if !ok && s.ok() {
		return invalidField(name, fmt.Sprintf("must be a whole number up to %d", MaxRetries))
	}
	f.Retries, f.HasRetries = int(n), true
	return nil
}

// waiting takes a time-out: a number of seconds, or null.
func (s *scanner) waiting(name string) (time.Duration, error) {
	v := s.value()
	if !s.ok() || string(v) == "null" {
		return 0, nil
	}
	d, ok := ParseSeconds(string(v))
	if !ok {
		return 0, invalidField(name, "must be a number of seconds above 0, up to a day")
	}
	return d, nil
}

// ParseSeconds reads a time-out in seconds, as clients of LiteLLM write it.
func ParseSeconds(text string) (time.Duration, bool) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n != n || n <= 0 || n > 24*3600 {
		return 0, false
	}
	return max(time.Duration(n*float64(time.Second)), time.Millisecond), true
}

var streamOptionNames = []string{"include_usage"}

// streamOptions reads stream_options.
func (f *Fields) streamOptions(s *scanner) error {
	if s.peekByte() != '{' {
		if v := s.value(); s.ok() && string(v) != "null" {
			return invalidField("stream_options", "must be an object")
		}
		return nil
	}
	s.enter('{')
	for n := 0; s.next('}', n); n++ {
		s.space()
		at := s.i
		id, err := identify(s.key(), streamOptionNames)
		switch {
		case err != nil:
			return err
		case id < 0:
			s.value()
			continue
		case f.include.end != 0:
			return invalidField("stream_options", "include_usage stands in it twice")
		}
		s.space()
		start := s.i
		if f.IncludeUsage, err = s.boolean("stream_options.include_usage"); err != nil {
			return err
		}
		f.include = span{at, start, s.i}
	}
	return nil
}

// metadataNames ends with the names of a session, from firstSession on, the best first.
var metadataNames = [...]string{
	"tags", "guardrails", "user_id", "permissions", "litellm_session_id", "session_id", "litellm_trace_id", "trace_id",
}

const firstSession = 4 // in metadataNames

// metadata reads the names that the gateway acts on in metadata. The rest of it is the client's
// own, so what is not in the expected form there is not wrong, but means nothing.
func (f *Fields) metadata(s *scanner) error {
	if s.peekByte() != '{' {
		s.value()
		return nil
	}
	s.enter('{')
	seen := 0
	for n := 0; s.next('}', n); n++ {
		id := slices.Index(metadataNames[:], s.name())
		if id < 0 {
			s.value()
			continue
		}
		if seen&(1<<id) != 0 {
			return invalidField("metadata", metadataNames[id]+" stands in it twice")
		}
		seen |= 1 << id
		f.fromMetadata(s, id)
	}
	return nil
}

// fromMetadata takes the value of the name at the place in metadataNames.
func (f *Fields) fromMetadata(s *scanner, id int) {
	c := s.space()
	switch {
	case id == 0 && c == '[':
		f.Tags = s.strings(f.Tags)
	case id == 1 && c == '[':
		f.Guardrails = s.strings(f.Guardrails)
	case id == 1 && c == '"':
		f.Guardrails = append(f.Guardrails, unquote(s.value()))
	case id == 2 && c == '"':
		f.MetadataUser = unquote(s.value())
	case id == 3 && c == '{':
		f.Permissions = s.granted(f.Permissions)
	case id >= firstSession && c == '"':
		f.setSession(unquote(s.value()), uint8(id))
	default:
		s.value()
	}
}

// name takes a member's name and the colon and returns its text.
func (s *scanner) name() string {
	k := s.key()
	if bytes.IndexByte(k, '\\') < 0 {
		return string(k)
	}
	return string(appendUnescaped(nil, k))
}

// strings takes an array and appends those of its elements that are strings to list.
func (s *scanner) strings(list []string) []string {
	s.enter('[')
	for n := 0; s.next(']', n); n++ {
		if v := s.value(); len(v) > 0 && v[0] == '"' && len(list) < maxNames {
			list = append(list, unquote(v))
		}
	}
	return list
}

// granted takes an object and appends the names of its members that are true to list.
func (s *scanner) granted(list []string) []string {
	s.enter('{')
	for n := 0; s.next('}', n); n++ {
		name := s.name()
		if v := s.value(); string(v) == "true" && len(list) < maxNames {
			list = append(list, name)
		}
	}
	return list
}

// text takes a string or null.
func (s *scanner) text(name string) (string, error) {
	v := s.value()
	switch {
	case !s.ok() || string(v) == "null":
		return "", nil
	case v[0] != '"':
		return "", invalidField(name, "must be a string")
	}
	return unquote(v), nil
}

// unquote gives the text of a string whose syntax was checked.
func unquote(v []byte) string {
	if len(v) < 2 {
		return "" // an error was met
	}
	v = v[1 : len(v)-1]
	if bytes.IndexByte(v, '\\') < 0 {
		return string(v)
	}
	return string(appendUnescaped(make([]byte, 0, len(v)), v))
}

// most takes a whole number, or null, and raises n to it.
func (s *scanner) most(n *int64, name string, limit int64) error {
	v, ok := s.integer(limit)
	if *n = max(*n, v); !ok && s.ok() {
		return invalidField(name, "must be a whole number within bounds")
	}
	return nil
}

// mayNameMCP says whether tools may be of the type "mcp" or "mcp_toolset", under any spelling.
func mayNameMCP(tools []byte) bool {
	return bytes.Contains(tools, []byte(`"mcp"`)) || bytes.Contains(tools, []byte(`"mcp_toolset"`)) || bytes.Contains(tools, []byte(`\u00`))
}

// filled takes a value and says whether it is an array with elements.
func (s *scanner) filled() bool {
	v := s.value()
	return len(v) > 2 && v[0] == '[' && len(bytes.TrimSpace(v[1:len(v)-1])) > 0
}

// boolean takes true, false or null.
func (s *scanner) boolean(name string) (bool, error) {
	switch v := s.value(); string(v) {
	case "true":
		return true, nil
	case "false", "null", "":
		return false, nil
	}
	return false, invalidField(name, "must be true or false")
}

// names takes an array of strings, or null, and appends them to list.
func (s *scanner) names(name string, list []string) ([]string, error) {
	if s.space() != '[' {
		if v := s.value(); s.ok() && string(v) != "null" {
			return list, invalidField(name, "must be an array of strings")
		}
		return list, nil
	}
	s.enter('[')
	for n := 0; s.next(']', n); n++ {
		v := s.value()
		if !s.ok() {
			break
		}
		if v[0] != '"' {
			return list, invalidField(name, "must be an array of strings")
		}
		if len(list) == maxNames {
			return list, invalidField(name, "has too many entries")
		}
		list = append(list, unquote(v))
	}
	return list, nil
}
