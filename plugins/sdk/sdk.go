// Package sdk is what the author of a Conclave plugin in Go imports. A plugin is a program
// whose main calls ServeGuardrail, ServeCallback, ServeSecretSource, ServeAuth, ServeRouterFilter or
// ServeProvider; Conclave starts it, configures it once and speaks gRPC with it over a Unix socket. See docs/plugins.md.
package sdk

import (
	"cmp"
	"io"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/conclave-llm/conclave/plugins/auth"
	"github.com/conclave-llm/conclave/plugins/callback"
	"github.com/conclave-llm/conclave/plugins/contract"
	"github.com/conclave-llm/conclave/plugins/guardrail"
	"github.com/conclave-llm/conclave/plugins/modelserver"
	"github.com/conclave-llm/conclave/plugins/routerfilter"
	"github.com/conclave-llm/conclave/plugins/secretsource"
	"github.com/conclave-llm/conclave/resource"
	"github.com/conclave-llm/conclave/secret"
)

// ProtocolVersion is the version of the contract in plugins/proto. A host offers all versions
// that it speaks; a plugin picks the newest that it knows.
const ProtocolVersion = contract.Protocol

// Minor counts what was added within the protocol version. A plugin finds the host's in its
// settings (HostMinor); one that needs more than the host has says so with an error of Configure.
const Minor = contract.Minor

// Guardrail is what the author of a guardrail implements; it may implement GuardrailStreamer too.
type Guardrail = guardrail.Plugin

// GuardrailStreamer is a Guardrail that checks streams.
type GuardrailStreamer = guardrail.Streamer

// GuardrailStream checks one stream.
type GuardrailStream = guardrail.Stream

// GuardrailSettings are what a guardrail is configured with.
type GuardrailSettings = guardrail.Settings

// GuardrailDescription is what a configured guardrail says about itself.
type GuardrailDescription = guardrail.Description

// Check is a request before it is sent, or a whole answer.
type Check = guardrail.Check

// Info says what is checked.
type Info = guardrail.Info

// Text is one text of a body.
type Text = guardrail.Text

// Part continues one of the texts of a stream.
type Part = guardrail.Part

// Verdict is the answer to a check.
type Verdict = guardrail.Verdict

// Replacement is a new text for one of a Check.
type Replacement = guardrail.Replacement

// Finding says what was found, never its text.
type Finding = guardrail.Finding

// Header is a header of a request or of an answer.
type Header = guardrail.Header

// Caller says for whom a request is.
type Caller = guardrail.Caller

// RequestChange is what a guardrail changes of a request beside its texts, or of a whole answer.
type RequestChange = guardrail.Change

// Failure is an error as the client gets it.
type Failure = guardrail.Failure

// LoggedRecord is what a callback is about to be told.
type LoggedRecord = guardrail.Logged

// Callback is what the author of a callback implements.
type Callback = callback.Plugin

// CallbackAuditor is a Callback that may be a sink of the audit log.
type CallbackAuditor = callback.Auditor

// AuditEntry tells who changed what.
type AuditEntry = resource.AuditEntry

// CallbackSettings are what a callback is configured with.
type CallbackSettings = callback.Settings

// CallbackDescription is what a configured callback says about itself.
type CallbackDescription = callback.Description

// Record tells of one finished request.
type Record = callback.Record

// CallbackRefused is what Deliver returns if the next record will never be taken.
type CallbackRefused = callback.Refused

// ErrCallbackDenied is wrapped by an error of Deliver if the sink does not accept the credentials.
var ErrCallbackDenied = callback.ErrDenied

// SecretSource is what the author of a secret source implements.
type SecretSource = secretsource.Plugin

// SecretSourceSettings are what a secret source is configured with.
type SecretSourceSettings = secretsource.Settings

// SecretSourceDescription is what a configured secret source says about itself.
type SecretSourceDescription = secretsource.Description

// SecretAddress says which secret of a store.
type SecretAddress = secretsource.Address

// SecretValue is a secret as the store has it now.
type SecretValue = secretsource.Value

// SecretWriter is a SecretSource that also writes to its store.
type SecretWriter = secretsource.Writer

// SecretWritten is a secret that is to be in a store.
type SecretWritten = secretsource.Written

