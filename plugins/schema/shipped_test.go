package schema_test

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/conclave-llm/conclave/plugins/builtin"
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
	answers "github.com/conclave-llm/conclave/plugins/builtin/schema"
	"github.com/conclave-llm/conclave/plugins/builtin/secrets"
	"github.com/conclave-llm/conclave/plugins/builtin/sentry"
	"github.com/conclave-llm/conclave/plugins/builtin/slack"
	"github.com/conclave-llm/conclave/plugins/builtin/topics"
	"github.com/conclave-llm/conclave/plugins/builtin/vaultkv"
	"github.com/conclave-llm/conclave/plugins/builtin/webhook"
	"github.com/conclave-llm/conclave/plugins/schema"
	"github.com/conclave-llm/conclave/plugins/sdk"
	"github.com/conclave-llm/conclave/resource/manifest"
)

// program is a shipped plugin: what its configuration is read into, and a new one.
type program struct {
	config any
	fresh  func() any
}

// programs are the shipped plugins by name; the vendors of package otlp come from its own table.
func programs() map[string]program {
	all := map[string]program{
		"aporia":                 {aporia.Config{}, func() any { return &aporia.Aporia{} }},
		"azure_content_safety":   {azuresafety.Config{}, func() any { return &azuresafety.Content{} }},
		"azure_prompt_shield":    {azuresafety.ShieldConfig{}, func() any { return &azuresafety.Shield{} }},
		"bedrock_guardrails":     {bedrock.Config{}, func() any { return bedrock.New(nil) }},
		"cel":                    {cel.Config{}, func() any { return &cel.CEL{} }},
		"generic_guardrail_api":  {generic.Config{}, func() any { return &generic.Generic{} }},
		"google_text_moderation": {google.ModerationConfig{}, func() any { return &google.Moderation{} }},
		"guardrails_ai":          {guardrailsai.Config{}, func() any { return &guardrailsai.GuardrailsAI{} }},
		"injection":              {injection.Config{}, func() any { return &injection.Injection{} }},
		"judge":                  {judge.Config{}, func() any { return &judge.Judge{} }},
		"keywords":               {builtin.KeywordsConfig{}, func() any { return &builtin.Keywords{} }},
		"lakera":                 {lakera.Config{}, func() any { return &lakera.Lakera{} }},
		"language":               {language.Config{}, func() any { return &language.Language{} }},
		"length":                 {length.Config{}, func() any { return &length.Length{} }},
		"llm_guard":              {llmguard.Config{}, func() any { return &llmguard.LLMGuard{} }},
		"model_armor":            {google.ArmorConfig{}, func() any { return &google.Armor{} }},
		"openai_moderation":      {moderation.Config{}, func() any { return &moderation.Moderation{} }},
		"pangea":                 {pangea.Config{}, func() any { return &pangea.Pangea{} }},
		"patterns":               {patterns.Config{}, func() any { return &patterns.Patterns{} }},
		"pii":                    {pii.Config{}, func() any { return &pii.PII{} }},
		"presidio":               {presidio.Config{}, func() any { return &presidio.Presidio{} }},
		"schema":                 {answers.Config{}, func() any { return &answers.Schema{} }},
		"secrets":                {secrets.Config{}, func() any { return &secrets.Secrets{} }},
		"topics":                 {topics.Config{}, func() any { return &topics.Topics{} }},

		"athina":                  {athina.Config{}, func() any { return &athina.Athina{} }},
		"azure_blob":              {azure.BlobsConfig{}, func() any { return &azure.Blobs{} }},
		"datadog":                 {datadog.Config{}, func() any { return &datadog.Datadog{} }},
		"elasticsearch":           {elastic.Config{}, func() any { return &elastic.Elastic{} }},
		"file":                    {builtin.FileConfig{}, func() any { return &builtin.File{} }},
		"gcs":                     {google.StorageConfig{}, func() any { return &google.Storage{} }},
		"helicone":                {helicone.Config{}, func() any { return &helicone.Helicone{} }},
		"kafka":                   {kafka.Config{}, func() any { return &kafka.Kafka{} }},
		"langfuse":                {langfuse.Config{}, func() any { return &langfuse.Langfuse{} }},
		"prometheus_remote_write": {remotewrite.Config{}, func() any { return &remotewrite.RemoteWrite{} }},
		"pubsub":                  {google.PubSubConfig{}, func() any { return &google.PubSub{} }},
		"s3":                      {amazon.S3Config{}, func() any { return &amazon.S3{} }},
		"sentry":                  {sentry.Config{}, func() any { return &sentry.Sentry{} }},
		"slack":                   {slack.Config{}, func() any { return &slack.Slack{} }},
		"sqs":                     {amazon.SQSConfig{}, func() any { return &amazon.SQS{} }},
		"webhook":                 {webhook.Config{}, func() any { return &webhook.Webhook{} }},

		"aws_secrets_manager": {amazon.SecretsManagerConfig{}, func() any { return &amazon.SecretsManager{} }},
		"azure_key_vault":     {azure.KeyVaultConfig{}, func() any { return &azure.KeyVault{} }},
		"gcp_secret_manager":  {google.SecretManagerConfig{}, func() any { return &google.SecretManager{} }},
		"vault":               {vaultkv.Config{}, func() any { return &vaultkv.Vault{} }},
	}
	for _, name := range otlp.Vendors() {
		all[name] = program{otlp.Config{}, func() any { return otlp.New(name) }}
	}
	return all
}

