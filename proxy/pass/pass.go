// Package pass knows what a request in a provider's own words needs on its way: which paths lead
// to which providers, which deployment's credential may be used, where the request goes, and
// which of the client's headers go with it. What a request may do, cost and say, the data path
// decides as it does for all others.
package pass

import (
	"cmp"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider"
	"github.com/conclave-llm/conclave/proxy/router"
	"github.com/conclave-llm/conclave/resource"
)

// Option is the option of a deployment, or of its credential, that lets requests in the provider's
// own words use it when it is "true". Without it no path of the provider is open to anyone.
const Option = "use_in_pass_through"

// Prefix is the beginning of paths that lead to some providers.
type Prefix struct {
	Path      string // without a slash at its end
	Providers []string
	Below     []string // the only paths below it that are meant, each with what is below it; none: all
	Verb      string   // the only method, and of the paths of Below alone; "": any
}

// documented are the providers that serve what OpenAI's document has.
var documented = []string{"openai", "azure", "custom_openai", "openai_like", "litellm_proxy", "hosted_vllm"}

// Files are the paths of files and batches, which the cluster keeps itself where nobody names a
// provider.
var Files = Prefix{Path: "/v1", Providers: append([]string{"groq"}, documented...), Below: []string{"files", "batches"}}

// Prefixes are all others.
var Prefixes = []Prefix{
	{Path: "/v1", Providers: documented, Below: []string{
		"videos", "uploads", "containers", "conversations", "assistants", "threads", "evals", "vector_stores", "fine_tuning", "skills",
		"audio/voices", "audio/voice_consents", "chatkit",
		"realtime/calls", "realtime/transcription_sessions", "realtime/translations", // which mint, and are refused for it
	}},
	{Path: "/v1", Providers: documented, Below: []string{"responses/compact"}, Verb: http.MethodPost},
	{Path: "/v1", Providers: documented, Below: []string{"chat/completions"}, Verb: http.MethodGet},
	{Path: "/v1", Providers: documented, Below: []string{"chat/completions/{id}", "chat/completions/{id}/messages"}},
	{Path: "/v1", Providers: documented, Below: []string{"models/{id}"}, Verb: http.MethodDelete},
	{Path: "/openai", Providers: []string{"openai"}},
	{Path: "/openai_passthrough", Providers: []string{"openai"}},
	{Path: "/anthropic", Providers: []string{"anthropic"}},
	{Path: "/gemini", Providers: []string{"gemini"}},
	{Path: "/vertex_ai", Providers: []string{"vertex_ai"}},
	{Path: "/vertex-ai", Providers: []string{"vertex_ai"}},
	{Path: "/bedrock", Providers: []string{"bedrock", "bedrock_converse"}},
	{Path: "/azure", Providers: []string{"azure", "azure_ai"}},
	{Path: "/azure_ai", Providers: []string{"azure_ai"}},
	{Path: "/cohere", Providers: []string{"cohere", "cohere_chat"}},
	{Path: "/mistral", Providers: []string{"mistral"}},
	{Path: "/vllm", Providers: []string{"hosted_vllm"}},
	{Path: "/openrouter", Providers: []string{"openrouter"}},
	{Path: "/nvidia_nim", Providers: []string{"nvidia_nim"}},
}

// Patterns are the prefix's paths as http.ServeMux reads them.
func (p *Prefix) Patterns() []string {
	if p.Below == nil {
		return []string{p.Path + "/{rest...}"}
	}
	var all []string
	for _, b := range p.Below {
		all = append(all, p.Path+"/"+b)
		if p.Verb == "" && !strings.Contains(b, "{") {
			all = append(all, p.Path+"/"+b+"/{rest...}")
		}
	}
	return all
}

// Owner is the header that names the deployment that keeps what the path is about: answers
// tell it as x-conclave-model-id.
const Owner = "X-Conclave-Owner"

// Refuser finds the first of the levels that does not let a path be called; nil: all do.
func Refuser(levels []resource.Level, path string) *resource.Level {
	for i := range levels {
		if p := levels[i].Policy; p != nil && !p.PassesThrough(path) {
			return &levels[i]
		}
	}
	return nil
}

// Wanted is what a deployment must be to be asked. What is "" does not matter.
type Wanted struct {
	Model    string // by its name here or at the provider
	Owner    string // its id
	Provider string
}

// Documented says whether the paths are those of OpenAI's document, which many providers serve.
func (p *Prefix) Documented() bool { return len(p.Below) > 0 }

