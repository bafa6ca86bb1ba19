package guardrail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/conclave-llm/conclave/resource"
)

// Bounds of what a verdict may have.
const (
	maxHeaders    = 32   // headers
	maxHeaderText = 4096 // bytes of a name and its value
	maxCode       = 64   // bytes of a code
	maxMessage    = 4096 // bytes of the message of an error
	maxTags       = 64   // tags
)

// contents are the members of a request that hold its conversation, its tools or what else a model is
// given, in any of the dialects; all others are parameters.
var contents = []string{
	"messages", "input", "instructions", "system", "prompt", "suffix", "contents", "systeminstruction", "system_instruction", "tools", "functions",
	"toolconfig", "tool_config", "cachedcontent", "cached_content", "additionalmodelrequestfields", "query", "documents", "document", "requests", "content", "text", "texts", "image", "mask", "state",
	"questions", "assets", "entities",
}

// fixed are the members of a request that no guardrail sets: for whom it is, how it is judged, and what
// was decided when its body was read. A model and tags have fields of their own.
var fixed = []string{
	"model", "stream", "user", "safety_identifier", "metadata", "litellm_metadata", "tags", "guardrails", "no-log", "no_log", "fallbacks", "disable_fallbacks",
	"context_window_fallbacks", "content_policy_fallbacks", "num_retries", "max_retries", "timeout", "litellm_session_id", "litellm_trace_id", "prompt_id", "prompt_variables",
	"prompt_version", "prompt_label", "prompt_environment", "previous_response_id", "conversation", "background", "store", "mcp_servers",
}

// reserved begin the names of headers that are the gateway's own.
var reserved = []string{
	"x-conclave-", "x-litellm-", "x-ratelimit-", "x-request-id", "x-accel-", "x-forwarded-", "x-should-retry", "x-amzn-", "x-amz-", "x-goog-", "x-ms-", "x-content-type-options", "x-frame-options",
}

// Permits returns why a verdict at the hook is not taken from a guardrail that may do so much, of a
// request of which so much is open; nil: it is taken.
func Permits(hook resource.Hook, v *Verdict, may, open Powers) error {
	need, err := v.needs(hook)
	if err != nil {
		return fmt.Errorf("plugin: %w", err)
	}
	for bit := Powers(1); bit <= need; bit <<= 1 {
		switch {
		case need&bit&^may != 0:
			return fmt.Errorf("plugin: wants the power %q, which the guardrail's \"may\" does not have", bit.name())
		case need&bit&^open != 0:
			return fmt.Errorf("plugin: wants the power %q, which does not apply to this request", bit.name())
		}
	}
	return nil
}

// needs are the powers that a verdict takes at the hook. An error says that it cannot be.
func (v *Verdict) needs(hook resource.Hook) (need Powers, err error) {
	if len(v.Headers) > 0 {
		need |= MayHeaders
		if err := checkHeaders(v.Headers); err != nil {
			return 0, err
		}
	}
	switch hook {
	case resource.HookFailure:
		more, err := v.needsOfFailure()
		return need | more, err
	case resource.HookLogging:
		return v.needsOfRecord()
	}
	before := hook == resource.HookBefore
	switch v.Action {
	case Answer:
		if !before {
			return 0, fmt.Errorf("an answer at the hook %s", hook)
		}
		return need | MayAnswer, nil
	case Block:
		more, err := v.needsOfBlock(before)
		return need | more, err
	case Rewrite:
		if v.Change == nil {
			return need, nil
		}
		more, err := v.Change.needs(hook)
		return need | more, err
	}
	return need, nil
}

// needsOfBlock are the powers that a refusal takes.
func (v *Verdict) needsOfBlock(before bool) (Powers, error) {
	switch {
	case v.Status == 0 && v.Code == "":
		return 0, nil
	case !before:
		return 0, errors.New("a status or a code of its own for what is no request")
	case v.Status != 0 && (v.Status < 400 || v.Status > 499):
		return 0, fmt.Errorf("a block with the status %d", v.Status)
	}
	return MayRefuse, checkCode(v.Code)
}

// needsOfFailure are the powers that a verdict about an error takes.
func (v *Verdict) needsOfFailure() (Powers, error) {
	f := v.Failure
	switch {
	case v.Action == Pass:
		return 0, nil
	case v.Action != Rewrite || f == nil || v.Change != nil || len(v.Replacements) > 0:
		return 0, fmt.Errorf("the verdict %s about an error", v.Action)
	case f.Status != 0 && (f.Status < 400 || f.Status > 599):
		return 0, fmt.Errorf("the status %d for an error", f.Status)
	case len(f.Message) > maxMessage:
		return 0, errors.New("a message of an error that is too long")
	}
	return MayError, checkCode(f.Code)
}

