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
	"github.com/conclave-llm/conclave/plugins/builtin/aporia"
	"github.com/conclave-llm/conclave/plugins/builtin/athina"
	"github.com/conclave-llm/conclave/plugins/builtin/azure"
	"github.com/conclave-llm/conclave/plugins/builtin/azuresafety"
	"github.com/conclave-llm/conclave/plugins/builtin/bedrock"
	"github.com/conclave-llm/conclave/plugins/builtin/cel"
	"github.com/conclave-llm/conclave/plugins/builtin/datadog"
	"github.com/conclave-llm/conclave/plugins/builtin/elastic"
	"github.com/conclave-llm/conclave/plugins/builtin/generic"
	"github.com/conclave-llm/conclave/plugins/builtin/google"
	"github.com/conclave-llm/conclave/plugins/builtin/guardrailsai"
	"github.com/conclave-llm/conclave/plugins/builtin/helicone"
	"github.com/conclave-llm/conclave/plugins/builtin/injection"
	"github.com/conclave-llm/conclave/plugins/builtin/judge"
	"github.com/conclave-llm/conclave/plugins/builtin/kafka"
	"github.com/conclave-llm/conclave/plugins/builtin/lakera"
	"github.com/conclave-llm/conclave/plugins/builtin/langfuse"
	"github.com/conclave-llm/conclave/plugins/builtin/language"
	"github.com/conclave-llm/conclave/plugins/builtin/length"
	"github.com/conclave-llm/conclave/plugins/builtin/llmguard"
	"github.com/conclave-llm/conclave/plugins/builtin/moderation"
	"github.com/conclave-llm/conclave/plugins/builtin/otlp"
	"github.com/conclave-llm/conclave/plugins/builtin/pangea"
	"github.com/conclave-llm/conclave/plugins/builtin/patterns"
	"github.com/conclave-llm/conclave/plugins/builtin/pii"
	"github.com/conclave-llm/conclave/plugins/builtin/presidio"
	"github.com/conclave-llm/conclave/plugins/builtin/remotewrite"
	"github.com/conclave-llm/conclave/plugins/builtin/scan"
	"github.com/conclave-llm/conclave/plugins/builtin/schema"
	"github.com/conclave-llm/conclave/plugins/builtin/secrets"
	"github.com/conclave-llm/conclave/plugins/builtin/sentry"
	"github.com/conclave-llm/conclave/plugins/builtin/slack"
	"github.com/conclave-llm/conclave/plugins/builtin/topics"
	"github.com/conclave-llm/conclave/plugins/builtin/vaultkv"
	"github.com/conclave-llm/conclave/plugins/builtin/webhook"
	"github.com/conclave-llm/conclave/plugins/sdk"
)

// Version is the version that shipped plugins report.
const Version = scan.Version

// Plugin is one row of the table of shipped plugins.
type Plugin struct {
	Name    string
	Kind    string // "guardrail", "callback" or "secret_source"
	Summary string
	serve   func()
}

// table is every shipped plugin by name.
var table = slices.Concat(guardrails, callbacks, overOTLP(), secretSources)

