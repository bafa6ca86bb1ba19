package resource

import (
	"encoding/json"
	"net/textproto"
	"slices"
	"strings"
)

// Hook is a moment of a request at which a guardrail is asked.
type Hook string

// The hooks.
const (
	HookBefore  Hook = "before"  // the request, before it is sent
	HookDuring  Hook = "during"  // the chunks of a stream
	HookAfter   Hook = "after"   // a whole answer
	HookFailure Hook = "failure" // an error, before the client gets it
	HookLogging Hook = "logging" // the record of a finished request, before a callback gets it
)

// OnError says what becomes of a request whose guardrail cannot be asked.
type OnError string

// The zero value of OnError is OnErrorBlock.
const (
	OnErrorBlock OnError = "block"
	OnErrorPass  OnError = "pass"
)

// Mode says whether what a guardrail decides is done.
type Mode string

// The zero value of Mode is ModeEnforce.
const (
	ModeEnforce Mode = "enforce"
	ModeObserve Mode = "observe" // it is recorded and not done
	// ModeLogOnly is for what is kept of requests and answers, and told to callbacks: they are served
	// as if the guardrail were not there.
	ModeLogOnly Mode = "log_only"
)

// Power is what an operator allows a guardrail beyond judging texts and rewriting them.
type Power string

// The powers.
const (
	MayModel      Power = "model"      // choose the request's model
	MayParameters Power = "parameters" // set and remove parameters of the request
	MayContent    Power = "content"    // set and remove its messages, tools and the like as a whole
	MayTags       Power = "tags"       // add tags, or replace those that the client named
	MayAnswer     Power = "answer"     // answer in the place of a model, and set and remove members of an answer
	MayRefuse     Power = "refuse"     // refuse with a status and a code of its own
	MayHeaders    Power = "headers"    // add headers to the answer
	MayError      Power = "error"      // replace errors
	MayRecord     Power = "record"     // edit and drop what callbacks are told
)

// Powers are all of them.
var Powers = []Power{MayModel, MayParameters, MayContent, MayTags, MayAnswer, MayRefuse, MayHeaders, MayError, MayRecord}

// Guardrail is a plugin that judges requests and answers.
type Guardrail struct {
	Meta
	Name       string          `json:"name,omitempty"`   // unique
	Plugin     string          `json:"plugin,omitempty"` // name of a shipped or registered plugin
	Hooks      []Hook          `json:"hooks,omitempty"`  // empty: all that the plugin declares
	OnError    OnError         `json:"on_error,omitempty"`
	Mode       Mode            `json:"mode,omitempty"`
	DeadlineMS int64           `json:"deadline_ms,omitempty"` // default 1000
	Models     []string        `json:"models,omitempty"`      // empty: requests for any model
	Optional   bool            `json:"optional,omitempty"`    // asked only if the request names it in "guardrails"
	Mandatory  bool            `json:"mandatory,omitempty"`   // no key, team or other holder switches it off
	May        []Power         `json:"may,omitempty"`         // empty: it only judges, and rewrites texts
	Headers    []string        `json:"headers,omitempty"`     // of requests, that the plugin may see
	Config     json.RawMessage `json:"config,omitempty"`      // the plugin's own
	// Secrets are fields of Config that are secret, by their names: "api_key", "headers.Authorization".
	Secrets   map[string]*Sealed `json:"secrets,omitempty"`
	Instances int64              `json:"instances,omitempty"` // processes on each node that share the checks; default 1
	MemoryMB  int64              `json:"memory_mb,omitempty"` // MiB of one process, above which it is killed; default 256
}

// Label implements Record.
func (g *Guardrail) Label() string { return g.Name }

// Canonicalize implements Record.
func (g *Guardrail) Canonicalize() {
	if g.OnError == "" {
		g.OnError = OnErrorBlock
	}
	if g.DeadlineMS == 0 {
		g.DeadlineMS = 1000
	}
}

