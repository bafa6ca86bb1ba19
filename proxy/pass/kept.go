package pass

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/resource"
)

// How clients name a provider, beside the body: as LiteLLM's do, and in a header of ours.
const (
	QueryProvider  = "custom_llm_provider"
	HeaderProvider = "X-Conclave-Provider"
	headerLiteLLM  = "Custom-Llm-Provider"
)

// Own are the fields of a body that name a provider or models to the gateway alone.
var Own = []string{QueryProvider, "target_model_names"}

// maxIDs bounds how many ids of one request are looked up. One with more is refused: what is not looked up may be
// another's.
const maxIDs = 2048

// Kept is what is known of the things that a request names by their ids.
type Kept struct {
	DeploymentID string // that keeps them; "": nobody knows
	Provider     string // that the client names
	Artifact     *resource.Artifact
	Names        []resource.ModelName // of the models in the lines of what the path names
}

// Owners knows whose things with ids are.
type Owners interface {
	// Get returns an artifact; resource.ErrNotFound for none.
	Get(ctx context.Context, id string) (*resource.Artifact, uint64, error)
}

// Provider is the provider that a request names in a header or its query.
func Provider(h map[string][]string, query url.Values) string {
	for _, name := range []string{HeaderProvider, headerLiteLLM} {
		if v := h[name]; len(v) > 0 && v[0] != "" {
			return v[0]
		}
	}
	return query.Get(QueryProvider)
}

// Find looks up what a request names, in its path and its body, and refuses what is another's: who
// may not see a thing learns that it is not there. Things of two deployments cannot be named at once.
func Find(ctx context.Context, owners Owners, who *resource.Principal, rest string, body []byte) (Kept, error) {
	f := finder{all: true}
	f.path(rest)
	f.body(body)
	kept, two, err := f.look(ctx, owners, who)
	if err == nil && two {
		err = &llm.Error{Kind: llm.Invalid, Code: "deployment_mismatch", NoRetry: true, Message: "The request names things that different deployments keep."}
	}
	return kept, err
}

// FindIn is Find for what asks a model, which names things in few places, and any deployment may be asked.
func FindIn(ctx context.Context, owners Owners, who *resource.Principal, body []byte) (Kept, error) {
	var f finder
	f.body(body)
	kept, _, err := f.look(ctx, owners, who)
	return kept, err
}

// Refers says whether what asks a model may name things that a provider keeps: whether it is worth a look.
func Refers(at llm.Endpoint, f *llm.Fields, body []byte) bool {
	return f.Refers || at.Vendor() == llm.VendorGoogle && bytes.Contains(body, []byte("ile")) && (bytes.Contains(body, []byte("ileUri")) || bytes.Contains(body, []byte("ile_uri"))) || names(body)
}

// kinds are the words before "_id" and "_ids" in the names of members that refer to a thing.
var kinds = [...]string{"file", "store", "container", "response", "conversation", "skill", "video", "thread", "assistant"}

// escapes are spellings of letters and of "_" that nobody needs.
var escapes = regexp.MustCompile(`\\u00[4-7]`)

// names says whether a body has such a name. One that is spelled with escapes may be any.
func names(body []byte) bool {
	for rest := body; ; {
		i := bytes.Index(rest, []byte("_id"))
		if i < 0 {
			return bytes.Contains(body, []byte(`\u00`)) && escapes.Match(body)
		}
		for _, kind := range kinds {
			if bytes.HasSuffix(rest[:i], []byte(kind)) {
				return true
			}
		}
		rest = rest[i+len("_id"):]
	}
}

// finder collects what may be ids.
type finder struct {
	all  bool // every member may name a thing, and not only those that do where a model is asked
	ids  []string
	over bool // there are too many
}

// look looks up what was found. two: different deployments keep it.
func (f *finder) look(ctx context.Context, owners Owners, who *resource.Principal) (kept Kept, two bool, err error) {
	if f.over {
		return kept, false, &llm.Error{Kind: llm.Invalid, Code: "invalid_value", NoRetry: true, Message: "The request names too many things by their ids."}
	}
	for _, id := range f.ids {
		a, _, err := owners.Get(ctx, id)
		if errors.Is(err, resource.ErrNotFound) {
			continue
		}
		if err != nil {
			return kept, two, err
		}
		switch {
		case !who.Sees(&a.Owners):
			return kept, two, &llm.Error{Kind: llm.NotFound, Code: "not_found", NoRetry: true, Message: "There is nothing with the id " + id + "."}
		case a.DeploymentID == "":
			kept.Artifact = a
		case kept.DeploymentID == "" || kept.DeploymentID == a.DeploymentID:
			kept.DeploymentID, kept.Names = a.DeploymentID, append(kept.Names, a.Names...)
		default:
			two = true
		}
	}
	return kept, two, nil
}