var guardrails = []Plugin{
	{"aporia", "guardrail", "asks Aporia", func() { sdk.ServeGuardrail(&aporia.Aporia{}) }},
	{"azure_content_safety", "guardrail", "asks Azure AI Content Safety about harmful content", func() { sdk.ServeGuardrail(&azuresafety.Content{}) }},
	{"azure_prompt_shield", "guardrail", "asks Azure AI Content Safety about attacks on prompts", func() { sdk.ServeGuardrail(&azuresafety.Shield{}) }},
	{"bedrock_guardrails", "guardrail", "asks a guardrail of Amazon Bedrock", func() { sdk.ServeGuardrail(bedrock.New(nil)) }},
	{"cel", "guardrail", "blocks or flags what makes expressions in CEL true", func() { sdk.ServeGuardrail(&cel.CEL{}) }},
	{"generic_guardrail_api", "guardrail", "asks a service of your own over HTTP", func() { sdk.ServeGuardrail(&generic.Generic{}) }},
	{"google_text_moderation", "guardrail", "asks the text moderation of Google Cloud", func() { sdk.ServeGuardrail(&google.Moderation{}) }},
	{"guardrails_ai", "guardrail", "asks a server of Guardrails AI", func() { sdk.ServeGuardrail(&guardrailsai.GuardrailsAI{}) }},
	{"injection", "guardrail", "blocks or flags attempts to change a model's instructions", func() { sdk.ServeGuardrail(&injection.Injection{}) }},
	{"judge", "guardrail", "asks a model of the gateway: Llama Guard, or any other about criteria", func() { sdk.ServeGuardrail(&judge.Judge{}) }},
	{"keywords", "guardrail", "blocks or masks listed words", func() { sdk.ServeGuardrail(&Keywords{}) }},
	{"lakera", "guardrail", "asks Lakera Guard", func() { sdk.ServeGuardrail(&lakera.Lakera{}) }},
	{"language", "guardrail", "lets only some languages pass", func() { sdk.ServeGuardrail(&language.Language{}) }},
	{"length", "guardrail", "bounds how long texts may be", func() { sdk.ServeGuardrail(&length.Length{}) }},
	{"llm_guard", "guardrail", "asks the API of LLM Guard", func() { sdk.ServeGuardrail(&llmguard.LLMGuard{}) }},
	{"model_armor", "guardrail", "asks Model Armor of Google Cloud", func() { sdk.ServeGuardrail(&google.Armor{}) }},
	{"openai_moderation", "guardrail", "asks OpenAI's moderation endpoint", func() { sdk.ServeGuardrail(&moderation.Moderation{}) }},
	{"pangea", "guardrail", "asks Pangea AI Guard", func() { sdk.ServeGuardrail(&pangea.Pangea{}) }},
	{"patterns", "guardrail", "blocks, masks or flags what matches regular expressions", func() { sdk.ServeGuardrail(&patterns.Patterns{}) }},
	{"pii", "guardrail", "blocks, masks or flags personal data, and restores in answers what it masked", func() { sdk.ServeGuardrail(&pii.PII{}) }},
	{"presidio", "guardrail", "asks Microsoft Presidio about personal data, and restores in answers what it masked", func() { sdk.ServeGuardrail(&presidio.Presidio{}) }},
	{"schema", "guardrail", "lets only answers pass that are JSON of a schema", func() { sdk.ServeGuardrail(&schema.Schema{}) }},
	{"secrets", "guardrail", "blocks, masks or flags credentials", func() { sdk.ServeGuardrail(&secrets.Secrets{}) }},
	{"topics", "guardrail", "keeps conversations at some topics, or away from others", func() { sdk.ServeGuardrail(&topics.Topics{}) }},
}

var callbacks = []Plugin{
	{"athina", "callback", "logs each request at Athina", func() { sdk.ServeCallback(&athina.Athina{}) }},
	{"azure_blob", "callback", "writes blobs to Azure Storage", func() { sdk.ServeCallback(&azure.Blobs{}) }},
	{"datadog", "callback", "sends each request to Datadog's log intake", func() { sdk.ServeCallback(&datadog.Datadog{}) }},
	{"elasticsearch", "callback", "indexes each request in Elasticsearch or OpenSearch", func() { sdk.ServeCallback(&elastic.Elastic{}) }},
	{"file", "callback", "writes one line of JSON for each request to a file", func() { sdk.ServeCallback(&File{}) }},
	{"gcs", "callback", "writes objects to Google Cloud Storage", func() { sdk.ServeCallback(&google.Storage{}) }},
	{"helicone", "callback", "logs each request at Helicone", func() { sdk.ServeCallback(&helicone.Helicone{}) }},
	{"kafka", "callback", "writes each request to a topic of Kafka", func() { sdk.ServeCallback(&kafka.Kafka{}) }},
	{"langfuse", "callback", "sends each request to Langfuse's ingestion API", func() { sdk.ServeCallback(&langfuse.Langfuse{}) }},
	{"prometheus_remote_write", "callback", "writes sums over requests to Prometheus or what takes its remote writes", func() { sdk.ServeCallback(&remotewrite.RemoteWrite{}) }},
	{"pubsub", "callback", "publishes each request in Google Pub/Sub", func() { sdk.ServeCallback(&google.PubSub{}) }},
	{"s3", "callback", "writes objects to S3 or a store with its API", func() { sdk.ServeCallback(&amazon.S3{}) }},
	{"sentry", "callback", "sends requests that failed to Sentry", func() { sdk.ServeCallback(&sentry.Sentry{}) }},
	{"slack", "callback", "tells a channel of requests that failed or were blocked", func() { sdk.ServeCallback(&slack.Slack{}) }},
	{"sqs", "callback", "sends each request to a queue of Amazon SQS", func() { sdk.ServeCallback(&amazon.SQS{}) }},
	{"webhook", "callback", "posts requests as signed JSON to a URL", func() { sdk.ServeCallback(&webhook.Webhook{}) }},
}

var secretSources = []Plugin{
	{"aws_secrets_manager", "secret_source", "reads AWS Secrets Manager", func() { sdk.ServeSecretSource(&amazon.SecretsManager{}) }},
	{"azure_key_vault", "secret_source", "reads the secrets of Azure's Key Vault", func() { sdk.ServeSecretSource(&azure.KeyVault{}) }},
	{"gcp_secret_manager", "secret_source", "reads Google's Secret Manager", func() { sdk.ServeSecretSource(&google.SecretManager{}) }},
	{"vault", "secret_source", "reads the KV engine of HashiCorp Vault", func() { sdk.ServeSecretSource(&vaultkv.Vault{}) }},
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