// Validate implements Record.
func (g *Guardrail) Validate() error {
	if err := validName("name", g.Name); err != nil {
		return err
	}
	if err := validName("plugin", g.Plugin); err != nil {
		return err
	}
	if err := g.validWays(); err != nil {
		return err
	}
	if err := validTimeout("deadline_ms", g.DeadlineMS); err != nil {
		return err
	}
	if err := validNames("models", g.Models); err != nil {
		return err
	}
	if err := g.validPowers(); err != nil {
		return err
	}
	if len(g.Config) > 0 && !json.Valid(g.Config) {
		return invalidf("config", "is not JSON")
	}
	if err := validConfigSecrets(g.Config, g.Secrets); err != nil {
		return err
	}
	if g.Instances < 0 || g.Instances > MaxInstances {
		return invalidf("instances", "%d is not 0 (one) to %d", g.Instances, MaxInstances)
	}
	return validMemory(g.MemoryMB)
}

// Configured is Config with the secrets in their places, which open reads.
func (g *Guardrail) Configured(open func(field string, s *Sealed) (string, error)) (json.RawMessage, error) {
	return configured(g.Config, g.Secrets, open)
}

// Bounds of what a plugin may have on a node.
const (
	MaxInstances = 64
	minMemoryMB  = 16
	maxMemoryMB  = 1 << 20
)

// validMemory checks the bound of a plugin's memory.
func validMemory(mb int64) error {
	if mb != 0 && (mb < minMemoryMB || mb > maxMemoryMB) {
		return invalidf("memory_mb", "%d is not 0 (the default, 256) or %d to %d", mb, minMemoryMB, maxMemoryMB)
	}
	return nil
}

// validWays checks when the guardrail is asked, and what becomes of its answers.
func (g *Guardrail) validWays() error {
	for _, h := range g.Hooks {
		switch h {
		case HookBefore, HookDuring, HookAfter, HookFailure, HookLogging:
		default:
			return invalidf("hooks", "%q is not one of before, during, after, failure, logging", h)
		}
	}
	if g.OnError != "" && g.OnError != OnErrorBlock && g.OnError != OnErrorPass {
		return invalidf("on_error", "%q is not one of block, pass", g.OnError)
	}
	switch g.Mode {
	case "", ModeEnforce, ModeObserve, ModeLogOnly:
	default:
		return invalidf("mode", "%q is not one of enforce, observe, log_only", g.Mode)
	}
	if g.Optional && g.Mandatory {
		return invalidf("mandatory", "is for guardrails that are not optional")
	}
	return nil
}

// credentialHeaders hold credentials in one protocol or another: no plugin sees them.
var credentialHeaders = []string{
	"Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key", "Api-Key", "X-Litellm-Api-Key", "X-Goog-Api-Key",
	"X-Amz-Security-Token", "Ocp-Apim-Subscription-Key", "Sec-Websocket-Protocol",
}

// IsCredentialHeader says whether a header holds a credential. Names are compared as HTTP does.
func IsCredentialHeader(name string) bool {
	name = textproto.CanonicalMIMEHeaderKey(name)
	return slices.Contains(credentialHeaders, name) || strings.HasPrefix(name, "X-Mcp-")
}

// validPowers checks what the guardrail may see and do.
func (g *Guardrail) validPowers() error {
	for _, p := range g.May {
		if !slices.Contains(Powers, p) {
			names := make([]string, len(Powers))
			for i, p := range Powers {
				names[i] = string(p)
			}
			return invalidf("may", "%q is not one of %s", p, strings.Join(names, ", "))
		}
	}
	for _, name := range g.Headers {
		if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == ':' || r == '*' }) {
			return invalidf("headers", "%q is no name of a header", name)
		}
		if IsCredentialHeader(name) {
			return invalidf("headers", "%s holds credentials, which no plugin sees", name)
		}
	}
	return nil
}