// Model is the model that a request is for: the one that is wanted, else the first that has an open
// deployment. It is one that every level allows.
func (p *Prefix) Model(cat *resource.Catalog, levels []resource.Level, w Wanted) (*resource.Model, bool) {
	if m, ok := cat.Resolve(w.Model); ok {
		fits := func(d *resource.Deployment) bool { return p.fits(cat, m, d, w) }
		if slices.ContainsFunc(cat.ModelDeployments(m), fits) && cat.LevelsAllow(levels, m) {
			return m, true
		}
	}
	for _, d := range cat.Tables().Deployments {
		m, ok := cat.ModelByID(d.ModelID)
		if ok && p.fits(cat, m, d, w) && cat.LevelsAllow(levels, m) {
			return m, true
		}
	}
	return nil, false
}

// Flat is the most that a request costs of which nobody understands the usage, at the deployments of
// the model that may be asked.
func (p *Prefix) Flat(cat *resource.Catalog, m *resource.Model, w Wanted) (most resource.Money) {
	for _, d := range cat.ModelDeployments(m) {
		if p.fits(cat, m, d, w) {
			most = max(most, FlatOf(cat, d))
		}
	}
	return most
}

// FlatOf is what such a request costs at a deployment.
func FlatOf(cat *resource.Catalog, d *resource.Deployment) resource.Money {
	if _, ok := d.Options[resource.OptionCostPerRequest]; ok {
		return resource.CostPerRequest(d.Options)
	}
	if c, ok := cat.Credential(d.CredentialID); ok {
		return resource.CostPerRequest(c.Options)
	}
	return 0
}

// fits says whether the model's deployment is what is wanted, and open.
func (p *Prefix) fits(cat *resource.Catalog, m *resource.Model, d *resource.Deployment, w Wanted) bool {
	return p.open(cat, d) && (w.Model == "" || w.Model == m.Name || w.Model == d.Upstream) &&
		(w.Owner == "" || d.ID == w.Owner) && (w.Provider == "" || d.Provider == w.Provider)
}

// open says whether the deployment is one of the prefix's providers and open to it.
func (p *Prefix) open(cat *resource.Catalog, d *resource.Deployment) bool {
	if !slices.Contains(p.Providers, d.Provider) {
		return false
	}
	if v, ok := d.Options[Option]; ok {
		return v == "true"
	}
	c, ok := cat.Credential(d.CredentialID)
	return ok && c.Options[Option] == "true"
}

// Keeps says whether a deployment's provider stores chat completions that may be asked for here.
func Keeps(cat *resource.Catalog, d *resource.Deployment) bool {
	p := Prefix{Providers: documented}
	return d != nil && p.open(cat, d)
}

// Target is the first of a plan that is what is wanted, else the first of the model that is: a plan
// has as many as there may be attempts, and who keeps a thing is the only one to ask.
func (p *Prefix) Target(cat *resource.Catalog, m *resource.Model, plan []router.Target, w Wanted) []router.Target {
	for i := range plan {
		if p.fits(cat, plan[i].Model, plan[i].Deployment, w) {
			return plan[i : i+1]
		}
	}
	for _, d := range cat.ModelDeployments(m) {
		if d.Blocked || !p.fits(cat, m, d, w) {
			continue
		}
		t := router.Target{Model: m, Deployment: d}
		if c, ok := cat.Credential(d.CredentialID); ok {
			t.Credential = c
		}
		return []router.Target{t}
	}
	return nil
}

// Named is the model that stands in a provider's path.
type Named struct {
	Model    string // "" for none
	from, to int    // where it stands, escaped and without the verb behind it
}

// nouns stand before the name of a model. Azure reads them in any case.
var nouns = []string{"models", "tunedModels", "model", "deployments"}

func isNoun(segment string) bool {
	return slices.ContainsFunc(nouns, func(n string) bool { return strings.EqualFold(n, segment) })
}

// Asked finds the model in a path. false: the path cannot be read, names two, or hides one behind
// an escaped slash.
func Asked(rest string) (Named, bool) {
	var found Named
	var last string
	at := 0
	for segment := range strings.SplitSeq(rest, "/") {
		plain, err := url.PathUnescape(segment)
		if err != nil {
			return Named{}, false
		}
		switch {
		case isNoun(last) && plain != "":
			if found.Model != "" {
				return Named{}, false
			}
			found = Named{Model: plain, from: at, to: at + len(segment)}
			if verb := strings.LastIndexByte(plain, ':'); verb > 0 && strings.HasSuffix(strings.ToLower(last), "models") {
				found.Model = plain[:verb]
				found.to -= len(segment) - max(strings.LastIndexByte(segment, ':'), strings.LastIndex(strings.ToUpper(segment), "%3A"))
			}
			plain = ""
		case strings.Contains(plain, "/") && slices.ContainsFunc(strings.Split(plain, "/"), isNoun):
			return Named{}, false
		}
		last = plain
		at += len(segment) + 1
	}
	return found, true
}