// configure is what a plugin of the kind says of a configuration.
func (p program) configure(t *testing.T, config json.RawMessage) error {
	t.Helper()
	var err error
	switch fresh := p.fresh().(type) {
	case sdk.Guardrail:
		_, err = fresh.Configure(t.Context(), sdk.GuardrailSettings{Name: "test", Config: config})
	case sdk.Callback:
		_, err = fresh.Configure(t.Context(), sdk.CallbackSettings{Name: "test", Config: config})
	case sdk.SecretSource:
		_, err = fresh.Configure(t.Context(), sdk.SecretSourceSettings{Name: "test", Config: config})
	default:
		t.Fatalf("%T is no plugin", fresh)
	}
	return err
}

// TestShipped holds every shipped plugin to a schema that says what the plugin itself accepts: the
// same members; examples that fit and configure the plugin, in which all members stand; and nothing
// refused that the plugin takes.
func TestShipped(t *testing.T) {
	t.Parallel()
	all, texts := programs(), references(t)
	for _, row := range builtin.Plugins() {
		t.Run(row.Name, func(t *testing.T) {
			t.Parallel()
			p, ok := all[row.Name]
			if !ok {
				t.Fatal("is not in the table of this test")
			}
			text := schema.Of(nil, row.Kind, row.Name)
			if text == nil {
				t.Fatalf("has no schema: write shipped/%s/%s.json", row.Kind, row.Name)
			}
			var s jsonschema.Schema
			if err := json.Unmarshal(text, &s); err != nil {
				t.Fatal(err)
			}
			if s.Title == "" || s.Type != "object" {
				t.Errorf("title %q, type %q", s.Title, s.Type)
			}
			if sameMembers(t, "", reflect.TypeOf(p.config), &s); t.Failed() {
				return
			}
			(&trial{t, p, row, &s, texts}).run()
		})
	}
}

// Each file is the schema of a plugin, of the kind whose folder it is in.
func TestShipped_Files(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("shipped/*/*")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d schemas, %v", len(files), err)
	}
	for _, file := range files {
		kind, name := path.Split(strings.TrimPrefix(filepath.ToSlash(file), "shipped/"))
		name, ok := strings.CutSuffix(name, ".json")
		if p, known := builtin.Lookup(name); !ok || !known || p.Kind != strings.TrimSuffix(kind, "/") {
			t.Errorf("%s is the schema of nothing", file)
		}
	}
	for _, p := range builtin.Plugins() {
		for _, kind := range manifest.Kinds {
			if got := schema.Of(nil, kind, p.Name) != nil; got != (kind == p.Kind) {
				t.Errorf("%s %s has a schema: %v", kind, p.Name, got)
			}
		}
	}
}