// SecretError is why a secret could not be read or written.
type SecretError = secretsource.Error

// Why a secret could not be read.
const (
	SecretNotFound    = secretsource.NotFound    // the store has no such secret or field
	SecretDenied      = secretsource.Denied      // the store does not let the plugin do it
	SecretMalformed   = secretsource.Malformed   // the path or the field cannot be one of the store's
	SecretUnavailable = secretsource.Unavailable // the store cannot be asked now
)

// Auth is what the author of an auth plugin implements; it may implement AuthKeys too.
type Auth = auth.Plugin

// AuthKeys is an Auth that fills in or refuses the keys that people make.
type AuthKeys = auth.KeyPlugin

// AuthSettings are what an auth plugin is configured with.
type AuthSettings = auth.Settings

// AuthDescription is what a configured auth plugin says about itself.
type AuthDescription = auth.Description

// AuthHook is what an auth plugin is asked about.
type AuthHook = auth.Hook

// What an auth plugin may be asked about, and told beside the credential and the configured headers.
const (
	AuthCredential  = auth.HookCredential
	AuthGenerateKey = auth.HookGenerateKey
	AuthUpdateKey   = auth.HookUpdateKey
	AuthMethod      = auth.WantMethod
	AuthPath        = auth.WantPath
	AuthAddress     = auth.WantAddress
)

// Credential is what a request came with.
type Credential = auth.Credential

// AuthAnswer says who a request comes from, or that it must not come in; zero leaves it to others.
type AuthAnswer = auth.Answer

// Identity says who a request comes from.
type Identity = auth.Identity

// AuthRefusal keeps a request out.
type AuthRefusal = auth.Refusal

// KeyDraft is a key as it would be written.
type KeyDraft = auth.KeyDraft

// KeyVerdict is the answer to a KeyDraft.
type KeyVerdict = auth.KeyVerdict

// RouterFilter is what the author of a router filter implements.
type RouterFilter = routerfilter.Plugin

// RouterFilterSettings are what a router filter is configured with.
type RouterFilterSettings = routerfilter.Settings

// RouterFilterDescription is what a configured router filter says about itself.
type RouterFilterDescription = routerfilter.Description

// Route is a request, and who could answer it.
type Route = routerfilter.Route

// Candidate is a deployment that could answer a request.
type Candidate = routerfilter.Candidate

// Provider is what the author of a provider implements, beside ProviderChatter, ProviderEmbedder or both.
type Provider = modelserver.Plugin

// ProviderChatter is a Provider that answers chat completions.
type ProviderChatter = modelserver.Chatter

// ProviderStreamer is a ProviderChatter that streams.
type ProviderStreamer = modelserver.Streamer

// ProviderEmbedder is a Provider that makes embeddings.
type ProviderEmbedder = modelserver.Embedder

// ProviderSettings are what a provider is configured with.
type ProviderSettings = modelserver.Settings

// ProviderDescription is what a configured provider says about itself.
type ProviderDescription = modelserver.Description

// ProviderRequest is a request of a client, as the deployment is to be asked.
type ProviderRequest = modelserver.Request

// ProviderError is why there is no answer, as OpenAI's errors have it.
type ProviderError = modelserver.Error

// NewSecret makes a text that no log and no error shows.
func NewSecret(text string) secret.Text { return secret.New(text) }

// Hook is a moment of a request at which a guardrail is asked.
type Hook = resource.Hook

// The hooks.
const (
	Before    = resource.HookBefore  // the request, before it is sent
	During    = resource.HookDuring  // the chunks of a streamed answer
	After     = resource.HookAfter   // a whole answer
	OnFailure = resource.HookFailure // an error, before the client gets it
	Logging   = resource.HookLogging // the record of a finished request, before a callback gets it
)

// Pass lets a request, an answer or a chunk go on.
func Pass() Verdict { return Verdict{} }

// Block refuses it. The client sees the message, which must not repeat what was found.
func Block(message string) Verdict { return Verdict{Action: guardrail.Block, Message: message} }

// Rewrite replaces texts of a request or a whole answer.
func Rewrite(rs ...Replacement) Verdict {
	return Verdict{Action: guardrail.Rewrite, Replacements: rs}
}

