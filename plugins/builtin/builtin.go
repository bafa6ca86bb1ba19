// Package builtin holds the plugins that are shipped with Conclave. They run as every plugin
// does, in a process of their own, by running this binary again: `conclave plugin serve NAME`.
package builtin

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/conclave-llm/conclave/plugins/builtin/amazon"
	"github.com/conclave-llm/conclave/plugins/builtin/datadog"
	"github.com/conclave-llm/conclave/plugins/builtin/elastic"
	"github.com/conclave-llm/conclave/plugins/builtin/helicone"
	"github.com/conclave-llm/conclave/plugins/builtin/kafka"
	"github.com/conclave-llm/conclave/plugins/builtin/langfuse"
	"github.com/conclave-llm/conclave/plugins/builtin/otlp"
	"github.com/conclave-llm/conclave/plugins/builtin/patterns"
	"github.com/conclave-llm/conclave/plugins/builtin/pii"
	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/secrets"
	"github.com/conclave-llm/conclave/plugins/builtin/sentry"
	"github.com/conclave-llm/conclave/plugins/builtin/slack"
	"github.com/conclave-llm/conclave/plugins/builtin/webhook"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Version is the version that shipped plugins report.
const Version = scan.Version

// Plugin is one row of the table of shipped plugins.
type Plugin struct {
	Name    string
	Kind    string // "guardrail" or "callback"
	Summary string
	serve   func()
}

// table is every shipped plugin by name.
var table = slices.Concat(guardrails, callbacks, overOTLP())

var guardrails = []Plugin{
	{"keywords", "guardrail", "blocks or masks listed words", func() { sdk.ServeGuardrail(&Keywords{}) }},
	{"patterns", "guardrail", "blocks, masks or flags what matches regular expressions", func() { sdk.ServeGuardrail(&patterns.Patterns{}) }},
	{"pii", "guardrail", "blocks, masks or flags personal data, and restores in answers what it masked", func() { sdk.ServeGuardrail(&pii.PII{}) }},
	{"secrets", "guardrail", "blocks, masks or flags credentials", func() { sdk.ServeGuardrail(&secrets.Secrets{}) }},
}

var callbacks = []Plugin{
	{"datadog", "callback", "sends each request to Datadog's log intake", func() { sdk.ServeCallback(&datadog.Datadog{}) }},
	{"elasticsearch", "callback", "indexes each request in Elasticsearch or OpenSearch", func() { sdk.ServeCallback(&elastic.Elastic{}) }},
	{"file", "callback", "writes one line of JSON for each request to a file", func() { sdk.ServeCallback(&File{}) }},
	{"helicone", "callback", "logs each request at Helicone", func() { sdk.ServeCallback(&helicone.Helicone{}) }},
	{"kafka", "callback", "writes each request to a topic of Kafka", func() { sdk.ServeCallback(&kafka.Kafka{}) }},
	{"langfuse", "callback", "sends each request to Langfuse's ingestion API", func() { sdk.ServeCallback(&langfuse.Langfuse{}) }},
	{"s3", "callback", "writes objects to S3 or a store with its API", func() { sdk.ServeCallback(&amazon.S3{}) }},
	{"sentry", "callback", "sends requests that failed to Sentry", func() { sdk.ServeCallback(&sentry.Sentry{}) }},
	{"slack", "callback", "tells a channel of requests that failed or were blocked", func() { sdk.ServeCallback(&slack.Slack{}) }},
	{"sqs", "callback", "sends each request to a queue of Amazon SQS", func() { sdk.ServeCallback(&amazon.SQS{}) }},
	{"webhook", "callback", "posts requests as signed JSON to a URL", func() { sdk.ServeCallback(&webhook.Webhook{}) }},
}

// overOTLP are the callbacks that send spans to a vendor.
func overOTLP() (list []Plugin) {
	for _, name := range otlp.Vendors() {
		list = append(list, Plugin{name, "callback", "sends each request as a span to " + otlp.Title(name), func() { sdk.ServeCallback(otlp.New(name)) }})
	}
	return list
}

// Plugins lists the shipped plugins by name.
func Plugins() []Plugin {
	return slices.SortedFunc(slices.Values(table), func(a, b Plugin) int { return strings.Compare(a.Name, b.Name) })
}

// Lookup returns the shipped plugin with the name.
func Lookup(name string) (Plugin, bool) {
	for _, p := range table {
		if p.Name == name {
			return p, true
		}
	}
	return Plugin{}, false
}

// Serve runs the shipped plugin in this process until the host ends it.
func Serve(name string) error {
	p, ok := Lookup(name)
	if !ok {
		return fmt.Errorf("plugin %q is not shipped with this binary", name)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { dropCodeSometimes(ctx) })
	p.serve()
	stop()
	wg.Wait()
	return nil
}
