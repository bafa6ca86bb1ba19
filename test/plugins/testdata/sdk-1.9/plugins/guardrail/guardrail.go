// Package guardrail holds the contract of guardrail plugins: what a plugin implements, its
// gRPC client and server, and the Chain that asks the guardrails of a request in turn.
//
// The host extracts every text of a body (Texts), the plugin judges texts and never sees
// JSON unless it asks for it, and the host splices what a plugin rewrites back into the
// body with all other bytes kept.
package guardrail

import (
	"context"
	"errors"
	"strconv"

	"github.com/conclave-llm/conclave/plugins/proto"
	"github.com/conclave-llm/conclave/resource"
)

// MaxMessage is the largest message in bytes that the host sends or accepts from a plugin.
// A check that does not fit is not made, which on_error decides.
const (
	MaxMessage = 48 << 20 // host to plugin: texts and, if wanted, the body
	MaxAnswer  = 8 << 20  // plugin to host
)

// Errors of a check that was not made.
var (
	ErrNotRunning = errors.New("guardrail is not running")
	ErrNoStreams  = errors.New("plugin does not check streams")
	ErrTokens     = errors.New("token ids cannot be checked") // nobody but who serves the model knows of which text they are
)

// Action is what a guardrail decides.
type Action uint8

// The actions. The zero value is Pass.
const (
	Pass Action = iota
	Rewrite
	Block
	Answer // in the place of a model (resource.HookBefore)
)

// String names the action.
func (a Action) String() string { return [...]string{"pass", "rewrite", "block", "answer"}[a] }

// Info says what is checked. No field holds a secret.
type Info struct {
	RequestID string
	Endpoint  string // "chat", "completions", "embeddings", …
	Model     string // the name that the client asked for
	KeyID     string
	TeamID    string
	User      string // the request's own "user"
	Stream    bool

	// Models asks models on the account of the request; nil: none may be asked. A plugin's is never nil, and
	// answers only while the check is under way; those of streams have none.
	Models Models
}

// Text is one JSON string of a body, unescaped.
type Text struct {
	Path string // "messages.0.content"
	Role string // "user", "assistant", …; empty outside of messages
	Text string
}

// Check is a request before it is sent (HookBefore), a whole answer (HookAfter), an error
// (HookFailure) or a record (HookLogging).
type Check struct {
	Hook    resource.Hook
	Info    Info
	Texts   []Text
	Body    []byte   // raw JSON, only if the plugin's Description says WantsBody
	Headers []Header // of the request: those that the Description names and the operator allows
	Caller  *Caller  // only if the Description says WantsCaller
	Failure *Failure // at HookFailure
	Record  *Logged  // at HookLogging
}

// Replacement is a new text for Check.Texts[Index] or, in a stream, for the bytes from Start to End
// of a channel's text, counted from the stream's beginning. None of them may have left: what begins
// within the hold-back has not.
type Replacement struct {
	Index int
	Text  string

	Channel    string // "": not in a stream
	Start, End int64
}

// Verdict is a plugin's answer to a check. The zero value passes.
type Verdict struct {
	Action       Action
	Message      string        // of a block, for the client; must not repeat what was blocked
	Replacements []Replacement // of a rewrite
	Findings     []Finding     // whatever the action is

	// What follows needs a power that the operator gives: without it the check counts as not run.

	Change      *Change  // of a rewrite, beside the replacements
	Answer      string   // of Answer: the text of the whole answer, which the gateway says in the client's dialect
	Body        []byte   // of Answer, in the place of the text: the whole answer in the client's dialect, of MaxBody bytes at most
	ContentType string   // of Body; "": application/json. FormsOf says what an endpoint takes
	Status      int      // of a block at HookBefore, 400 to 499; 0: the gateway's
	Code        string   // likewise; one word
	Headers     []Header // for the client, whatever the action is; their names begin with "x-"
	Failure     *Failure // of a rewrite at HookFailure
	Record      *Logged  // of a rewrite at HookLogging
}

// Finding says what was found, never its text: it is logged.
type Finding struct {
	Category string  // in the plugin's own words: "email", "hate"
	Count    int     // how often; 0 is once
	Score    float64 // 0 to 1; 0 where the plugin does not score
}

// String says it in few words: "email 2", "hate 0.91".
func (f Finding) String() string {
	out := f.Category
	if f.Count > 1 {
		out += " " + strconv.Itoa(f.Count)
	}
	if f.Score > 0 {
		out += " " + strconv.FormatFloat(f.Score, 'f', 2, 64)
	}
	return out
}

// Part continues one of the texts that a stream carries side by side.
type Part struct {
	Channel string // "choices#0.delta.content": same channel, same text
	Text    string
}

// Description is what a configured plugin says about itself.
type Description struct {
	Version  string          // of the plugin, for display
	Hooks    []resource.Hook // that the plugin wants; the others cost nothing
	HoldBack int             // bytes of each text that must be seen beyond a byte before it may leave a stream
	HoldAll  bool            // nothing of a stream leaves before its end has been checked
	// WantsBody asks for Check.Body. Texts are cheaper. Of a stream it is the whole answer that its events make, in
	// the client's dialect, or {"events": […]} where they are of none that the gateway puts together.
	WantsBody bool
	// WantsHeaders names headers of requests. Check.Headers has those of them that the operator allows, too.
	WantsHeaders []string
	WantsCaller  bool // asks for Check.Caller
	// SDKMinor is that of the contract which the plugin was built against; 0: older than 5. The
	// SDK fills it in.
	SDKMinor uint32
}

// Settings are what a plugin is configured with.
type Settings struct {
	Name        string // of the guardrail, unique in the cluster
	Config      []byte // JSON object, the plugin's own; may be empty
	HostVersion string
	HostMinor   uint32 // of the contract that the host speaks; 0: older than 5
}

// Plugin is what the author of a guardrail implements. Configure is called once, before
// anything else; a changed configuration starts a new process. Check is called concurrently.
type Plugin interface {
	Configure(ctx context.Context, s Settings) (Description, error)
	Check(ctx context.Context, c *Check) (Verdict, error)
}

// Streamer is a Plugin that checks the chunks of streams (resource.HookDuring).
type Streamer interface {
	OpenStream(ctx context.Context, info *Info) (Stream, error)
}

// Stream checks one stream. Its methods are called one after the other.
type Stream interface {
	// Chunk judges the next parts, and may replace what has been seen and not left.
	Chunk(ctx context.Context, parts []Part) (Verdict, error)
	// End judges what is left when the stream is over.
	End(ctx context.Context) (Verdict, error)
	// Close frees what the stream holds. It may be called without End.
	Close()
}

// hooks pairs the hooks of records and of the wire.
var hooks = map[resource.Hook]proto.Hook{
	resource.HookBefore: proto.Hook_HOOK_BEFORE,
	resource.HookDuring: proto.Hook_HOOK_DURING,
	resource.HookAfter:  proto.Hook_HOOK_AFTER,

	resource.HookFailure: proto.Hook_HOOK_FAILURE,
	resource.HookLogging: proto.Hook_HOOK_LOGGING,
}

func hookOf(p proto.Hook) (resource.Hook, bool) {
	for h, q := range hooks {
		if p == q {
			return h, true
		}
	}
	return "", false
}