// Change changes the request, or a whole answer, beside its texts. Like all that follow here, it needs a power
// that the operator gives to the guardrail ("may"), and a host of minor 7.
func Change(c RequestChange) Verdict { return Verdict{Action: guardrail.Rewrite, Change: &c} }

// Answer answers a conversation or a transcription in the place of a model, with a text that the gateway says in
// the client's dialect.
func Answer(text string) Verdict { return Verdict{Action: guardrail.Answer, Answer: text} }

// AnswerBody answers a request in the place of a model, with a body in the client's dialect: of speech the audio and
// its content type, else one JSON object ("" is application/json). Info says which endpoint it is and whether it
// streams; docs/plugins.md has what each takes. It needs a host of minor 9.
func AnswerBody(contentType string, body []byte) Verdict {
	return Verdict{Action: guardrail.Answer, ContentType: cmp.Or(contentType, "application/json"), Body: body}
}

// Refuse refuses the request with a status of 400 to 499 and a code of the plugin's own.
func Refuse(status int, code, message string) Verdict {
	return Verdict{Action: guardrail.Block, Status: status, Code: code, Message: message}
}

// Fail puts another error in the place of one (OnFailure); what is empty stays.
func Fail(f Failure) Verdict { return Verdict{Action: guardrail.Rewrite, Failure: &f} }

// Edit puts another record in the place of one (Logging). Block keeps it from the callback.
func Edit(r LoggedRecord) Verdict { return Verdict{Action: guardrail.Rewrite, Record: &r} }

// Handshake is what host and plugin must agree on. It is no secret: it keeps a plugin from
// being run by hand.
func Handshake() goplugin.HandshakeConfig {
	return goplugin.HandshakeConfig{
		ProtocolVersion:  ProtocolVersion,
		MagicCookieKey:   "CONCLAVE_PLUGIN",
		MagicCookieValue: "c2f1a6b40a5d",
	}
}

// ServeGuardrail runs the guardrail until the host ends it. It does not return before.
func ServeGuardrail(impl Guardrail) {
	serve(goplugin.PluginSet{guardrail.PluginKey: &guardrail.GRPCPlugin{Impl: impl}})
}

// ServeCallback runs the callback until the host ends it. It does not return before.
func ServeCallback(impl Callback) {
	serve(goplugin.PluginSet{callback.PluginKey: &callback.GRPCPlugin{Impl: impl}})
}

// ServeSecretSource runs the secret source until the host ends it. It does not return before.
func ServeSecretSource(impl SecretSource) {
	serve(goplugin.PluginSet{secretsource.PluginKey: &secretsource.GRPCPlugin{Impl: impl}})
}

// ServeAuth runs the auth plugin until the host ends it. It does not return before.
func ServeAuth(impl Auth) {
	serve(goplugin.PluginSet{auth.PluginKey: &auth.GRPCPlugin{Impl: impl}})
}

// ServeRouterFilter runs the router filter until the host ends it. It does not return before.
func ServeRouterFilter(impl RouterFilter) {
	serve(goplugin.PluginSet{routerfilter.PluginKey: &routerfilter.GRPCPlugin{Impl: impl}})
}

// ServeProvider runs the provider until the host ends it. It does not return before.
func ServeProvider(impl Provider) {
	serve(goplugin.PluginSet{modelserver.PluginKey: &modelserver.GRPCPlugin{Impl: impl}})
}

func serve(set goplugin.PluginSet) {
	go watchParent(os.Getppid(), time.Second)
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  Handshake(),
		VersionedPlugins: map[int]goplugin.PluginSet{ProtocolVersion: set},
		GRPCServer:       newServer,
		Logger:           hclog.New(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off}),
	})
}

func newServer(opts []grpc.ServerOption) *grpc.Server {
	return grpc.NewServer(append(opts,
		grpc.MaxRecvMsgSize(guardrail.MaxMessage),
		grpc.MaxSendMsgSize(guardrail.MaxAnswer),
		grpc.InitialWindowSize(1<<20),
		grpc.InitialConnWindowSize(1<<20),
	)...)
}

// watchParent ends the process when its host is gone. On Linux the kernel does so before; this
// is for other systems, and for a plugin that was started by a wrapper.
func watchParent(parent int, every time.Duration) {
	for range time.Tick(every) {
		if os.Getppid() != parent {
			os.Exit(3)
		}
	}
}