// add takes what may be an id, or an address that ends with one.
func (f *finder) add(s string) {
	if strings.Contains(s, "/") {
		s = s[strings.LastIndexByte(s, '/')+1:]
	}
	switch {
	case !resource.ValidArtifactID(s) || slices.Contains(f.ids, s):
	case len(f.ids) == maxIDs:
		f.over = true
	default:
		f.ids = append(f.ids, s)
	}
}

// path takes the segments of a path, and what stands in them before a verb.
func (f *finder) path(rest string) {
	for segment := range strings.SplitSeq(rest, "/") {
		plain, err := url.PathUnescape(segment)
		if err != nil {
			continue
		}
		f.add(plain)
		if before, _, ok := strings.Cut(plain, ":"); ok {
			f.add(before)
		}
	}
}

// body takes the values of a body that refer to things.
func (f *finder) body(body []byte) {
	if len(body) == 0 || body[0] != '{' {
		return
	}
	c := llm.NewCursor(body)
	f.members(&c, "", true)
}

// members takes the members of an object, which is the value of a member of that name.
func (f *finder) members(c *llm.Cursor, of string, top bool) {
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		refers := refer(name, of, f.all)
		f.value(c, name, refers, top && !refers && f.all && name != "model")
	}
}

// value takes a value. refers says that its texts are ids, like that those that look so may be.
func (f *finder) value(c *llm.Cursor, name string, refers, like bool) {
	switch c.Next() {
	case '{':
		f.members(c, name, false)
	case '[':
		for n := 0; c.Element(n); n++ {
			f.value(c, name, refers, like)
		}
	case '"':
		if !refers && !like {
			c.Raw()
			return
		}
		if s := c.Text(); refers || looksLikeID(s) {
			f.add(s)
		}
	default:
		c.Raw()
	}
}

// refer says whether the texts in a member are ids of things. of is the member that the object is the value of.
func refer(name, of string, all bool) bool {
	switch name {
	case "conversation", "container", "video", "fileUri", "file_uri", "cachedContent", "cached_content":
		return true
	case "id":
		return all || of == "conversation" || of == "container" || of == "video"
	}
	kind, ok := strings.CutSuffix(strings.TrimSuffix(name, "s"), "_id")
	if !ok {
		return all && (strings.HasSuffix(name, "_file") || name == "file" || name == "files")
	}
	for _, k := range kinds {
		if strings.HasSuffix(kind, k) {
			return true
		}
	}
	return all
}

const (
	digits = "0123456789"
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// looksLikeID says whether a text is what providers make ids of: a word, "-" or "_", and letters and digits, among
// which are a digit or both cases.
func looksLikeID(s string) bool {
	at := strings.IndexAny(s, "-_")
	if at < 1 || len(s) > resource.MaxArtifactID || strings.Trim(s[:at], lower+digits) != "" {
		return false
	}
	tail := s[at+1:]
	mixed := strings.ContainsAny(tail, upper) && strings.ContainsAny(tail, lower)
	return strings.Trim(tail, digits+lower+upper+"-_") == "" && (mixed || strings.ContainsAny(tail, digits))
}

// Made is the id of the thing that an answer tells of, "" if there is none. Google's has a name instead,
// whose last part it is: "files/ID", in "file" where it was uploaded.
func Made(answer []byte) string {
	if len(answer) == 0 || answer[0] != '{' {
		return ""
	}
	var made struct {
		ID   any    `json:"id"`
		Name string `json:"name"`
		File struct {
			Name string `json:"name"`
		} `json:"file"`
	}
	if err := json.Unmarshal(answer, &made); err != nil {
		if _, ok := errors.AsType[*json.UnmarshalTypeError](err); !ok {
			return ""
		}
	}
	id, _ := made.ID.(string)
	if made.ID == nil {
		if _, last, ok := strings.Cut(cmp.Or(made.Name, made.File.Name), "/"); ok {
			id = last[strings.LastIndexByte(last, '/')+1:]
		}
	}
	if !resource.ValidArtifactID(id) {
		return ""
	}
	return id
}

// Names says whether a path names a thing by its id.
func Names(rest, id string) bool {
	for segment := range strings.SplitSeq(rest, "/") {
		if plain, err := url.PathUnescape(segment); err == nil && plain == id {
			return true
		}
	}
	return false
}

// Without is an object without some of its members.
func Without(body []byte, names []string) []byte {
	if len(names) == 0 {
		return body
	}
	out := []byte{'{'}
	found := false
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		raw := c.Raw()
		if slices.Contains(names, name) {
			found = true
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(llm.AppendString(out, name), ':'), raw...)
	}
	if c.Err() != nil || !found {
		return body
	}
	return append(out, '}')
}