// sameMembers compares the members of a configuration with the properties of its schema, and their
// types, down to where a type reads itself.
func sameMembers(t *testing.T, at string, typ reflect.Type, s *jsonschema.Schema) {
	t.Helper()
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if len(s.OneOf) > 0 { // an object, or its text
		s = s.OneOf[len(s.OneOf)-1]
		typ = reflect.StructOf(reflect.VisibleFields(typ)) // without its methods
	} else if reflect.PointerTo(typ).Implements(reflect.TypeFor[json.Unmarshaler]()) {
		return // any JSON
	}
	want := ""
	switch typ.Kind() {
	case reflect.Struct:
		want = "object"
		members := membersOf(typ)
		has, wants := slices.Sorted(maps.Keys(s.Properties)), slices.Sorted(maps.Keys(members))
		if !slices.Equal(has, wants) {
			t.Errorf("%s: the schema has %v, the plugin reads %v", cmp.Or(at, "root"), has, wants)
			return
		}
		for name, m := range members {
			if s.Properties[name].Description == "" && at == "" && s.Properties[name].Items == nil {
				t.Errorf("%s: has no description", name)
			}
			sameMembers(t, at+"."+name, m, s.Properties[name])
		}
	case reflect.Slice:
		want = "array"
		if s.Items != nil {
			sameMembers(t, at+"[]", typ.Elem(), s.Items)
		}
	case reflect.Map:
		want = "object"
		if s.AdditionalProperties != nil {
			sameMembers(t, at+".*", typ.Elem(), s.AdditionalProperties)
		}
	case reflect.String:
		want = "string"
	case reflect.Bool:
		want = "boolean"
	case reflect.Float64:
		want = "number"
	case reflect.Int, reflect.Int64:
		want = "integer"
	case reflect.Interface:
		return
	}
	if s.Type != want && len(s.Enum) == 0 {
		t.Errorf("%s: type is %q, want %q", cmp.Or(at, "root"), s.Type, want)
	}
}

// membersOf are the JSON members of a struct, those of the structs in it too.
func membersOf(typ reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			maps.Copy(all, membersOf(f.Type))
		case name != "" && name != "-":
			all[name] = f.Type
		}
	}
	return all
}

// references are the texts that references and paths of examples stand for, where not any text does.
func references(t *testing.T) map[string]string {
	t.Helper()
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	der, err := x509.MarshalPKCS8PrivateKey(srv.TLS.Certificates[0].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	dir := t.TempDir()
	account, err := json.Marshal(map[string]string{"client_email": "a@example.com", "private_key": key, "token_uri": "https://oauth2.googleapis.com/token"})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "google.json")
	if err := os.WriteFile(file, account, 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"env://PRIVATE_CA": cert, "env://VAULT_CLIENT_CERT": cert, "env://VAULT_CLIENT_KEY": key, "env://GOOGLE_PRIVATE_KEY": key,
		"/etc/conclave/google.json": file, "requests.jsonl": filepath.Join(dir, "requests.jsonl"),
	}
}

// trial tries a plugin and its schema with the same configurations.
type trial struct {
	*testing.T
	program
	row    builtin.Plugin
	schema *jsonschema.Schema
	texts  map[string]string // of references
}

func (r *trial) run() {
	if len(r.schema.Examples) == 0 {
		r.Fatal("has no examples")
	}
	shown := map[string]bool{}
	for _, e := range r.schema.Examples {
		example, _ := e.(map[string]any)
		for name := range example {
			shown[name] = true
		}
		if bySchema, byPlugin := r.try(example); bySchema != nil || byPlugin != nil {
			r.Errorf("the example %v is refused: by the schema: %v; by the plugin: %v", example, bySchema, byPlugin)
		}
		r.refused(with(example, "no_such_member", "x"))
		for name := range example {
			less := maps.Clone(example)
			delete(less, name)
			if bySchema, byPlugin := r.try(less); bySchema != nil && byPlugin == nil {
				r.Errorf("without %s the schema refuses what the plugin takes: %v", name, bySchema)
			}
		}
		for name, property := range r.schema.Properties {
			if _, is := example[name]; !is {
				continue
			}
			for _, v := range outside(property, example[name]) {
				r.refused(with(example, name, v))
			}
		}
	}
	for _, name := range r.schema.Required {
		for _, e := range r.schema.Examples {
			less := maps.Clone(e.(map[string]any))
			delete(less, name)
			r.refused(less)
		}
	}
	for name, property := range r.schema.Properties {
		if !shown[name] {
			r.Errorf("%s: stands in no example", name)
		}
		for _, v := range within(property) {
			r.taken(name, v)
		}
	}
}