// minted are the ends of paths at which providers make secrets of their own, and what stands before
// them there; "": anything.
var minted = []struct{ before, last string }{
	{"", "client_secrets"},
	{"", "transcription_sessions"},
	{"", "auth_tokens"},
	{"realtime", "sessions"},
	{"realtimeapi", "sessions"},
	{"chatkit", "sessions"},
	{"realtime", "calls"},
	{"realtime", "translations"},
}

// Mints says whether a path makes a secret of the provider's, or a session that is opened with one:
// who has it speaks to the provider without the gateway, and without anybody's limits and budget.
func Mints(rest string) bool {
	before := ""
	for segment := range strings.SplitSeq(rest, "/") {
		plain, err := url.PathUnescape(segment)
		if err != nil {
			return true // it is refused anyway
		}
		plain = strings.ToLower(strings.TrimSpace(plain))
		for part := range strings.SplitSeq(plain, "/") {
			if part == "" {
				continue
			}
			for _, m := range minted {
				if part == m.last && (m.before == "" || m.before == before) {
					return true
				}
			}
			before = part
		}
	}
	return false
}

// Rename is the path with another name in the model's place.
func (n Named) Rename(rest, model string) string {
	return rest[:n.from] + url.PathEscape(model) + rest[n.to:]
}

// Agree is the model that the path and the body name. false: they name two.
func (n Named) Agree(body string) (string, bool) {
	body = strings.TrimPrefix(body, inBody)
	return cmp.Or(n.Model, body), n.Model == "" || body == "" || n.Model == body
}

// inBody stands before a model's name in bodies of Google's.
const inBody = "models/"

// InBody is the name of a model as the body had it, for another model.
func InBody(had, model string) string {
	if strings.HasPrefix(had, inBody) {
		return inBody + model
	}
	return model
}

// Path is what follows the provider's address: the client's path below the prefix and its query,
// without a key in it. base is the address, whose version the path may name again. false: the
// path leads elsewhere.
func Path(base, rest, query string) (string, bool) {
	plain, err := url.PathUnescape(rest)
	if err != nil || path.Clean("/"+plain) != "/"+strings.TrimSuffix(plain, "/") || strings.Contains(plain, "\\") {
		return "", false
	}
	version, _, _ := strings.Cut(rest, "/")
	if isVersion(version) && strings.HasSuffix(base, "/"+version) {
		rest = strings.TrimPrefix(strings.TrimPrefix(rest, version), "/")
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return "", false
	}
	for _, name := range []string{"key", QueryProvider, "provider"} {
		q.Del(name)
	}
	if len(q) > 0 {
		rest += "?" + q.Encode()
	}
	return "/" + rest, true
}

// Below is the path of a request at a target: the target's own, what of the client's follows, and its
// query, with those of more that it has not. false: the path leads elsewhere.
func Below(at, rest, query string, more map[string]string) (string, bool) {
	plain, err := url.PathUnescape(rest)
	if err != nil || rest != "" && path.Clean(plain) != strings.TrimSuffix(plain, "/") || strings.Contains(plain, "\\") {
		return "", false
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return "", false
	}
	for name, value := range more {
		if !q.Has(name) {
			q.Set(name, value)
		}
	}
	to := at + rest
	if to == "" {
		to = "/"
	}
	if len(q) > 0 {
		to += "?" + q.Encode()
	}
	return to, true
}

// isVersion says whether a segment of a path is the version of an API.
func isVersion(s string) bool { return len(s) > 1 && s[0] == 'v' && s[1] >= '0' && s[1] <= '9' }

// An Inference is a kind of path that asks a model.
type Inference struct {
	end string
	// At is what it is held for and charged as, and whose dialect the answer has where the provider serves it.
	// llm.Invoke stands for the words of the model's maker, whoever that is.
	At llm.Endpoint
	// Later says that the answer tells only that the work has begun.
	Later bool
	Keeps bool // what is made is kept under its id, unless the body says "store": false
}