// needsOfRecord are the powers that a verdict about a record takes.
func (v *Verdict) needsOfRecord() (Powers, error) {
	switch {
	case v.Action == Pass:
		return 0, nil
	case v.Action == Answer || v.Action == Rewrite && v.Record == nil || v.Change != nil || len(v.Replacements) > 0:
		return 0, fmt.Errorf("the verdict %s about a record", v.Action)
	}
	return MayRecord, nil
}

// needs are the powers that the change takes at the hook.
func (c *Change) needs(hook resource.Hook) (need Powers, err error) {
	if len(c.Set) > 0 || len(c.Remove) > 0 {
		names, err := memberNames(c.Set)
		if err != nil {
			return 0, err
		}
		for _, name := range append(names, c.Remove...) {
			bit, err := powerOver(name, hook)
			if err != nil {
				return 0, err
			}
			need |= bit
		}
	}
	if c.Model == "" && len(c.Tags) == 0 && !c.ReplaceTags {
		return need, nil
	}
	if hook != resource.HookBefore {
		return 0, fmt.Errorf("another model or tags at the hook %s", hook)
	}
	if c.Model != "" {
		need |= MayModel
	}
	if len(c.Tags) == 0 && !c.ReplaceTags {
		return need, nil
	}
	return need | MayTags, checkTags(c.Tags)
}

func checkTags(tags []string) error {
	if len(tags) > maxTags || slices.ContainsFunc(tags, func(t string) bool { return t == "" || len(t) > maxHeaderText }) {
		return errors.New("tags that cannot be")
	}
	return nil
}

// powerOver is the power that setting or removing the member takes.
func powerOver(name string, hook resource.Hook) (Powers, error) {
	switch hook {
	case resource.HookAfter:
		return MayAnswer, nil
	case resource.HookBefore:
		name = strings.ToLower(name)
		switch {
		case slices.Contains(fixed, name):
			return 0, fmt.Errorf("the member %q cannot be changed", name)
		case slices.Contains(contents, name):
			return MayContent, nil
		}
		return MayParameters, nil
	}
	return 0, fmt.Errorf("a change at the hook %s", hook)
}

// checkHeaders looks at headers for the client.
func checkHeaders(hs []Header) error {
	if len(hs) > maxHeaders {
		return fmt.Errorf("%d headers", len(hs))
	}
	for _, h := range hs {
		name := strings.ToLower(h.Name)
		switch {
		case !strings.HasPrefix(name, "x-") || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "":
			return errors.New("a header whose name does not begin with x- or is none")
		case slices.ContainsFunc(reserved, func(own string) bool { return strings.HasPrefix(name, own) }):
			return fmt.Errorf("the header %s, which is the gateway's own", name)
		case len(name)+len(h.Value) > maxHeaderText || strings.ContainsFunc(h.Value, func(r rune) bool { return r < ' ' || r > '~' }):
			return fmt.Errorf("the header %s with a value that is long or not printable ASCII", name)
		}
	}
	return nil
}

// checkCode looks at a code of an error: it is one word.
func checkCode(code string) error {
	if len(code) > maxCode || strings.ContainsFunc(code, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' }) {
		return errors.New("a code that is not one short word")
	}
	return nil
}

// member is one of an object's.
type member struct {
	name  string
	value []byte
	done  bool
}

// readMembers reads the members of a JSON object in their order; none of nothing.
func readMembers(object []byte, o ...jsontext.Options) ([]member, error) {
	if len(object) == 0 {
		return nil, nil
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(object), o...)
	if dec.PeekKind() != '{' {
		return nil, errors.New("what is to be set is no JSON object")
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	var out []member
	for dec.PeekKind() != '}' {
		name, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		text := name.String()
		value, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		out = append(out, member{name: text, value: bytes.Clone(value)})
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return out, nil
}

func memberNames(object []byte) ([]string, error) {
	all, err := readMembers(object)
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].name
	}
	return names, err
}

// editMembers is the object with the members of set in the place of those with their names, or behind
// all, and without those to remove, unless set has them. What stays keeps its bytes.
func editMembers(object, set []byte, remove []string) ([]byte, error) {
	have, err := readMembers(object, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return nil, err
	}
	puts, err := readMembers(set)
	if err != nil {
		return nil, err
	}
	var all []member
	for _, m := range have {
		i := slices.IndexFunc(puts, func(p member) bool { return p.name == m.name })
		switch {
		case i < 0 && !slices.Contains(remove, m.name):
			all = append(all, m)
		case i >= 0 && !puts[i].done:
			all = append(all, puts[i])
			puts[i].done = true
		}
	}
	for _, p := range puts {
		if !p.done {
			all = append(all, p)
		}
	}
	out := append(make([]byte, 0, len(object)+len(set)), '{')
	for i, m := range all {
		if i > 0 {
			out = append(out, ',')
		}
		if out, err = jsontext.AppendQuote(out, m.name); err != nil {
			return nil, err
		}
		out = append(append(out, ':'), m.value...)
	}
	return append(out, '}'), nil
}
