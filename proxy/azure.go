package proxy

import (
	"net/http"
	"strings"
)

// apiVersion is the parameter of the query that Azure's clients send with every request, and nobody else.
const apiVersion = "api-version"

// azurePaths are the paths at which Azure's clients have one of OpenAI's that names no deployment. They are in
// OpenAI's own words (package pass) for everybody else.
func azurePaths(path string) []string { return []string{"/openai" + path, "/openai/v1" + path} }

// azure serves one of them: whoever sends Azure's parameter is answered as at the gateway's own path.
func (s *Server) azure(r *Route, pattern string) http.Handler {
	own, words := s.handler(r), s.handler(s.wordsOf(pattern))
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		q := req.URL.Query()
		if !q.Has(apiVersion) {
			words.ServeHTTP(w, req)
			return
		}
		q.Del(apiVersion)
		u, asked := *req.URL, *req
		u.RawQuery, asked.URL = q.Encode(), &u
		own.ServeHTTP(w, &asked)
	})
}

// below is what of a path follows the prefix of a route in a provider's own words, with Azure's name before it or not.
func (r *Route) below(path string) string {
	if len(r.azure) > 0 {
		path = strings.TrimPrefix(path, "/openai")
	}
	return strings.TrimPrefix(strings.TrimPrefix(path, r.prefix.Path), "/")
}
