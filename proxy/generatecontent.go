package proxy

import "github.com/conclave-llm/conclave/llm"

// googlePaths are where Google's clients ask, with the model and a verb at the end: its own
// version of the API, those that its SDK may be set to, and Vertex's.
var googlePaths = []string{
	"/v1beta/models/{model...}", "/v1/models/{model...}", "/models/{model...}", "/gemini/v1beta/models/{model...}",
	"/v1/projects/{project}/locations/{location}/publishers/google/models/{model...}",
	"/v1beta1/projects/{project}/locations/{location}/publishers/google/models/{model...}",
}

// generateContentRoute serves Google's generateContent.
func generateContentRoute() (*Route, error) { return google(llm.GenerateContent, "generateContent") }

// streamGenerateContentRoute serves the same as a stream.
func streamGenerateContentRoute() (*Route, error) {
	r, err := google(llm.GenerateContent, "streamGenerateContent")
	if err != nil {
		return nil, err
	}
	r.stream = true
	return r, nil
}

// google makes the route of a verb.
func google(endpoint llm.Endpoint, verb string) (*Route, error) {
	r, err := inference(endpoint, googlePaths...)
	if err != nil {
		return nil, err
	}
	r.name, r.verb = googlePaths[0]+":"+verb, verb
	return r, nil
}
