// Package sap knows where the models of SAP's AI Core are that speak OpenAI's form: below the URL of
// a deployment there.
package sap

import (
	"net/url"

	"github.com/conclave-llm/conclave/llm"
	"github.com/conclave-llm/conclave/provider/openai"
)

// DefaultVersion is that of the API for deployments that name none in their option api_version.
const DefaultVersion = "2024-02-01"

// Codec is OpenAI's format at AI Core.
type Codec struct{ openai.Codec }

// Path is below the deployment's URL, with the version that Azure's models want.
func (c Codec) Path(p llm.Place) string {
	version := p.Options["api_version"]
	if version == "" {
		version = DefaultVersion
	}
	return c.Codec.Path(p) + "?api-version=" + url.QueryEscape(version)
}
