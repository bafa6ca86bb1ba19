package pass

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
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

// maxIDs bounds how many ids of one request are looked up.
const maxIDs = 32

// Kept is what is known of the things that a request names by their ids.
type Kept struct {
	DeploymentID string // that keeps them; "": nobody knows
	Provider     string // that the client names
	Artifact     *resource.Artifact
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
	var kept Kept
	for _, id := range ids(rest, body) {
		a, _, err := owners.Get(ctx, id)
		if errors.Is(err, resource.ErrNotFound) {
			continue
		}
		if err != nil {
			return kept, err
		}
		switch {
		case !who.Sees(&a.Owners):
			return kept, &llm.Error{Kind: llm.NotFound, Code: "not_found", NoRetry: true, Message: "There is nothing with the id " + id + "."}
		case a.DeploymentID == "":
			kept.Artifact = a
		case kept.DeploymentID == "" || kept.DeploymentID == a.DeploymentID:
			kept.DeploymentID = a.DeploymentID
		default:
			return kept, &llm.Error{Kind: llm.Invalid, Code: "deployment_mismatch", NoRetry: true, Message: "The request names things that different deployments keep."}
		}
	}
	return kept, nil
}

// ids are the texts in a path and at the top of a body that may be ids.
func ids(rest string, body []byte) (all []string) {
	add := func(s string) {
		if len(all) < maxIDs && looksLikeID(s) && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	for segment := range strings.SplitSeq(rest, "/") {
		if plain, err := url.PathUnescape(segment); err == nil {
			add(plain)
		}
	}
	if len(body) == 0 || body[0] != '{' {
		return all
	}
	c := llm.NewCursor(body)
	for n := 0; c.Member(n); n++ {
		name := string(c.Name())
		if raw := c.Raw(); name != "model" {
			eachText(raw, add)
		}
	}
	return all
}

// eachText calls add with a value that is a text, or with each of a list of texts.
func eachText(raw []byte, add func(string)) {
	var text string
	var list []string
	switch {
	case len(raw) > resource.MaxArtifactID*maxIDs || len(raw) == 0:
	case raw[0] == '"' && json.Unmarshal(raw, &text) == nil:
		add(text)
	case raw[0] == '[' && json.Unmarshal(raw, &list) == nil:
		for _, s := range list {
			add(s)
		}
	}
}

const (
	digits = "0123456789"
	lower  = "abcdefghijklmnopqrstuvwxyz"
	upper  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// looksLikeID says whether a text is what providers make ids of: a word, "-" or "_", and at least
// six letters and digits, among which are a digit or both cases.
func looksLikeID(s string) bool {
	at := strings.IndexAny(s, "-_")
	if at < 1 || len(s)-at < 7 || len(s) > resource.MaxArtifactID || strings.Trim(s[:at], lower) != "" {
		return false
	}
	tail := s[at+1:]
	mixed := strings.ContainsAny(tail, upper) && strings.ContainsAny(tail, lower)
	return strings.Trim(tail, digits+lower+upper+"-_") == "" && (mixed || strings.ContainsAny(tail, digits))
}

// Made is the id of the thing that an answer tells of, "" if there is none.
func Made(answer []byte) string {
	if len(answer) == 0 || answer[0] != '{' {
		return ""
	}
	id := ""
	c := llm.NewCursor(answer)
	for n := 0; c.Member(n); n++ {
		if string(c.Name()) == "id" {
			if raw := c.Raw(); json.Unmarshal(raw, &id) != nil {
				return ""
			}
			continue
		}
		c.Raw()
	}
	if c.Err() != nil || !resource.ValidArtifactID(id) {
		return ""
	}
	return id
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