// inferences are all of them, by the ends of their paths.
var inferences = []Inference{
	{end: "/chat/completions", At: llm.Chat},
	{end: "/completions", At: llm.Completions},
	{end: "/embeddings", At: llm.Embeddings},
	{end: "/responses", At: llm.Responses, Keeps: true},
	{end: "/moderations", At: llm.Moderations},
	{end: "/messages", At: llm.Messages},
	{end: "/complete", At: llm.AnthropicComplete},
	{end: ":generateContent", At: llm.GenerateContent},
	{end: ":streamGenerateContent", At: llm.GenerateContent},
	{end: ":embedContent", At: llm.EmbedContent},
	{end: ":batchEmbedContents", At: llm.BatchEmbedContents},
	{end: "/interactions", At: llm.Invoke, Keeps: true},
	{end: ":rawPredict", At: llm.Invoke},
	{end: ":streamRawPredict", At: llm.Invoke},
	{end: ":predict", At: llm.Invoke},
	{end: ":serverStreamingPredict", At: llm.Invoke},
	{end: ":predictLongRunning", At: llm.Invoke, Later: true},
	{end: "/invoke", At: llm.Invoke},
	{end: "/invoke-with-response-stream", At: llm.Invoke},
	{end: "/converse", At: llm.Converse},
	{end: "/converse-stream", At: llm.Converse},
	{end: "/v1/chat", At: llm.Invoke}, // Cohere's older one
	{end: "/v1/generate", At: llm.Invoke},
	{end: "/v2/chat", At: llm.CohereChat},
	{end: "/v2/embed", At: llm.CohereEmbed},
	{end: "/v1/embed", At: llm.CohereEmbed},
	{end: "/rerank", At: llm.Rerank},
	{end: "/ranking", At: llm.Rerank},
	{end: "/ocr", At: llm.OCR},
	{end: "/decisions", At: llm.Decisions},
	{end: "/systemone", At: llm.SystemOne},
	{end: "/images/generations", At: llm.Images},
	{end: "/images/edits", At: llm.ImageEdits},
	{end: "/images/variations", At: llm.ImageVariations},
	{end: "/audio/speech", At: llm.Speech},
	{end: "/audio/transcriptions", At: llm.Transcriptions},
	{end: "/audio/translations", At: llm.Translations},
}

// InferenceAt is what a path asks a model for; false: nothing that is known.
func InferenceAt(rest string) (Inference, bool) {
	plain, err := url.PathUnescape(rest)
	if err != nil {
		return Inference{}, false
	}
	plain = "/" + strings.TrimSuffix(plain, "/")
	for i := range inferences {
		if strings.HasSuffix(plain, inferences[i].end) {
			return inferences[i], true
		}
	}
	return Inference{}, false
}

// Uploads says whether a path is about files that the provider keeps, whole or in parts: no model reads what is sent there.
func Uploads(rest string) bool {
	for segment := range strings.SplitSeq(rest, "/") {
		if segment == "files" || segment == "uploads" {
			return true
		}
	}
	return false
}

// Infers says whether a path asks for an inference, which makes nothing that is kept under its id.
func Infers(rest string) bool {
	i, ok := InferenceAt(rest)
	return ok && !i.Keeps
}

// Deleted is the id of what a request deletes, if that is a thing of its own, as in "files/ID".
func Deleted(method, rest string) (id string, ok bool) {
	if method != http.MethodDelete {
		return "", false
	}
	segments := strings.Split(rest, "/")
	if len(segments) > 0 && isVersion(segments[0]) {
		segments = segments[1:]
	}
	if len(segments) == 3 && slices.Contains([]string{"fine_tuning", "chat", "audio"}, segments[0]) {
		segments = segments[1:]
	}
	if len(segments) != 2 {
		return "", false
	}
	id, err := url.PathUnescape(segments[1])
	return id, err == nil
}

// Endpoint is whose dialect the answer to a path has at the provider, as far as it is understood.
func Endpoint(p *provider.Provider, rest string) (at llm.Endpoint, known bool) {
	i, known := InferenceAt(rest)
	if known && p.Serves(i.At) {
		return i.At, true
	}
	if len(p.Endpoints) > 0 {
		return p.Endpoints[0], false
	}
	return llm.Chat, false
}

// forwarded are the client's headers that a provider may see; with a star, all that begin so.
var forwarded = []string{"Accept", "Anthropic-Beta", "Anthropic-Version", "Openai-Beta", "X-Goog-Api-Client", "Idempotency-Key"}

// Headers are the client's headers that go with a request: those above, and those that begin with
// X-Pass-, without it. None of them can be a credential.
func Headers(h http.Header) http.Header {
	out := http.Header{}
	for name, values := range h {
		to := name
		if pass, ok := strings.CutPrefix(name, "X-Pass-"); ok {
			to = http.CanonicalHeaderKey(pass)
		} else if !slices.Contains(forwarded, name) {
			continue
		}
		if !credential(to) {
			out[to] = values
		}
	}
	return out
}

// AllHeaders are all of the client's headers that are no credential and not about the connection.
func AllHeaders(h http.Header) http.Header {
	out := Headers(h)
	for name, values := range h {
		if !credential(name) && !strings.HasPrefix(name, "X-Pass-") && !strings.HasPrefix(name, "X-Forwarded-") {
			out[name] = values
		}
	}
	return out
}

// credential says whether a header is a credential, or is about the connection.
func credential(name string) bool {
	switch name {
	case "Authorization", "Proxy-Authorization", "Cookie", "Host", "Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Connection",
		"Te", "Trailer", "Upgrade", "Accept-Encoding", "Expect", "Keep-Alive":
		return true
	}
	lower := strings.ToLower(name)
	return strings.Contains(lower, "key") && lower != "idempotency-key" || strings.Contains(lower, "token") || strings.HasPrefix(lower, "x-amz-")
}
