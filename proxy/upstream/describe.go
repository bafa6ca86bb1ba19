package upstream

import (
	"maps"
	"net/http"

	"github.com/conclave-llm/conclave/llm"
)

// Describe is where an attempt would go and with which headers, for people: what proves to the
// provider who sends it is left out, and nothing is sent.
func Describe(a *Attempt) (url string, h http.Header, err error) {
	if a.Plugin != "" {
		return "plugin://" + a.Plugin + "/" + a.Endpoint.String(), http.Header{}, nil
	}
	url, err = a.Provider.URL(a.Base, llm.Place{Endpoint: a.Endpoint, Model: a.Model, Stream: a.Stream, Options: a.Account.Or().Options})
	if err != nil {
		return "", nil, err
	}
	h = a.headers().Clone()
	if a.Account.Or().Key.Reveal() != "" {
		const hidden = "(left out)"
		probe := http.Header{}
		a.Provider.Auth.Set(probe, hidden)
		maps.Copy(h, probe)
	}
	return url, h, nil
}