// try says what is wrong with a configuration by the schema, and by the plugin.
func (r *trial) try(config map[string]any) (bySchema, byPlugin error) {
	text, err := json.Marshal(config)
	if err != nil {
		r.Fatal(err)
	}
	resolved, err := json.Marshal(r.resolved(config))
	if err != nil {
		r.Fatal(err)
	}
	return schema.Check(nil, r.row.Kind, r.row.Name, text), r.configure(r.T, resolved)
}

// resolved has in the place of references what they stand for.
func (r *trial) resolved(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, member := range v {
			out[name] = r.resolved(member)
		}
		return out
	case string:
		if text, ok := r.texts[v]; ok {
			return text
		}
		if strings.HasPrefix(v, "env://") {
			return "c2VjcmV0" // also in base64
		}
	}
	return v
}

// refused demands that the schema and the plugin refuse a configuration.
func (r *trial) refused(config map[string]any) {
	r.Helper()
	if bySchema, byPlugin := r.try(config); bySchema == nil || byPlugin == nil {
		r.Errorf("%v is taken: by the schema: %v; by the plugin: %v", config, bySchema, byPlugin)
	}
}

// taken demands that some example with another value is taken by both.
func (r *trial) taken(name string, v any) {
	r.Helper()
	var why []string
	for _, e := range r.schema.Examples {
		bySchema, byPlugin := r.try(with(e.(map[string]any), name, v))
		if bySchema == nil && byPlugin == nil {
			return
		}
		why = append(why, fmt.Sprint(bySchema, byPlugin))
	}
	r.Errorf("%s: %v is refused: %v", name, v, why)
}

func with(config map[string]any, name string, v any) map[string]any {
	more := maps.Clone(config)
	more[name] = v
	return more
}

// within are values at the edges of what a property may be.
func within(s *jsonschema.Schema) (list []any) {
	list = append(list, s.Enum...)
	for _, bound := range []*float64{s.Minimum, s.Maximum} {
		if bound != nil {
			list = append(list, *bound)
		}
	}
	if s.Items != nil && len(s.Items.Enum) > 0 {
		list = append(list, s.Items.Enum)
	}
	if s.PropertyNames != nil {
		for _, name := range s.PropertyNames.Enum {
			list = append(list, map[string]any{name.(string): 1})
		}
	}
	return list
}

// outside are values beside what a property may be, of which example is a value.
func outside(s *jsonschema.Schema, example any) (list []any) {
	if len(s.Enum) > 0 {
		list = append(list, "no such value")
	}
	if s.Minimum != nil {
		list = append(list, *s.Minimum-1)
	}
	if s.Maximum != nil {
		list = append(list, *s.Maximum+1)
	}
	if s.MinLength != nil {
		list = append(list, strings.Repeat("x", *s.MinLength-1))
	}
	if s.MaxLength != nil {
		list = append(list, strings.Repeat("x", *s.MaxLength+1))
	}
	if s.Items != nil && len(s.Items.Enum) > 0 {
		list = append(list, []any{"no such value"})
	}
	if elements, ok := example.([]any); ok && s.MaxItems != nil {
		list = append(list, slices.Repeat(elements[:1], *s.MaxItems+1))
	}
	if s.MinItems != nil {
		list = append(list, []any{})
	}
	if s.PropertyNames != nil && len(s.PropertyNames.Enum) > 0 {
		list = append(list, map[string]any{"no such name": 1})
	}
	if s.PropertyNames != nil && s.PropertyNames.Not != nil {
		for _, name := range s.PropertyNames.Not.Enum {
			list = append(list, map[string]any{name.(string): 1})
		}
	}
	members, _ := example.(map[string]any)
	if of := s.AdditionalProperties; of != nil {
		for name := range members {
			for _, v := range outside(of, members[name]) {
				list = append(list, map[string]any{name: v})
			}
		}
	}
	return list
}
